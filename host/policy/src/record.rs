//! A plugin's questions and answers, to be shown, stored, and replayed elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_plugin_views::{Context, Service};

use crate::artifact::Artifact;
use crate::bindings::types;
use crate::call::{CallFailure, Called, Instance};
use crate::configuration::Interface;
use crate::convert;
use crate::hook::Hook;
use crate::patch::{FilterPatch, MasqueradePatch, SchedulerPatch};

/// One question and its answer. A file contains one per line.
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
    /// The context that was passed with the service.
    pub context: Context,
    /// The service.
    pub service: Service,
    /// The answers of earlier plugins; null for filters.
    pub prior: Value,
    /// The plugin's answer.
    pub answer: Value,
}

/// The record of an answered question.
pub(crate) fn record<H: Hook>(
    artifact: &Artifact,
    context: &types::Context,
    request: &H::Request,
    answer: H::Wire,
) -> Record {
    let (context, names) = convert::context(context.clone());
    let (service, prior) = H::asked(request);
    Record {
        plugin: artifact.configuration().name.clone(),
        digest: artifact.facts().digest.to_string(),
        interface: H::INTERFACE.to_string(),
        configuration: artifact.configuration().configuration.clone(),
        context,
        service: convert::service(service.clone(), &names),
        prior,
        answer: H::answer(answer),
    }
}

/// Why a recorded question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The plugin does not have the interface.
    #[error("the plugin has no interface {0}")]
    NoInterface(String),
    /// The record is malformed.
    #[error("the record cannot be used: {0}")]
    Record(String),
    /// The call failed.
    #[error("{0}")]
    Call(CallFailure),
}

impl Artifact {
    /// Asks about recorded services as one batch, and returns the answers in order. `priors` are the answers of earlier
    /// plugins about each service; a missing entry counts as no answer.
    ///
    /// # Errors
    /// If the plugin does not have the interface, fails, or a prior opinion is malformed.
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
            Interface::Filter => self.replay_hook::<FilterPatch>(context, services, priors),
            Interface::Scheduler => self.replay_hook::<SchedulerPatch>(context, services, priors),
            Interface::Masquerade => self.replay_hook::<MasqueradePatch>(context, services, priors),
        }
    }

    fn replay_hook<H: Hook>(
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
                let prior = H::recorded(priors.get(i).unwrap_or(&none)).map_err(ReplayError::Record)?;
                Ok(H::request(convert::lower_service(service, &indexes), prior))
            })
            .collect::<Result<_, _>>()?;
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(crate::plugin::BATCH) {
            answers.extend(self.call_once::<H>(&context, batch).map_err(ReplayError::Call)?);
        }
        Ok(answers.into_iter().map(H::answer).collect())
    }

    /// Creates an instance, passes it the configuration, and discards it.
    ///
    /// # Errors
    /// If that fails.
    pub fn start_once(&self) -> Result<(), ReplayError> {
        Instance::ready(&self.linked).map(drop).map_err(ReplayError::Call)
    }

    /// Makes one call of a fresh instance.
    fn call_once<H: Hook>(&self, context: &types::Context, requests: &[H::Request]) -> Called<Vec<H::Wire>> {
        Instance::ready(&self.linked)?.ask::<H>(context, requests, self.configuration().limits.call_timeout)
    }
}
