//! Properties of every comparison of states.

use proptest::prelude::*;
use weir_core::diff::{Changes, diff, record};
use weir_core::kernel::{Kernel, apply};
use weir_core::simulated::Simulated;
use weir_core::state::KernelState;
use weir_world::world;

use crate::hostile::any_policy;
use crate::tamper::tampering;

/// The desired state of a generated cluster. Boxed for the same reason as [`any_policy`].
pub(super) fn wanted() -> BoxedStrategy<KernelState> {
    (world(16), any_policy()).prop_map(|(world, policy)| world.planned(policy).plan().state).boxed()
}

/// Another state that a kernel may have: a tampered state of another cluster, or an empty one.
pub(super) fn found() -> impl Strategy<Value = KernelState> {
    let tampered = (wanted(), tampering(8)).prop_map(|(mut state, deeds)| {
        deeds.into_iter().for_each(|deed| deed.apply(&mut state));
        state
    });
    prop_oneof![1 => Just(KernelState::default()), 6 => tampered]
}

/// Like [`found`], but the desired state itself is tampered with, so that much of it is right.
fn wanted_and_found() -> impl Strategy<Value = (KernelState, KernelState)> {
    let near = (wanted(), tampering(4)).prop_map(|(wanted, deeds)| {
        let mut found = wanted.clone();
        deeds.into_iter().for_each(|deed| deed.apply(&mut found));
        (wanted, found)
    });
    prop_oneof![1 => (wanted(), found()), 1 => near]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// L2: the changes lead to the desired state, each of them is possible, and nothing remains to be done.
    #[test]
    fn changes_lead_to_the_wanted_state((wanted, found) in wanted_and_found()) {
        let mut kernel = Simulated::new(found.clone());
        let changes = diff(&wanted, &found);
        let outcomes = apply(&mut kernel, &changes, &wanted);
        let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        prop_assert_eq!(failed, Vec::new());
        prop_assert_eq!(kernel.state().differences(&wanted), Vec::new());
        prop_assert_eq!(diff(&wanted, kernel.state()), Changes::default());
    }

    /// L2: after a change, the program's view of the state equals the kernel's.
    #[test]
    fn what_is_noted_is_what_happened((wanted, found) in wanted_and_found()) {
        let mut kernel = Simulated::new(found.clone());
        let mut noted = found.clone();
        for change in diff(&wanted, &found).0 {
            kernel.execute(std::slice::from_ref(&change));
            record(&mut noted, &change);
            prop_assert_eq!(&noted, kernel.state(), "after {}", change);
        }
    }

    /// L2: no difference means no change, and vice versa.
    #[test]
    fn differences_and_changes_agree((wanted, found) in wanted_and_found()) {
        prop_assert!(diff(&wanted, &wanted).is_empty());
        prop_assert_eq!(found.differences(&wanted).is_empty(), diff(&wanted, &found).is_empty());
    }
}
