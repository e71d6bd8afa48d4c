//! Problems of a configuration that depend on the node's families.

use std::net::IpAddr;

use weir_core::net::{Family, parse_cidr_sloppy};
use weir_core::node::DetectLocal;

use super::Configuration;
use crate::problem::{Problem, Problems};

impl Configuration {
    /// Warnings for a node with these families. kube-proxy gives the same warnings at start.
    pub fn warnings_for(&self, families: &[Family]) -> Vec<Problem> {
        let mut warnings = Problems::default();
        if self.texts("nodePortAddresses").next().is_none() {
            warnings.note(
                "nodePortAddresses",
                "",
                "is not set, so node ports are served on all addresses of the node; `primary` limits node ports to \
                 the node IPs",
            );
        }
        let [family] = families else { return warnings.into_vec() };
        for (field, address) in [
            ("healthzBindAddress", self.healthz_bind_address()),
            ("metricsBindAddress", self.metrics_bind_address()),
        ] {
            // `0.0.0.0` accepts no IPv6 connections, while `::` accepts both families.
            let fits = |ip: IpAddr| Family::of(ip) == *family || ip == IpAddr::from([0u16; 8]);
            if let Some(address) = address.filter(|address| !fits(address.ip())) {
                warnings.note(
                    field,
                    address,
                    format!("is not an address of this node's only family, {family}"),
                );
            }
        }
        for text in self.texts("ipvs.excludeCIDRs") {
            if parse_cidr_sloppy(text).is_some_and(|net| Family::of_net(&net) != *family) {
                warnings.note(
                    "ipvs.excludeCIDRs",
                    text,
                    format!("is not a network of this node's only family, {family}"),
                );
            }
        }
        warnings.into_vec()
    }

    /// Errors for a node with these families.
    pub fn errors_for(&self, families: &[Family]) -> Vec<Problem> {
        let mut errors = Problems::default();
        if let DetectLocal::ClusterCidr(nets) = self.detect_local()
            && let [family] = families
            && !nets.is_empty()
            && nets.iter().all(|net| Family::of_net(net) != *family)
        {
            errors.note(
                "clusterCIDR",
                self.text("clusterCIDR"),
                format!(
                    "has no {family} network, but {family} is this node's only family: add a network, or choose \
                     another detectLocalMode"
                ),
            );
        }
        errors.into_vec()
    }
}
