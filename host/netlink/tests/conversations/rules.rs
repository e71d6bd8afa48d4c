use weir_netlink::Family;
use weir_netlink::rules::{Chain, Client};
use weir_netlink::socket::{Socket, Transport};

/// Sends every nf_tables message once. Expects a chain `OURS` in the IPv4 table `nat`, and nothing else.
pub(crate) fn run<T: Transport>(socket: Socket<T>) {
    let mut client = Client::over(socket);
    let generation = client.generation().unwrap().unwrap();
    assert!(generation.0 > 0);
    let chains = client.chains(Family::V4).unwrap().unwrap();
    assert!(chains.contains(&Chain { table: "nat".to_owned(), name: "OURS".to_owned() }));
    assert_eq!(client.chains(Family::V6).unwrap(), Some(Vec::new()));
}
