//! Keeps or replaces source addresses by the kind of VIP, the namespace, and the source.
//!
//! Rules are tried in order, for each kind of VIP separately; the first match applies, and without a match the answer
//! of earlier plugins stays.

use std::net::IpAddr;

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::scope::Scope;
use weir_plugin_sdk::{
    Context, Error, IpNet, Masquerade, Plugin, Service, Treatment, Treatments, VipKind, export,
};

const MODES: &str = "default, never, always, off-cluster, remote-endpoints or address";

/// The plugin.
#[derive(Debug)]
pub struct MasqueradeByVip {
    rules: Vec<Rule>,
    /// Sources that are never masqueraded, for every service.
    except: Vec<IpNet>,
}

#[derive(Debug)]
struct Rule {
    scope: Scope,
    kinds: Vec<VipKind>,
    /// Only services with this external traffic policy.
    external_policy: Option<ExternalPolicy>,
    treatment: Treatment,
    except: Vec<IpNet>,
}

/// A traffic policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExternalPolicy {
    Cluster,
    Local,
}

impl Rule {
    fn take(fields: &mut Fields) -> Rule {
        let scope = Scope::take(fields);
        let names = fields.texts::<String>("kinds");
        if names.as_ref().is_some_and(Vec::is_empty) {
            fields.problem(
                "kinds",
                "is empty, so the rule never applies: leave `kinds` out to apply the rule to all kinds",
            );
        }
        let mut kinds = Vec::new();
        for name in names.iter().flatten() {
            match kind(name) {
                Some(kind) => kinds.push(kind),
                None => fields.problem(
                    "kinds",
                    format!("names `{name}`: write any of cluster, external, load-balancer, node-port"),
                ),
            }
        }
        let external_policy = match fields.text::<String>("external-policy").as_deref() {
            None => None,
            Some("Cluster") => Some(ExternalPolicy::Cluster),
            Some("Local") => Some(ExternalPolicy::Local),
            Some(other) => {
                fields.problem("external-policy", format!("is `{other}`: write Cluster or Local"));
                None
            }
        };
        let treatment = treatment(fields);
        let except = fields.texts("except-sources").unwrap_or_default();
        let kinds = if names.is_some() { kinds } else { VipKind::ALL.into() };
        Rule { scope, kinds, external_policy, treatment, except }
    }

    fn fits(&self, service: &Service) -> bool {
        let policy = if service.external_local { ExternalPolicy::Local } else { ExternalPolicy::Cluster };
        self.scope.contains(service) && self.external_policy.is_none_or(|wanted| wanted == policy)
    }
}

fn treatment(fields: &mut Fields) -> Treatment {
    let mode = fields.text::<String>("treatment");
    let source = fields.text::<IpAddr>("source");
    if source.is_some() && mode.as_deref() != Some("address") {
        fields.problem("source", "applies only to the treatment `address`: leave it out");
    }
    match mode.as_deref() {
        Some("default") => Treatment::Default,
        Some("never") => Treatment::Never,
        Some("always") => Treatment::Always,
        Some("off-cluster") => Treatment::OffCluster,
        Some("remote-endpoints") => Treatment::RemoteEndpoints,
        Some("address") => match source {
            Some(source) => Treatment::Address(source),
            None => {
                fields.problem("source", "is missing: write one of this node's own addresses");
                Treatment::Default
            }
        },
        Some(other) => {
            fields.problem("treatment", format!("is `{other}`: write {MODES}"));
            Treatment::Default
        }
        None => {
            fields.problem("treatment", format!("is missing: write {MODES}"));
            Treatment::Default
        }
    }
}

fn kind(name: &str) -> Option<VipKind> {
    match name {
        "cluster" => Some(VipKind::Cluster),
        "external" => Some(VipKind::External),
        "load-balancer" => Some(VipKind::LoadBalancer),
        "node-port" => Some(VipKind::NodePort),
        _ => None,
    }
}

impl Plugin for MasqueradeByVip {
    const NAME: &'static str = "masquerade-by-vip";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(configuration: &str) -> Result<MasqueradeByVip, Vec<String>> {
        Fields::read(configuration, |fields| MasqueradeByVip {
            rules: fields.objects("rules", Rule::take),
            except: fields.texts("except-sources").unwrap_or_default(),
        })
    }

    fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> = self.rules.iter().flat_map(|rule| rule.scope.needs()).collect();
        needs.sort();
        needs.dedup();
        needs
    }
}

impl Masquerade for MasqueradeByVip {
    fn treat(&self, service: &Service, prior: &Treatments, _: &Context) -> Result<Treatments, Error> {
        let mut answer = Treatments::keep();
        let mut except = self.except.clone();
        let mut used = Vec::new();
        for kind in VipKind::ALL {
            let fitting = self
                .rules
                .iter()
                .enumerate()
                .find(|(_, rule)| rule.kinds.contains(&kind) && rule.fits(service));
            if let Some((index, rule)) = fitting {
                answer = answer.treat(kind, rule.treatment.clone());
                if !used.contains(&index) {
                    used.push(index);
                    except.extend(&rule.except);
                }
            }
        }
        if !except.is_empty() {
            // An answer replaces that of earlier plugins, but exceptions should add up.
            except.extend(prior.except_sources.iter().flatten());
            except.sort();
            except.dedup();
            answer.except_sources = Some(except);
        }
        used.sort_unstable();
        let names: Vec<String> = used.iter().map(|index| format!("rules[{index}]")).collect();
        Ok(answer.because(names.join(", ")))
    }
}

export!(MasqueradeByVip: masquerade);

#[cfg(test)]
mod tests {
    use weir_plugin_sdk::serde_json::{self, json};
    use weir_plugin_sdk::testing;

    use super::*;

    fn treat(configuration: serde_json::Value, service: serde_json::Value) -> Treatments {
        let plugin: MasqueradeByVip = testing::plugin(&configuration);
        let service: Service = serde_json::from_value(service).unwrap();
        plugin.treat(&service, &Treatments::keep(), &Context::default()).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_counts_for_each_kind() {
        let answer = treat(
            json!({"rules": [
                {"namespaces": ["edge-*"], "kinds": ["load-balancer"], "treatment": "never"},
                {"treatment": "always"},
                {"kinds": ["cluster"], "treatment": "off-cluster"}
            ]}),
            json!({"namespace": "edge-1", "name": "web"}),
        );
        for kind in VipKind::ALL {
            let expected = if kind == VipKind::LoadBalancer { Treatment::Never } else { Treatment::Always };
            assert_eq!(answer.of(kind), Some(&expected), "{kind:?}");
        }
        assert_eq!(answer.reason, "rules[0], rules[1]");
    }

    #[test]
    fn where_no_rule_fits_nothing_is_said() {
        let rules = json!({"rules": [{"external-policy": "Local", "treatment": "never"}]});
        assert_eq!(treat(rules.clone(), json!({"namespace": "a", "name": "b"})), Treatments::keep());
        let local = treat(rules, json!({"namespace": "a", "name": "b", "external-local": true}));
        assert_eq!(local.of(VipKind::NodePort), Some(&Treatment::Never));
        assert_eq!(treat(json!(null), json!({})), Treatments::keep());
    }

    #[test]
    fn exceptions_add_up() {
        let plugin: MasqueradeByVip = testing::plugin(&json!({
            "except-sources": ["10.0.0.0/8"],
            "rules": [
                {"kinds": ["node-port"], "treatment": "default", "except-sources": ["192.0.2.0/24", "10.1.2.3/8"]},
                {"namespaces": ["other"], "treatment": "default", "except-sources": ["198.51.100.0/24"]}
            ]
        }));
        let prior =
            Treatments { except_sources: Some(vec!["fd00::/8".parse().unwrap()]), ..Treatments::keep() };
        let answer = plugin.treat(&Service::default(), &prior, &Context::default()).unwrap();
        let except: Vec<String> = answer.except_sources.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(except, ["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"]);
    }

    #[test]
    fn every_mistake_of_a_configuration_is_named() {
        let refusals = testing::refusals::<MasqueradeByVip>(&json!({
            "except-sources": ["lan"],
            "rules": [
                {"namespaces": [], "kinds": [], "treatment": "snat", "external-policy": "local"},
                {"kinds": ["pod"], "treatment": "address"},
                {"treatment": "never", "source": "192.0.2.1"},
                {"except": 1}
            ],
            "rule": []
        }));
        let places: Vec<&str> = refusals.iter().filter_map(|refusal| refusal.split(' ').next()).collect();
        let expected = [
            "rules[0].namespaces",
            "rules[0].kinds",
            "rules[0].external-policy",
            "rules[0].treatment",
            "rules[1].kinds",
            "rules[1].source",
            "rules[2].source",
            "rules[3].treatment",
            "rules[3].except",
            "except-sources[0]",
            "rule",
        ];
        assert_eq!(places, expected, "{refusals:#?}");
    }
}
