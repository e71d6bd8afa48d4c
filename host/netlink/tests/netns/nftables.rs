use weir_netlink::Family;
use weir_netlink::rules::Client;

use crate::namespace::{isolated, output};

#[test]
fn a_table_goes_with_its_rules_and_others_stay() {
    isolated(|| {
        for (family, program) in [(Family::V4, "iptables-nft"), (Family::V6, "ip6tables-nft")] {
            output(program, &["-t", "filter", "-N", "THEIRS"]);
            output(program, &["-t", "nat", "-N", "OURS"]);
            output(program, &["-t", "nat", "-A", "OURS", "-p", "tcp", "-j", "ACCEPT"]);
            output(program, &["-t", "nat", "-A", "OUTPUT", "-j", "OURS"]);
            let mut client = Client::open().unwrap();
            assert_eq!(client.delete_table(family, "nat"), Ok(()));
            assert_eq!(client.has_table(family, "nat"), Ok(false));
            assert!(!output(program, &["-t", "nat", "-S"]).contains("OURS"));
            assert!(output(program, &["-t", "filter", "-S"]).contains("THEIRS"));
        }
    });
}
