//! Connects the contract's calls to a plugin's decisions: the loop over the batch, and the errors.
//!
//! Called by the code that [`export!`](crate::export) generates and by the test kit, so that a native test and a
//! component run the same code.

use weir_plugin_views::Service;

use crate::bindings::filter::exports::weir::policy::filter;
use crate::bindings::lifecycle::exports::weir::policy::lifecycle;
use crate::bindings::lifecycle::weir::policy::types;
use crate::bindings::masquerade::exports::weir::policy::masquerade;
use crate::bindings::scheduler::exports::weir::policy::scheduler;
use crate::{Error, Filter, Masquerade, Metric, Plugin, Scheduler, convert};

/// Compiles only if the plugin is a filter.
pub fn is_filter<P: Filter>() {}
/// Compiles only if the plugin is a scheduler.
pub fn is_scheduler<P: Scheduler>() {}
/// Compiles only if the plugin is a masquerade policy.
pub fn is_masquerade<P: Masquerade>() {}

/// Returns a plugin's description, with its needs if it was configured; weir configures it first.
pub fn describe<P: Plugin>(plugin: Option<&P>) -> lifecycle::Description {
    lifecycle::Description {
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        needs: plugin.map(Plugin::needs).unwrap_or_default(),
        metrics: (!P::METRICS.is_empty()).then(|| P::METRICS.iter().map(metric).collect()),
        extra: None,
    }
}

fn metric(metric: &Metric) -> lifecycle::Metric {
    let Metric { name, kind, help } = *metric;
    lifecycle::Metric { name: name.to_owned(), kind: kind.to_owned(), help: help.to_owned() }
}

/// Returns the answer of a plugin that was never configured.
pub fn unconfigured() -> types::Error {
    types::Error::Permanent("the plugin was called before it was configured".to_owned())
}

/// Calls the filter for each service.
///
/// # Errors
/// Returns the most severe of the plugin's errors.
pub fn select<P: Filter>(
    plugin: &P,
    context: types::Context,
    services: Vec<types::Service>,
) -> Result<Vec<filter::Verdict>, types::Error> {
    let (context, names) = convert::context(context);
    each(services, |service| {
        let service = convert::service(service, &names);
        plugin.select(&service, &context).map(convert::verdict).map_err(|error| named(&service, error))
    })
}

/// Calls the scheduler for each service.
///
/// # Errors
/// See [`select`].
pub fn schedule<P: Scheduler>(
    plugin: &P,
    context: types::Context,
    requests: Vec<scheduler::Request>,
) -> Result<Vec<scheduler::Schedule>, types::Error> {
    let (context, names) = convert::context(context);
    each(requests, |scheduler::Request { service, prior }| {
        let (service, prior) = (convert::service(service, &names), convert::prior_schedule(prior));
        let answer = plugin.schedule(&service, &prior, &context);
        answer.map(convert::schedule).map_err(|error| named(&service, error))
    })
}

/// Calls the masquerade policy for each service.
///
/// # Errors
/// See [`select`].
pub fn treat<P: Masquerade>(
    plugin: &P,
    context: types::Context,
    requests: Vec<masquerade::Request>,
) -> Result<Vec<masquerade::Treatments>, types::Error> {
    let (context, names) = convert::context(context);
    each(requests, |masquerade::Request { service, prior }| {
        let (service, prior) = (convert::service(service, &names), convert::prior_treatments(prior));
        let answer = plugin.treat(&service, &prior, &context);
        answer.map(convert::treatments).map_err(|error| named(&service, error))
    })
}

fn named(service: &Service, error: Error) -> Error {
    let named = |why: String| format!("{}/{}: {why}", service.namespace, service.name);
    match error {
        Error::InvalidInput(why) => Error::InvalidInput(named(why)),
        Error::Transient(why) => Error::Transient(named(why)),
        Error::Permanent(why) => Error::Permanent(named(why)),
    }
}

/// Returns all answers, or the most severe error. An invalid input does not end the loop, so that the result does not
/// depend on the order of the batch.
fn each<Q, A>(questions: Vec<Q>, mut ask: impl FnMut(Q) -> Result<A, Error>) -> Result<Vec<A>, types::Error> {
    let mut answers = Vec::with_capacity(questions.len());
    let mut gravest: Option<Error> = None;
    for question in questions {
        match ask(question) {
            Ok(answer) => answers.push(answer),
            Err(error) => {
                if gravest.as_ref().is_none_or(|known| gravity(&error) > gravity(known)) {
                    gravest = Some(error);
                }
            }
        }
    }
    match gravest {
        None => Ok(answers),
        Some(Error::InvalidInput(why)) => Err(types::Error::InvalidInput(why)),
        Some(Error::Transient(why)) => Err(types::Error::Transient(why)),
        Some(Error::Permanent(why)) => Err(types::Error::Permanent(why)),
    }
}

fn gravity(error: &Error) -> u8 {
    match error {
        Error::InvalidInput(_) => 0,
        Error::Transient(_) => 1,
        Error::Permanent(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(errors: &[Option<&Error>]) -> Result<usize, String> {
        let errors = errors.iter().map(|error| error.cloned()).collect();
        let answers = each(errors, |error: Option<Error>| error.map_or(Ok(()), Err));
        answers.map(|answers| answers.len()).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn the_gravest_error_counts_wherever_it_is() {
        let (invalid, transient) = (Error::InvalidInput("i".into()), Error::Transient("t".into()));
        let permanent = Error::Permanent("p".into());
        assert_eq!(outcome(&[None, None]), Ok(2));
        assert_eq!(outcome(&[None, Some(&invalid)]), Err(r#"Error::InvalidInput("i")"#.into()));
        for errors in [[Some(&invalid), Some(&transient)], [Some(&transient), Some(&invalid)]] {
            assert_eq!(outcome(&errors), Err(r#"Error::Transient("t")"#.into()));
        }
        let all = [Some(&invalid), Some(&permanent), Some(&transient)];
        assert_eq!(outcome(&all), Err(r#"Error::Permanent("p")"#.into()));
    }

    #[test]
    fn an_error_names_the_service() {
        let service = Service { namespace: "shop".into(), name: "web".into(), ..Service::default() };
        let error = named(&service, Error::InvalidInput("no".into()));
        assert_eq!(error, Error::InvalidInput("shop/web: no".into()));
    }
}
