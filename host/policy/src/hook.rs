//! The three interfaces of the contract, so that asking, remembering and failing is written once.

use std::hash::Hash;
use std::time::Duration;

use crate::configuration::Interface;

use crate::answer::{Answer, Opinion};
use crate::bindings::{filter, masquerade, scheduler, types};
use crate::call::{Called, Instance};

/// An interface that plugins are asked through.
pub(crate) trait Hook {
    /// What is asked about one service.
    type Request: Hash;
    /// What is answered.
    type Answer: Answer;
    /// Which one it is.
    const INTERFACE: Interface;
    /// Its name in the contract.
    const NAME: &'static str;

    /// The question about a service, of which earlier plugins have an opinion.
    fn request(service: types::Service, opinion: &Opinion) -> Self::Request;

    /// Asks an instance.
    fn call(
        instance: &mut Instance<'_>,
        context: &types::Context,
        requests: &[Self::Request],
        time: Duration,
    ) -> Called<Vec<Self::Answer>>;

    /// Adds the answer to what earlier plugins said.
    fn add(opinion: &mut Opinion, answer: Self::Answer);
}

/// Which services, VIPs and endpoints.
pub(crate) struct Filter;

impl Hook for Filter {
    type Request = types::Service;
    type Answer = filter::Verdict;
    const INTERFACE: Interface = Interface::Filter;
    const NAME: &'static str = "filter";

    fn request(service: types::Service, _: &Opinion) -> types::Service {
        service
    }

    fn call(
        instance: &mut Instance<'_>,
        context: &types::Context,
        requests: &[types::Service],
        time: Duration,
    ) -> Called<Vec<filter::Verdict>> {
        instance.select(context, requests, time)
    }

    fn add(opinion: &mut Opinion, answer: filter::Verdict) {
        opinion.verdicts.push(answer);
    }
}

/// How connections are spread.
pub(crate) struct Scheduler;

impl Hook for Scheduler {
    type Request = scheduler::Request;
    type Answer = scheduler::Schedule;
    const INTERFACE: Interface = Interface::Scheduler;
    const NAME: &'static str = "scheduler";

    fn request(service: types::Service, opinion: &Opinion) -> scheduler::Request {
        scheduler::Request { service, prior: opinion.schedule.clone() }
    }

    fn call(
        instance: &mut Instance<'_>,
        context: &types::Context,
        requests: &[scheduler::Request],
        time: Duration,
    ) -> Called<Vec<scheduler::Schedule>> {
        instance.schedule(context, requests, time)
    }

    fn add(opinion: &mut Opinion, answer: scheduler::Schedule) {
        opinion.add_schedule(answer);
    }
}

/// Whose source address is replaced.
pub(crate) struct Masquerade;

impl Hook for Masquerade {
    type Request = masquerade::Request;
    type Answer = masquerade::Treatments;
    const INTERFACE: Interface = Interface::Masquerade;
    const NAME: &'static str = "masquerade";

    fn request(service: types::Service, opinion: &Opinion) -> masquerade::Request {
        masquerade::Request { service, prior: opinion.treatments.clone() }
    }

    fn call(
        instance: &mut Instance<'_>,
        context: &types::Context,
        requests: &[masquerade::Request],
        time: Duration,
    ) -> Called<Vec<masquerade::Treatments>> {
        instance.treat(context, requests, time)
    }

    fn add(opinion: &mut Opinion, answer: masquerade::Treatments) {
        opinion.add_treatments(answer);
    }
}
