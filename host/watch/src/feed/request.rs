//! The requests of a feed.

use http::{Request, header::ACCEPT};

use crate::resource::Resource;
use crate::wire::Query;

/// Objects per page, as in client-go's pager.
const PAGE: u32 = 500;

/// Requests a page of a list; `next` is the previous page's token. Without a version the list is current, so that it
/// never shows an older state than was seen before.
pub(super) fn page(resource: Resource, node: &str, next: Option<&str>) -> Request<Vec<u8>> {
    let query = resource.selectors(node).with("limit", PAGE.to_string());
    let query = next.into_iter().fold(query, |query, next| query.with("continue", next));
    get(resource, query)
}

/// Requests everything after a version.
pub(super) fn watch(resource: Resource, node: &str, version: &str, seconds: u64) -> Request<Vec<u8>> {
    get(resource, watching(resource, node, seconds).with("resourceVersion", version))
}

/// Requests all existing objects, a bookmark, and everything after it.
pub(super) fn streamed_list(resource: Resource, node: &str, seconds: u64) -> Request<Vec<u8>> {
    let query = watching(resource, node, seconds);
    get(resource, query.with("sendInitialEvents", "true").with("resourceVersionMatch", "NotOlderThan"))
}

fn watching(resource: Resource, node: &str, seconds: u64) -> Query {
    let query = resource.selectors(node);
    query
        .with("watch", "true")
        .with("allowWatchBookmarks", "true")
        .with("timeoutSeconds", seconds.to_string())
}

fn get(resource: Resource, query: Query) -> Request<Vec<u8>> {
    let mut request = Request::new(Vec::new());
    // Paths are constants, and queries are escaped.
    *request.uri_mut() = query.of(resource.path()).parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("application/json"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(request: impl Fn(Resource) -> Request<Vec<u8>>) -> Vec<String> {
        Resource::ALL.into_iter().map(|resource| request(resource).uri().to_string()).collect()
    }

    #[test]
    fn pages() {
        assert_eq!(
            uris(|resource| page(resource, "node-1", None)),
            [
                "/api/v1/nodes?fieldSelector=metadata.name%3Dnode-1&limit=500",
                "/api/v1/nodes?limit=500",
                "/api/v1/namespaces?limit=500",
                "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name\
                 &fieldSelector=spec.clusterIP%21%3DNone&limit=500",
                "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless&limit=500",
            ]
        );
        let next = page(Resource::Nodes, "", Some("a/b+c=")).uri().to_string();
        assert_eq!(next, "/api/v1/nodes?limit=500&continue=a%2Fb%2Bc%3D");
    }

    #[test]
    fn watches() {
        assert_eq!(
            uris(|resource| watch(resource, "node-1", "42", 290)),
            [
                "/api/v1/nodes?fieldSelector=metadata.name%3Dnode-1&watch=true&allowWatchBookmarks=true\
                 &timeoutSeconds=290&resourceVersion=42",
                "/api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=42",
                "/api/v1/namespaces?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=42",
                "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name\
                 &fieldSelector=spec.clusterIP%21%3DNone&watch=true&allowWatchBookmarks=true&timeoutSeconds=290\
                 &resourceVersion=42",
                "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless\
                 &watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion=42",
            ]
        );
    }

    #[test]
    fn streamed_lists() {
        assert_eq!(
            streamed_list(Resource::Services, "", 290).uri().to_string(),
            "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name\
             &fieldSelector=spec.clusterIP%21%3DNone&watch=true&allowWatchBookmarks=true&timeoutSeconds=290\
             &sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
    }
}
