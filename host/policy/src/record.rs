//! What a plugin was asked and what it answered, so that it can be shown, kept, and asked again elsewhere.

use crate::configuration::Interface;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_plugin_views::{Context, Schedule, Service, Treatments};

use crate::artifact::Artifact;
use crate::bindings::{filter, masquerade, scheduler, types};
use crate::call::{CallFailure, Called, Instance};
use crate::convert;
use crate::hook::{self, Hook};

/// One question and its answer. A file of these has one a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// The plugin's name in the configuration.
    pub plugin: String,
    /// The digest of its component.
    pub digest: String,
    /// `filter`, `scheduler` or `masquerade`.
    pub interface: String,
    /// Its configuration.
    pub configuration: Value,
    /// What it saw beside the service.
    pub context: Context,
    /// The service.
    pub service: Service,
    /// What earlier plugins had said; null for filters.
    pub prior: Value,
    /// What it answered.
    pub answer: Value,
}

/// What a hook must offer to be recorded.
pub(crate) trait Recorded: Hook {
    /// The service that was asked about.
    fn service(request: &Self::Request) -> &types::Service;
    /// What earlier plugins had said.
    fn prior(request: &Self::Request) -> Value;
    /// The answer.
    fn answer(answer: Self::Answer) -> Value;
    /// A recorded question.
    fn recorded(service: types::Service, prior: &Value) -> Result<Self::Request, String>;
}

fn json(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn prior<T: serde::de::DeserializeOwned + Default>(prior: &Value) -> Result<T, String> {
    if prior.is_null() {
        return Ok(T::default());
    }
    T::deserialize(prior).map_err(|error| format!("prior: {error}"))
}

impl Recorded for hook::Filter {
    fn service(request: &types::Service) -> &types::Service {
        request
    }

    fn prior(_: &types::Service) -> Value {
        Value::Null
    }

    fn answer(answer: filter::Verdict) -> Value {
        json(convert::answered_verdict(answer))
    }

    fn recorded(service: types::Service, _: &Value) -> Result<types::Service, String> {
        Ok(service)
    }
}

impl Recorded for hook::Scheduler {
    fn service(request: &scheduler::Request) -> &types::Service {
        &request.service
    }

    fn prior(request: &scheduler::Request) -> Value {
        json(convert::prior_schedule(request.prior.clone()))
    }

    fn answer(answer: scheduler::Schedule) -> Value {
        json(convert::prior_schedule(answer))
    }

    fn recorded(service: types::Service, before: &Value) -> Result<scheduler::Request, String> {
        Ok(scheduler::Request { service, prior: convert::schedule(prior::<Schedule>(before)?) })
    }
}

impl Recorded for hook::Masquerade {
    fn service(request: &masquerade::Request) -> &types::Service {
        &request.service
    }

    fn prior(request: &masquerade::Request) -> Value {
        json(convert::prior_treatments(request.prior.clone()))
    }

    fn answer(answer: masquerade::Treatments) -> Value {
        json(convert::prior_treatments(answer))
    }

    fn recorded(service: types::Service, before: &Value) -> Result<masquerade::Request, String> {
        Ok(masquerade::Request { service, prior: convert::treatments(prior::<Treatments>(before)?) })
    }
}

/// The record of a question that was answered.
pub(crate) fn record<H: Recorded>(
    artifact: &Artifact,
    context: &types::Context,
    request: &H::Request,
    answer: H::Answer,
) -> Record {
    let (context, names) = convert::context(context.clone());
    Record {
        plugin: artifact.configuration.name.clone(),
        digest: artifact.facts.digest.to_string(),
        interface: H::NAME.to_owned(),
        configuration: artifact.configuration.configuration.clone(),
        context,
        service: convert::service(H::service(request).clone(), &names),
        prior: H::prior(request),
        answer: H::answer(answer),
    }
}

/// Why a recorded question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The plugin does not have the interface.
    #[error("the plugin has no interface {0}")]
    NoInterface(String),
    /// The record cannot be read.
    #[error("the record cannot be used: {0}")]
    Record(String),
    /// The call failed.
    #[error("{0}")]
    Call(CallFailure),
}

impl Artifact {
    /// Asks about recorded services as one batch, and returns the answers in order. `priors` are what earlier plugins
    /// had said of each; fewer mean nothing of the others.
    ///
    /// # Errors
    /// If the plugin has no such interface, fails, or a prior opinion is none.
    pub fn replay(
        &self,
        interface: Interface,
        context: Context,
        services: Vec<Service>,
        priors: &[Value],
    ) -> Result<Vec<Value>, ReplayError> {
        if !self.has(interface) {
            return Err(ReplayError::NoInterface(interface.to_string()));
        }
        match interface {
            Interface::Filter => self.replay_hook::<hook::Filter>(context, services, priors),
            Interface::Scheduler => self.replay_hook::<hook::Scheduler>(context, services, priors),
            Interface::Masquerade => self.replay_hook::<hook::Masquerade>(context, services, priors),
        }
    }

    fn replay_hook<H: Recorded>(
        &self,
        context: Context,
        services: Vec<Service>,
        priors: &[Value],
    ) -> Result<Vec<Value>, ReplayError> {
        let (context, indexes) = convert::lower_context(context, &services);
        let none = Value::Null;
        let requests: Vec<H::Request> = services
            .into_iter()
            .enumerate()
            .map(|(i, service)| {
                let service = convert::lower_service(service, &indexes);
                H::recorded(service, priors.get(i).unwrap_or(&none)).map_err(ReplayError::Record)
            })
            .collect::<Result<_, _>>()?;
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(crate::plugin::BATCH) {
            answers.extend(self.call_once::<H>(&context, batch).map_err(ReplayError::Call)?);
        }
        Ok(answers.into_iter().map(H::answer).collect())
    }

    /// Makes an instance, hands it the configuration, and throws it away.
    ///
    /// # Errors
    /// If that fails.
    pub fn start_once(&self) -> Result<(), ReplayError> {
        Instance::ready(self).map(drop).map_err(ReplayError::Call)
    }

    /// One call of a fresh instance.
    fn call_once<H: Hook>(
        &self,
        context: &types::Context,
        requests: &[H::Request],
    ) -> Called<Vec<H::Answer>> {
        let mut instance = Instance::ready(self)?;
        H::call(&mut instance, context, requests, self.configuration.limits.call_timeout)
    }
}
