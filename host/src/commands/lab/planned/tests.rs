use clap::Parser;
use weir_core::decision::Decision;
use weir_core::policy::{Decided, Policy, Surroundings};
use weir_core::state::Weight;
use weir_core::view::ServiceView;
use weir_lab::load::loads;
use weir_lab::simulate::play;
use weir_lab::traffic::Traffic;

use super::*;
use crate::cli::{Cli, Command};

/// Gives the first endpoint weight 0 for the first ten seconds, and asks to be asked again then.
struct Late;

impl Policy for Late {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        let decide = |view| {
            let mut decided = Decided::from(Decision::upstream(view, around.node));
            if around.now < START + 10 {
                decided.decision.ports[0].weights[0] = Weight(0);
                decided.expires = Some(START + 10);
            }
            decided
        };
        views.iter().map(decide).collect()
    }
}

#[test]
fn a_policy_that_asks_to_be_asked_again_is_planned_again_in_virtual_time() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/examples/manifests.yaml");
    let line = ["weir", "lab", "--node", "client", "--traffic", "t", "--manifests"];
    let cli = Cli::parse_from(line.map(std::ffi::OsStr::new).into_iter().chain([manifests.as_os_str()]));
    let Command::Lab(arguments) = cli.command else { panic!("another command") };
    let settings = inputs::settings(&arguments.node).unwrap();
    let text = "{warm-up: 0s, duration: 20s, client-nodes: 2, \
                services: [{service: shop/web, loads: [50%], endpoints: [{time: 10ms}]}]}";
    let traffic = Traffic::parse(text).unwrap();
    let mut laboratory = Laboratory::new(&manifests, settings, &traffic.client_nodes).unwrap();
    let target = laboratory.target(&traffic.services[0]).unwrap();
    assert_eq!(target.addresses.len(), 8);
    let load = loads(&traffic, &traffic.services[0], &target.addresses).unwrap().remove(0);
    let mut policy = laboratory.planned(&target, load.nodes, None, None).unwrap();
    policy.nodes[0].planner.set_policy(Box::new(Late));
    let outcome = play(&load, &mut policy, 1).unwrap();
    let connections = |from: u64, to: u64| {
        let slices = outcome.timeline.iter().filter(|slice| (from + 1..=to).contains(&slice.until.as_secs()));
        slices.map(|slice| slice.connections[0]).sum::<u64>()
    };
    assert_eq!(connections(0, 10), 0);
    assert!(connections(12, 20) > 100, "{}", connections(12, 20));
}
