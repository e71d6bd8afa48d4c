//! The interfaces of a node as a JSON file, for planning without a node.

use std::path::Path;

use ipnet::IpNet;
use serde::Deserialize;
use weir_core::net::{parse_cidr_sloppy, parse_ip_sloppy};
use weir_core::node::HostAddress;
use weir_core::state::DUMMY_DEVICE;

#[derive(Debug, Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    addresses: Vec<String>,
}

/// Why the interfaces are unknown.
#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Read {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text is not a list of interfaces.
    #[error("not a list of interfaces such as `[{{\"name\": \"eth0\", \"addresses\": [\"10.0.2.15/24\"]}}]`")]
    Format(#[source] serde_json::Error),
    /// An address is invalid.
    #[error(
        "`{address}` of interface {interface} must be an IP address, with or without a prefix length, such as \
         `10.0.2.15/24`"
    )]
    Address {
        /// The interface.
        interface: String,
        /// The text.
        address: String,
    },
}

/// Reads the interfaces from a file, see [`parse`].
pub fn load(path: &Path) -> Result<Vec<HostAddress>, InterfacesError> {
    let text = std::fs::read_to_string(path).map_err(|source| InterfacesError::Read { source })?;
    parse(&text)
}

/// Parses interfaces: a list of objects with `name` and `addresses` (each with or without its prefix length). The
/// dummy device is left out, because its addresses are the subject of plans.
pub fn parse(text: &str) -> Result<Vec<HostAddress>, InterfacesError> {
    let interfaces: Vec<Interface> = serde_json::from_str(text).map_err(InterfacesError::Format)?;
    let mut host_addresses = Vec::new();
    for Interface { name, addresses } in interfaces {
        if name == DUMMY_DEVICE {
            continue;
        }
        for text in addresses {
            let ip = text.split('/').next().and_then(parse_ip_sloppy);
            let net = if text.contains('/') { parse_cidr_sloppy(&text) } else { ip.map(IpNet::from) };
            let (Some(address), Some(net)) = (ip, net) else {
                return Err(InterfacesError::Address { interface: name, address: text });
            };
            let prefix = net.prefix_len();
            host_addresses.push(HostAddress { interface: name.clone(), address, prefix });
        }
    }
    Ok(host_addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_but_those_of_the_dummy_device() {
        let text = r#"[
            {"name": "lo", "state": "UNKNOWN", "addresses": ["127.0.0.1/8", "::1/128"]},
            {"name": "eth0", "addresses": ["10.0.2.15/24", "192.0.2.1"]},
            {"name": "down0"},
            {"name": "kube-ipvs0", "addresses": ["10.96.0.1/32"]}
        ]"#;
        let found: Vec<(String, String)> =
            parse(text).unwrap().into_iter().map(|h| (h.interface, h.address.to_string())).collect();
        let wanted = [("lo", "127.0.0.1"), ("lo", "::1"), ("eth0", "10.0.2.15"), ("eth0", "192.0.2.1")];
        assert_eq!(found, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn mistakes_are_named() {
        let error = parse(r#"[{"name": "eth0", "addresses": ["10.0.2.15/99"]}]"#).unwrap_err();
        assert!(error.to_string().contains("`10.0.2.15/99` of interface eth0"), "{error}");
        assert!(matches!(parse("{}"), Err(InterfacesError::Format(_))));
        let error = load(Path::new("/nonexistent/interfaces.json")).unwrap_err();
        assert_eq!(error.to_string(), "cannot be read", "the caller names the file");
    }
}
