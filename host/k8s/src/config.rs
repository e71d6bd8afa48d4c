//! Interim reading of the configuration; the real one replaces this file.
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;
use weir_core::node::{DetectLocal, NodePortAddress, ProxyConfig};

use crate::Problem;

/// Interim.
#[derive(Debug)]
pub struct Configuration(Value);

/// Interim.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// Interim.
pub fn load(path: &Path) -> Result<(Configuration, Vec<Problem>), ConfigError> {
    parse(&std::fs::read_to_string(path).map_err(|e| ConfigError(e.to_string()))?)
}

/// Interim.
pub fn parse(text: &str) -> Result<(Configuration, Vec<Problem>), ConfigError> {
    Ok((Configuration(serde_json::from_str(text).map_err(|e| ConfigError(e.to_string()))?), Vec::new()))
}

impl Configuration {
    /// Interim.
    pub fn hostname_override(&self) -> Option<&str> {
        self.0["hostnameOverride"].as_str()
    }
    /// Interim.
    pub fn bind_address(&self) -> Option<IpAddr> {
        None
    }
    /// Interim.
    pub fn proxy_config(&self) -> ProxyConfig {
        let cfg = &self.0;
        let mut c = ProxyConfig::default();
        let secs = |v: &Value| v.as_str().and_then(|s| s.strip_suffix('s')).and_then(|s| s.parse::<u32>().ok());
        if let Some(s) = cfg["ipvs"]["scheduler"].as_str() {
            c.scheduler = s.into();
        }
        c.strict_arp = cfg["ipvs"]["strictARP"].as_bool().unwrap_or(false);
        c.tcp_timeout = secs(&cfg["ipvs"]["tcpTimeout"]);
        c.tcp_fin_timeout = secs(&cfg["ipvs"]["tcpFinTimeout"]);
        c.udp_timeout = secs(&cfg["ipvs"]["udpTimeout"]);
        if let Some(s) = secs(&cfg["ipvs"]["syncPeriod"]) {
            c.sync_period = std::time::Duration::from_secs(s.into());
        }
        for x in cfg["ipvs"]["excludeCIDRs"].as_array().into_iter().flatten() {
            c.exclude_cidrs.extend(x.as_str().and_then(|s| s.parse::<ipnet::IpNet>().ok()));
        }
        c.masquerade_all = cfg["iptables"]["masqueradeAll"].as_bool().unwrap_or(false);
        if let Some(b) = cfg["iptables"]["masqueradeBit"].as_u64() {
            c.masquerade_bit = b as u8;
        }
        if let Some(s) = cfg["clusterCIDR"].as_str() {
            c.detect_local = DetectLocal::ClusterCidr(s.split(',').filter_map(|x| x.parse().ok()).collect());
        }
        if cfg["detectLocalMode"] == "NodeCIDR" {
            c.detect_local = DetectLocal::NodeCidr;
        }
        if cfg["detectLocalMode"] == "BridgeInterface" {
            c.detect_local = DetectLocal::BridgeInterface("cbr0".into());
        }
        for x in cfg["nodePortAddresses"].as_array().into_iter().flatten() {
            let t = x.as_str().unwrap_or_default();
            c.node_port_addresses.extend(if t == "primary" {
                Some(NodePortAddress::Primary)
            } else {
                t.parse().ok().map(NodePortAddress::Net)
            });
        }
        c
    }
}
