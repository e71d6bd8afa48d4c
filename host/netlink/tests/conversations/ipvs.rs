use weir_netlink::ipvs::{
    Change, Client, Destination, Flags, Forwarding, Netmask, Service, ServiceKey, Timeouts,
};
use weir_netlink::socket::{Socket, Transport};
use weir_netlink::{Errno, Family, TransportProtocol};

fn key(protocol: TransportProtocol, address: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol, address: address.parse().unwrap(), port }
}

fn destination(address: &str, port: u16, weight: u32) -> Destination {
    Destination::new(address.parse().unwrap(), port, weight)
}

/// Sends every IPVS message once and checks the kernel's answers.
pub(crate) fn run<T: Transport>(socket: Socket<T>) {
    let mut client = Client::over(socket).unwrap();
    let four = Service {
        flags: Flags::PERSISTENT,
        timeout: 10800,
        netmask: Netmask::V4("255.255.255.0".parse().unwrap()),
        ..Service::new(key(TransportProtocol::TCP, "10.96.0.1", 443), "rr")
    };
    let six = Service {
        flags: Flags::SCHED1 | Flags::SCHED2,
        ..Service::new(key(TransportProtocol::UDP, "fd00:96::a", 53), "sh")
    };
    let mark = Service::new(ServiceKey::FirewallMark { family: Family::V4, mark: 7 }, "wrr");
    let engine = Service {
        persistence_engine: Some("sip".to_owned()),
        flags: Flags::PERSISTENT,
        timeout: 60,
        ..Service::new(key(TransportProtocol::UDP, "10.96.0.8", 5060), "rr")
    };
    let unknown = Service::new(key(TransportProtocol::SCTP, "10.96.0.2", 443), "nonesuch");
    let near = destination("10.0.1.4", 8443, 1);
    let routed = Destination {
        forwarding: Forwarding(3),
        upper_threshold: 100,
        lower_threshold: 50,
        ..destination("10.0.1.5", 443, 65535)
    };
    let far = destination("fd00:1::4", 5353, 1);
    let services = [&four, &six, &mark, &engine];
    let mut changes =
        services.iter().map(|service| Change::NewService((*service).clone())).collect::<Vec<_>>();
    changes.extend([
        Change::NewService(unknown.clone()),
        Change::NewDestination(four.key, near.clone()),
        Change::NewDestination(four.key, routed.clone()),
        Change::NewDestination(six.key, far.clone()),
        Change::SetDestination(four.key, Destination { weight: 0, ..near.clone() }),
        Change::SetService(Service { scheduler: "lc".to_owned(), ..mark.clone() }),
    ]);
    let results = client.apply(&changes);
    let refused = results.iter().map(|result| result.as_ref().err().and_then(|error| error.refused_with()));
    let mut wanted = vec![None; changes.len()];
    wanted[4] = Some(Errno::ENOENT);
    assert_eq!(refused.collect::<Vec<_>>(), wanted);

    let mut listed = client.services().unwrap();
    let mut wanted =
        services.map(|service| Service { flags: service.flags | Flags::HASHED, ..service.clone() });
    wanted[2].scheduler = "lc".to_owned();
    listed.sort_by_key(|service| service.key);
    wanted.sort_by_key(|service| service.key);
    assert_eq!(listed, wanted);
    assert_eq!(
        client.service(&four.key).unwrap().as_ref(),
        listed.iter().find(|found| found.key == four.key)
    );
    assert_eq!(client.service(&unknown.key).unwrap(), None);

    let mut listed = client.destinations(&four.key).unwrap();
    listed.sort_by_key(|destination| destination.key);
    assert_eq!(listed, [Destination { weight: 0, ..near.clone() }, routed]);
    assert_eq!(client.destinations(&six.key).unwrap(), [far]);
    assert_eq!(client.destinations(&unknown.key).unwrap(), []);

    client.set_timeouts(&Timeouts { tcp: 901, tcp_fin: 121, udp: 301 }).unwrap();
    assert_eq!(client.timeouts().unwrap(), Timeouts { tcp: 901, tcp_fin: 121, udp: 301 });
    assert_eq!(client.information().unwrap().version, 0x01_02_01);
    let results = client.apply(&[
        Change::DeleteDestination(four.key, near.key),
        Change::DeleteService(four.key),
        Change::DeleteService(four.key),
    ]);
    assert_eq!(results[..2], [Ok(()), Ok(())]);
    assert_eq!(results[2].as_ref().unwrap_err().refused_with(), Some(Errno::ESRCH));
    client.flush().unwrap();
    assert_eq!(client.services().unwrap(), []);
}
