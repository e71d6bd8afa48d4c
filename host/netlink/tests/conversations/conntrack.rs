use weir_netlink::conntrack::Client;
use weir_netlink::socket::{Socket, Transport};
use weir_netlink::{Errno, Family, TransportProtocol};

/// Sends every flow message once. Expects one UDP flow of each family.
pub(crate) fn run<T: Transport>(socket: Socket<T>) {
    let mut client = Client::over(socket);
    for family in [Family::V4, Family::V6] {
        let flows = client.flows(family, Some(TransportProtocol::UDP)).unwrap();
        assert_eq!(flows.len(), 1);
        // The rest of a flow changes every second.
        assert_eq!(client.flows(family, None).unwrap()[0].id, flows[0].id);
        assert_eq!(client.delete(&flows), [Ok(())]);
        let gone = client.delete(&flows).pop().unwrap().unwrap_err();
        assert_eq!(gone.refused_with(), Some(Errno::ENOENT));
    }
}
