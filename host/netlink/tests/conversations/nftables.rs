use weir_netlink::rules::Client;
use weir_netlink::socket::{Socket, Transport};
use weir_netlink::{Errno, Family};

/// Sends every message about tables once. Expects an IPv4 table `nat` with one chain, and nothing else.
pub(crate) fn run<T: Transport>(socket: Socket<T>) {
    let mut client = Client::over(socket);
    assert_eq!(client.has_table(Family::V4, "nat"), Ok(true));
    assert_eq!(client.has_table(Family::V4, "na"), Ok(false));
    assert_eq!(client.has_table(Family::V6, "nat"), Ok(false));
    let gone = |outcome: Result<(), weir_netlink::NetlinkError>| outcome.unwrap_err().refused_with();
    assert_eq!(gone(client.delete_table(Family::V6, "nat")), Some(Errno::ENOENT));
    assert_eq!(client.has_table(Family::V4, "nat"), Ok(true));
    assert_eq!(client.delete_table(Family::V4, "nat"), Ok(()));
    assert_eq!(client.has_table(Family::V4, "nat"), Ok(false));
    assert_eq!(gone(client.delete_table(Family::V4, "nat")), Some(Errno::ENOENT));
}
