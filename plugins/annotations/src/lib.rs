//! Scheduler, weights, persistence, drain, masquerading, VIPs and sources from annotations: weir's own, and those of
//! kube-router and Cilium as far as IPVS supports them.
//!
//! ```text
//! Service ─▶ Reader (which dialects, which keys, complaints) ─▶ schedule / vips / treatments
//! ```
//!
//! An unreadable value changes nothing, and the reason names it. README.md lists the keys.
//!
//! The plugin returns no errors for services: tenants write annotations, and one tenant's mistake must not delay the
//! others.

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{
    Context, Error, Filter, Masquerade, Plugin, Schedule, Scheduler, Service, Treatments, Verdict, export,
};

mod persistence;
mod reader;
mod schedule;
mod treatments;
mod vips;
mod weights;

use reader::{Dialect, Keys, Reader};

/// The plugin: the annotations that it reads.
#[derive(Debug)]
pub struct Annotations {
    dialects: Vec<Dialect>,
    keys: Keys,
}

impl Annotations {
    fn reader<'a>(&'a self, service: &'a Service) -> Reader<'a> {
        Reader::new(&service.annotations, &self.dialects, &self.keys)
    }
}

impl Plugin for Annotations {
    const NAME: &'static str = "annotations";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(configuration: &str) -> Result<Annotations, Vec<String>> {
        Fields::read(configuration, |fields| {
            let names = fields.texts::<String>("dialects").unwrap_or_else(|| vec!["weir".to_owned()]);
            let mut dialects = Vec::new();
            for name in names {
                match Dialect::from_name(&name) {
                    Some(dialect) => dialects.push(dialect),
                    None => fields.problem(
                        "dialects",
                        format!("names `{name}`: write any of weir, kube-router, cilium"),
                    ),
                }
            }
            let keys = Keys::new(fields.texts("keys"));
            if let Some(pattern) = keys.useless(&dialects) {
                fields.problem(
                    "keys",
                    format!("has `{pattern}`, which matches no key of the configured dialects"),
                );
            }
            Annotations { dialects, keys }
        })
    }

    fn needs(&self) -> Vec<String> {
        let mut needs: Vec<String> = reader::SERVICE_KEYS
            .iter()
            .filter(|(dialect, key)| self.dialects.contains(dialect) && self.keys.allow(key))
            .map(|(_, key)| format!("annotation:{key}"))
            .collect();
        needs.extend(weights::needs(&self.dialects, &self.keys));
        needs
    }
}

impl Filter for Annotations {
    fn select(&self, service: &Service, _: &Context) -> Result<Verdict, Error> {
        Ok(vips::verdict(&mut self.reader(service), service))
    }
}

impl Scheduler for Annotations {
    fn schedule(&self, service: &Service, prior: &Schedule, context: &Context) -> Result<Schedule, Error> {
        Ok(schedule::schedule(&mut self.reader(service), service, prior, context))
    }
}

impl Masquerade for Annotations {
    fn treat(&self, service: &Service, _: &Treatments, _: &Context) -> Result<Treatments, Error> {
        Ok(treatments::treatments(&mut self.reader(service)))
    }
}

export!(Annotations: filter, scheduler, masquerade);

#[cfg(test)]
mod tests;
