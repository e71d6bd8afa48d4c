//! What [`crate::export!`] makes a component of: the batch loop, and the plugin between calls of one instance.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use weir_plugin_views::{Context, Schedule, Service, Treatments, Verdict};

use crate::bindings::exports::weir::policy::{filter, lifecycle, masquerade, scheduler};
use crate::bindings::weir::policy::types;
use crate::{Error, Plugin, convert};

/// The interfaces of a plugin; those that it does not have answer that everything stays as it is.
pub trait Exported {
    /// The plugin.
    type Plugin: Plugin + 'static;
    /// The interfaces that it has, so that weir does not ask through the others.
    const INTERFACES: &'static str;

    /// See [`crate::Filter`].
    ///
    /// # Errors
    /// As the plugin says.
    fn select(_: &Self::Plugin, _: &Service, _: &Context) -> Result<Verdict, Error> {
        Ok(Verdict::keep())
    }

    /// See [`crate::Scheduler`].
    ///
    /// # Errors
    /// As the plugin says.
    fn schedule(_: &Self::Plugin, _: &Service, _: &Schedule, _: &Context) -> Result<Schedule, Error> {
        Ok(Schedule::keep())
    }

    /// See [`crate::Masquerade`].
    ///
    /// # Errors
    /// As the plugin says.
    fn treat(_: &Self::Plugin, _: &Service, _: &Treatments, _: &Context) -> Result<Treatments, Error> {
        Ok(Treatments::keep())
    }
}

/// The component.
pub struct Export<E>(std::marker::PhantomData<E>);

thread_local! {
    /// The configured plugin. An instance is configured once and lives for one call.
    static PLUGIN: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

fn plugin<P: 'static>() -> Result<Rc<P>, types::Error> {
    let configured = PLUGIN.with_borrow(Clone::clone);
    configured
        .and_then(|plugin| plugin.downcast().ok())
        .ok_or_else(|| types::Error::Permanent("it was asked before it was configured".to_owned()))
}

fn failed(service: &Service, error: Error) -> types::Error {
    let named = |why: String| format!("{}/{}: {why}", service.namespace, service.name);
    match error {
        Error::InvalidInput(why) => types::Error::InvalidInput(named(why)),
        Error::Transient(why) => types::Error::Transient(named(why)),
        Error::Permanent(why) => types::Error::Permanent(named(why)),
    }
}

impl<E: Exported> lifecycle::Guest for Export<E> {
    fn configure(configuration: String) -> Result<(), Vec<String>> {
        let plugin = E::Plugin::configure(&configuration)?;
        PLUGIN.set(Some(Rc::new(plugin)));
        Ok(())
    }

    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: E::Plugin::NAME.to_owned(),
            version: E::Plugin::VERSION.to_owned(),
            needs: plugin::<E::Plugin>().map(|plugin| plugin.needs()).unwrap_or_default(),
            extra: vec![("interfaces".to_owned(), E::INTERFACES.trim_end().to_owned())],
        }
    }
}

impl<E: Exported> filter::Guest for Export<E> {
    fn select(
        ctx: types::Context,
        services: Vec<types::Service>,
    ) -> Result<Vec<filter::Verdict>, types::Error> {
        let plugin = plugin::<E::Plugin>()?;
        let (context, names) = convert::context(ctx);
        services
            .into_iter()
            .map(|service| {
                let service = convert::service(service, &names);
                let verdict =
                    E::select(&plugin, &service, &context).map_err(|error| failed(&service, error))?;
                Ok(convert::verdict(verdict))
            })
            .collect()
    }
}

impl<E: Exported> scheduler::Guest for Export<E> {
    fn schedule_services(
        ctx: types::Context,
        requests: Vec<scheduler::Request>,
    ) -> Result<Vec<scheduler::Schedule>, types::Error> {
        let plugin = plugin::<E::Plugin>()?;
        let (context, names) = convert::context(ctx);
        requests
            .into_iter()
            .map(|scheduler::Request { service, prior }| {
                let (service, prior) = (convert::service(service, &names), convert::prior_schedule(prior));
                let schedule = E::schedule(&plugin, &service, &prior, &context);
                Ok(convert::schedule(schedule.map_err(|error| failed(&service, error))?))
            })
            .collect()
    }
}

impl<E: Exported> masquerade::Guest for Export<E> {
    fn treat(
        ctx: types::Context,
        requests: Vec<masquerade::Request>,
    ) -> Result<Vec<masquerade::Treatments>, types::Error> {
        let plugin = plugin::<E::Plugin>()?;
        let (context, names) = convert::context(ctx);
        requests
            .into_iter()
            .map(|masquerade::Request { service, prior }| {
                let (service, prior) = (convert::service(service, &names), convert::prior_treatments(prior));
                let treatments = E::treat(&plugin, &service, &prior, &context);
                Ok(convert::treatments(treatments.map_err(|error| failed(&service, error))?))
            })
            .collect()
    }
}
