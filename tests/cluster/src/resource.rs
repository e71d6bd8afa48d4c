//! The API paths of objects.

use anyhow::{Context, Result};
use serde_json::Value;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    kind: &'static str,
    /// The group and version, as in URLs.
    api: &'static str,
    plural: &'static str,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Namespace,
    Cluster,
}

const fn resource(kind: &'static str, api: &'static str, plural: &'static str, scope: Scope) -> Resource {
    Resource { kind, api, plural, scope }
}

/// The kinds that service proxies use, and those needed for their permissions.
const RESOURCES: &[Resource] = &[
    resource("ClusterRole", "apis/rbac.authorization.k8s.io/v1", "clusterroles", Scope::Cluster),
    resource(
        "ClusterRoleBinding",
        "apis/rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        Scope::Cluster,
    ),
    resource("ConfigMap", "api/v1", "configmaps", Scope::Namespace),
    resource("EndpointSlice", "apis/discovery.k8s.io/v1", "endpointslices", Scope::Namespace),
    resource("Event", "apis/events.k8s.io/v1", "events", Scope::Namespace),
    resource("Lease", "apis/coordination.k8s.io/v1", "leases", Scope::Namespace),
    resource("Namespace", "api/v1", "namespaces", Scope::Cluster),
    resource("Node", "api/v1", "nodes", Scope::Cluster),
    resource("Pod", "api/v1", "pods", Scope::Namespace),
    resource("Role", "apis/rbac.authorization.k8s.io/v1", "roles", Scope::Namespace),
    resource("RoleBinding", "apis/rbac.authorization.k8s.io/v1", "rolebindings", Scope::Namespace),
    resource("Secret", "api/v1", "secrets", Scope::Namespace),
    resource("Service", "api/v1", "services", Scope::Namespace),
    resource("ServiceAccount", "api/v1", "serviceaccounts", Scope::Namespace),
];

impl Resource {
    pub(crate) fn of_kind(kind: &str) -> Result<Resource> {
        let found = RESOURCES.iter().find(|resource| resource.kind == kind).copied();
        found.with_context(|| {
            format!("unknown kind {kind:?}: add it to the table in tests/cluster/src/resource.rs")
        })
    }

    /// The `apiVersion` of an object of this kind: `v1`, `discovery.k8s.io/v1`.
    pub(crate) fn api_version(self) -> &'static str {
        self.api.split_once('/').map_or(self.api, |(_, rest)| rest)
    }

    /// All objects in all namespaces.
    pub(crate) fn all(self) -> String {
        format!("/{}/{}", self.api, self.plural)
    }

    /// The path of one object. The namespace is ignored for kinds without one, and defaults to `default`.
    pub(crate) fn one(self, namespace: &str, name: &str) -> String {
        let Resource { api, plural, scope, .. } = self;
        match scope {
            Scope::Cluster => format!("/{api}/{plural}/{name}"),
            Scope::Namespace if namespace.is_empty() => {
                format!("/{api}/namespaces/default/{plural}/{name}")
            }
            Scope::Namespace => format!("/{api}/namespaces/{namespace}/{plural}/{name}"),
        }
    }
}

/// The path of an object.
pub(crate) fn path_of(object: &Value) -> Result<String> {
    let kind = object["kind"].as_str().context("the object has no kind")?;
    let name = object["metadata"]["name"].as_str().with_context(|| format!("the {kind} has no name"))?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    Ok(Resource::of_kind(kind)?.one(namespace, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_where_the_api_keeps_them() {
        let path = |kind: &str, namespace: &str| {
            path_of(&json!({ "kind": kind, "metadata": { "namespace": namespace, "name": "x" } })).unwrap()
        };
        assert_eq!(path("Service", "shop"), "/api/v1/namespaces/shop/services/x");
        assert_eq!(path("Service", ""), "/api/v1/namespaces/default/services/x");
        assert_eq!(path("Node", ""), "/api/v1/nodes/x");
        let slice = Resource::of_kind("EndpointSlice").unwrap();
        assert_eq!(slice.all(), "/apis/discovery.k8s.io/v1/endpointslices");
        assert_eq!(slice.api_version(), "discovery.k8s.io/v1");
        assert!(path_of(&json!({ "kind": "Sevrice", "metadata": { "name": "x" } })).is_err());
    }
}
