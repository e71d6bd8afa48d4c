//! Selects the services of a plugin's rule.

use std::collections::BTreeMap;

use weir_plugin_views::Service;

use crate::configuration::Fields;
use crate::glob;

/// Selects services by namespace and name. An empty scope selects all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    namespaces: Vec<String>,
    namespace_labels: BTreeMap<String, String>,
    services: Vec<String>,
}

impl Scope {
    /// Reads the scope of a rule: `namespaces` and `services`, lists of names in which `*` stands for any text, and
    /// `namespace-labels`, values that labels of the namespace must have. A service must match all given fields.
    pub fn take(fields: &mut Fields) -> Scope {
        let mut names = |key: &str| {
            let names: Option<Vec<String>> = fields.texts(key);
            // A list from which everything was deleted would otherwise become "all".
            if names.as_ref().is_some_and(Vec::is_empty) {
                fields.problem(key, "must not be empty: leave it out, or write `*`, to match all");
            }
            names.unwrap_or_default()
        };
        let (namespaces, services) = (names("namespaces"), names("services"));
        let namespace_labels = fields.get("namespace-labels").unwrap_or_default();
        Scope { namespaces, namespace_labels, services }
    }

    /// Whether a service is in the scope.
    pub fn contains(&self, service: &Service) -> bool {
        let fits = |patterns: &[String], name| patterns.is_empty() || glob::matches_any(patterns, name);
        fits(&self.namespaces, &service.namespace)
            && fits(&self.services, &service.name)
            && self
                .namespace_labels
                .iter()
                .all(|(key, value)| service.namespace_labels.get(key) == Some(value))
    }

    /// Returns the needs of the scope.
    pub fn needs(&self) -> impl Iterator<Item = String> {
        self.namespace_labels.keys().map(|key| format!("namespace-label:{key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, tier: Option<&str>) -> Service {
        Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            namespace_labels: tier.map(|tier| ("tier".to_owned(), tier.to_owned())).into_iter().collect(),
            ..Service::default()
        }
    }

    #[test]
    fn everything_that_is_given_must_fit() {
        let text = r#"{"namespaces": ["team-*", "shop"], "services": ["web*"], "namespace-labels": {"tier": "gold"}}"#;
        let scope = Fields::read(text, Scope::take).unwrap();
        assert!(scope.contains(&service("team-a", "web", Some("gold"))));
        assert!(!scope.contains(&service("kube-system", "web", Some("gold"))));
        assert!(!scope.contains(&service("shop", "db", Some("gold"))));
        assert!(!scope.contains(&service("shop", "web", Some("tin"))));
        assert!(!scope.contains(&service("shop", "web", None)));
        assert_eq!(scope.needs().collect::<Vec<_>>(), ["namespace-label:tier"]);
    }

    #[test]
    fn a_scope_that_says_nothing_is_everything_but_an_empty_list_is_a_mistake() {
        let scope = Fields::read("{}", Scope::take).unwrap();
        assert!(scope.contains(&service("a", "b", None)));
        let mistakes = Fields::read(r#"{"namespaces": []}"#, Scope::take).unwrap_err();
        assert!(mistakes[0].starts_with("namespaces must not be empty"), "{mistakes:?}");
    }
}
