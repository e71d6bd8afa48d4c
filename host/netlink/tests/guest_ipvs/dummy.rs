use weir_netlink::Errno;
use weir_netlink::route::{Change, Client, LinkFlags, OperationalState};

use crate::namespace::output;
use crate::{ip, with_ipvs};

#[test]
fn a_dummy_link_holds_addresses_while_it_is_down() {
    with_ipvs(|_| {
        let mut client = Client::open().unwrap();
        client.create_dummy("kube-ipvs0").unwrap();
        let exists = client.create_dummy("kube-ipvs0").unwrap_err();
        assert_eq!(exists.refused_with(), Some(Errno::EEXIST));
        let link = client.link("kube-ipvs0").unwrap().unwrap();
        assert_eq!(link.kind.as_deref(), Some("dummy"));
        assert!(link.flags.contains(LinkFlags::NO_ARP));
        assert!(!link.flags.contains(LinkFlags::UP));
        assert_eq!(link.state, OperationalState::Down);

        let addresses = [ip("10.96.0.1"), ip("fd00:96::1")];
        let changes = addresses.map(|address| Change::Add(link.index, address));
        assert_eq!(client.apply(&changes), [Ok(()), Ok(())]);
        let listed = client.addresses(Some(link.index)).unwrap();
        assert_eq!(listed.iter().map(|found| found.address).collect::<Vec<_>>(), addresses);
        let shown = output("ip", &["-o", "address", "show", "dev", "kube-ipvs0"]);
        assert!(shown.contains("inet 10.96.0.1/32 scope global"), "{shown}");
        assert!(shown.contains("inet6 fd00:96::1/128 scope global"), "{shown}");
        client.delete_link(link.index).unwrap();
        assert_eq!(client.link("kube-ipvs0").unwrap(), None);
    });
}
