//! The three interfaces of the contract behind one trait, so that asking, remembering, failing and recording are
//! written once. Each is identified by its answer type.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::Instance;
use weir_plugin_views as views;

use crate::artifact::Exports;
use crate::bindings::{filter, masquerade, scheduler, types};
use crate::configuration::Interface;
use crate::convert;
use crate::guest::Guest;
use crate::memo::{Answers as Memory, Remembered};
use crate::patch::{FilterPatch, MasqueradePatch, Opinion, Patch, SchedulerPatch};
use crate::plugin::{InterfaceState, Interfaces};

/// A guest's answers, one per question, or its error.
type Answers<W> = wasmtime::Result<Result<Vec<W>, types::Error>>;

/// An interface through which plugins are called.
pub(crate) trait Hook: Patch {
    /// A question about one service: its record, and the answers of earlier plugins.
    type Request;
    /// The answers of earlier plugins.
    type Prior: Hash;
    /// The interface.
    const INTERFACE: Interface;

    /// The interface's state within a plugin's state.
    fn state(interfaces: &mut Interfaces) -> &mut InterfaceState<Self>;

    /// The interface's remembered answer about a service.
    fn remembered(answers: &mut Memory) -> &mut Option<Remembered<Self>>;

    /// The answers of earlier plugins, as the contract's type.
    fn prior(opinion: &Opinion) -> Self::Prior;

    /// The question about a service.
    fn request(service: types::Service, prior: Self::Prior) -> Self::Request;

    /// Extracts the record from a question that was asked.
    fn service(request: Self::Request) -> types::Service;

    /// Asks an instance of a component with these exports.
    fn call(
        exports: &Exports,
        store: &mut Store<Guest>,
        instance: &Instance,
        context: &types::Context,
        requests: &[Self::Request],
    ) -> Answers<Self::Wire>;

    /// The service that a question is about, and the answers of earlier plugins, for a record.
    fn asked(request: &Self::Request) -> (&types::Service, Value);

    /// An answer, for a record.
    fn answer(answer: Self::Wire) -> Value;

    /// The answers of earlier plugins, from a record.
    fn recorded(prior: &Value) -> Result<Self::Prior, String>;
}

/// Decides which services, VIPs and endpoints are used.
impl Hook for FilterPatch {
    type Request = types::Service;
    type Prior = ();
    const INTERFACE: Interface = Interface::Filter;

    fn state(interfaces: &mut Interfaces) -> &mut InterfaceState<FilterPatch> {
        &mut interfaces.filter
    }

    fn remembered(answers: &mut Memory) -> &mut Option<Remembered<FilterPatch>> {
        &mut answers.filter
    }

    fn prior(_: &Opinion) {}

    fn request(service: types::Service, (): ()) -> types::Service {
        service
    }

    fn service(request: types::Service) -> types::Service {
        request
    }

    fn call(
        exports: &Exports,
        store: &mut Store<Guest>,
        instance: &Instance,
        context: &types::Context,
        requests: &[types::Service],
    ) -> Answers<filter::Verdict> {
        here(&exports.filter)?.load(&mut *store, instance)?.call_select(store, context, requests)
    }

    fn asked(request: &types::Service) -> (&types::Service, Value) {
        (request, Value::Null)
    }

    fn answer(answer: filter::Verdict) -> Value {
        json(convert::answered_verdict(answer))
    }

    fn recorded(_: &Value) -> Result<(), String> {
        Ok(())
    }
}

/// Decides how connections are spread.
impl Hook for SchedulerPatch {
    type Request = scheduler::Request;
    type Prior = scheduler::Schedule;
    const INTERFACE: Interface = Interface::Scheduler;

    fn state(interfaces: &mut Interfaces) -> &mut InterfaceState<SchedulerPatch> {
        &mut interfaces.scheduler
    }

    fn remembered(answers: &mut Memory) -> &mut Option<Remembered<SchedulerPatch>> {
        &mut answers.scheduler
    }

    fn prior(opinion: &Opinion) -> scheduler::Schedule {
        opinion.scheduler.print()
    }

    fn request(service: types::Service, prior: scheduler::Schedule) -> scheduler::Request {
        scheduler::Request { service, prior }
    }

    fn service(request: scheduler::Request) -> types::Service {
        request.service
    }

    fn call(
        exports: &Exports,
        store: &mut Store<Guest>,
        instance: &Instance,
        context: &types::Context,
        requests: &[scheduler::Request],
    ) -> Answers<scheduler::Schedule> {
        here(&exports.scheduler)?
            .load(&mut *store, instance)?
            .call_schedule_services(store, context, requests)
    }

    fn asked(request: &scheduler::Request) -> (&types::Service, Value) {
        (&request.service, SchedulerPatch::answer(request.prior.clone()))
    }

    fn answer(answer: scheduler::Schedule) -> Value {
        json(convert::prior_schedule(answer))
    }

    fn recorded(prior: &Value) -> Result<scheduler::Schedule, String> {
        Ok(convert::schedule(view::<views::Schedule>(prior)?))
    }
}

/// Decides which source addresses are replaced.
impl Hook for MasqueradePatch {
    type Request = masquerade::Request;
    type Prior = masquerade::Treatments;
    const INTERFACE: Interface = Interface::Masquerade;

    fn state(interfaces: &mut Interfaces) -> &mut InterfaceState<MasqueradePatch> {
        &mut interfaces.masquerade
    }

    fn remembered(answers: &mut Memory) -> &mut Option<Remembered<MasqueradePatch>> {
        &mut answers.masquerade
    }

    fn prior(opinion: &Opinion) -> masquerade::Treatments {
        opinion.masquerade.print()
    }

    fn request(service: types::Service, prior: masquerade::Treatments) -> masquerade::Request {
        masquerade::Request { service, prior }
    }

    fn service(request: masquerade::Request) -> types::Service {
        request.service
    }

    fn call(
        exports: &Exports,
        store: &mut Store<Guest>,
        instance: &Instance,
        context: &types::Context,
        requests: &[masquerade::Request],
    ) -> Answers<masquerade::Treatments> {
        here(&exports.masquerade)?.load(&mut *store, instance)?.call_treat(store, context, requests)
    }

    fn asked(request: &masquerade::Request) -> (&types::Service, Value) {
        (&request.service, MasqueradePatch::answer(request.prior.clone()))
    }

    fn answer(answer: masquerade::Treatments) -> Value {
        json(convert::prior_treatments(answer))
    }

    fn recorded(prior: &Value) -> Result<masquerade::Treatments, String> {
        Ok(convert::treatments(view::<views::Treatments>(prior)?))
    }
}

fn here<I>(exported: &Option<I>) -> wasmtime::Result<&I> {
    exported.as_ref().ok_or_else(|| wasmtime::Error::msg("it does not export this interface"))
}

/// A view as JSON. This cannot fail: its keys are strings and its numbers are integers.
fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The answers of earlier plugins; null = none.
fn view<T: DeserializeOwned + Default>(prior: &Value) -> Result<T, String> {
    if prior.is_null() {
        return Ok(T::default());
    }
    T::deserialize(prior).map_err(|error| format!("prior: {error}"))
}
