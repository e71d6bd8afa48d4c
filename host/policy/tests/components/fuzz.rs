//! Whatever a guest answers, the plan is sound.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use weir_core::check::check;
use weir_core::policy::BuiltIn;
use weir_world::world;

use crate::replace::policy_file;
use crate::world::loader;

const HOSTILE: &str = "weir-guest-hostile";

/// Two plugins that roll dice, in sequence: the second sees what the first said.
#[test]
fn dice_never_make_an_unsound_plan() {
    let file = policy_file(&[("one", HOSTILE), ("two", HOSTILE)], "fuzz");
    let loader = RefCell::new(loader());
    let chain = || loader.borrow_mut().load(&file).unwrap().chain;
    let (worlds, others) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    let result = runner.run(&world(24), |world| {
        let plan = world.planned(chain()).plan();
        prop_assert_eq!(check(&plan.state), vec![]);
        // The dice are seeded by the question, so a planner that learns the same later decides the same.
        let mut late = world.planner(chain());
        for event in world.last_events() {
            world.facts.tell(&mut late, event);
        }
        let late = late.plan();
        prop_assert_eq!(&late.state, &plan.state);
        prop_assert_eq!(check(&late.state), vec![]);
        let count = |counter: &Cell<u32>, is: bool| counter.set(counter.get() + u32::from(is));
        count(&worlds, !plan.state.virtual_servers.is_empty());
        count(&others, plan.state != world.planned(BuiltIn).plan().state);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let (worlds, others) = (worlds.get(), others.get());
    assert!(
        worlds > 50 && others > worlds / 2,
        "the dice change only {others} of {worlds} plans, too few to test much"
    );
}
