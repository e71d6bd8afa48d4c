//! The API server accepts everything the generator creates: a refused change would test nothing.

use weir_cluster::{Cluster, programs_or_skip};
use weir_parity::World;
use weir_parity::delivery::Delivery;
use weir_world::Seed;

const SEEDS: u64 = 10;
const MUTATIONS: u16 = 30;

#[test]
fn the_api_server_takes_everything() {
    if programs_or_skip().is_none() {
        return;
    }
    let cluster = Cluster::start().unwrap();
    let mut delivery = Delivery::new(cluster.client().clone()).unwrap();
    let mut refused = Vec::new();
    for seed in 0..SEEDS {
        let mut source = Seed::new(seed);
        let mut world = World::random(&mut source);
        let mut deed = "the initial state".to_owned();
        for step in 1..=MUTATIONS {
            world.set_step(step);
            let receipt = delivery.deliver(&world).unwrap();
            assert!(receipt.changed > 0);
            refused.extend(receipt.refused.into_iter().map(|why| format!("seed {seed}, {deed}: {why}")));
            deed = world.mutate(&mut source);
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
    let (node, list) = delivery.manifests().unwrap();
    assert_eq!(node["kind"], "Node");
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["kind"].is_string()));
}
