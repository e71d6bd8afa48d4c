use std::net::IpAddr;

use weir_netlink::Errno;
use weir_netlink::route::{Change, Client, LinkFlags};
use weir_netlink::socket::{Socket, Transport};

/// Sends every link and address message once. Expects a link `near` that is down and has no addresses.
pub(crate) fn run<T: Transport>(socket: Socket<T>) {
    let mut client = Client::over(socket);
    let near = client.link("near").unwrap().unwrap();
    assert!(!near.flags.contains(LinkFlags::UP));
    assert_eq!(client.link("absent").unwrap(), None);
    assert!(client.links().unwrap().contains(&near));
    assert_eq!(client.create_dummy("near").unwrap_err().refused_with(), Some(Errno::EEXIST));

    let addresses = ["10.96.0.1", "fd00:96::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let changes = addresses.map(|address| Change::Add(near.index, address));
    assert_eq!(client.apply(&changes), [Ok(()), Ok(())]);
    let exists = client.apply(&changes[..1]).pop().unwrap().unwrap_err();
    assert_eq!(exists.refused_with(), Some(Errno::EEXIST));
    let listed = client.addresses(Some(near.index)).unwrap();
    assert_eq!(listed.iter().map(|address| address.address).collect::<Vec<_>>(), addresses);
    assert_eq!(client.addresses(None).unwrap().len(), 2);
    let deletions = addresses.map(|address| Change::Delete(near.index, address));
    assert_eq!(client.apply(&deletions), [Ok(()), Ok(())]);
    client.delete_link(near.index).unwrap();
}
