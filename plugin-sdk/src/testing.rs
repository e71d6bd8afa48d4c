//! Tests a plugin as plain Rust, with recorded or invented views.
//!
//! A golden file contains a configuration, a context, services, and the expected answers:
//!
//! ```json
//! {"configuration": {}, "context": {"node": "n1", "default-scheduler": "rr"},
//!  "services": [{"namespace": "shop", "name": "web", "ports": [{"port": 80}]}],
//!  "schedules": [{"ports": [{"scheduler": "mh"}]}]}
//! ```
//!
//! If the environment variable `UPDATE_EXPECTED` is set, unexpected answers do not fail the test: they are written into
//! their files, and the rest of each file stays as it is. weir's own tests run the same files against the component.
//!
//! Oddities in a file are reported as remarks on standard error (`cargo test -- --nocapture`), and next to a failure.
//!
//! The plugin is called as weir calls it: it sees only its declared needs, whatever else the file contains; all
//! services come in one batch, and then each alone. If an answer differs between the two calls, the test fails, because
//! the answer depends on something other than the service.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_plugin_views::{Context, Schedule, Service, Treatments, Verdict};

use crate::bindings::lifecycle::weir::policy::types;
use crate::bindings::{masquerade, scheduler};
use crate::log::Level;
use crate::{Filter, Masquerade, Plugin, Scheduler, component, convert};

mod compare;
mod needs;
mod remarks;
mod written;

/// A golden file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Golden {
    /// The plugin's configuration.
    #[serde(default)]
    pub configuration: Value,
    /// Values common to all services.
    pub context: Context,
    /// The services.
    pub services: Vec<Service>,
    /// An earlier plugin's schedule for each service; absent = none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prior_schedules: Vec<Schedule>,
    /// An earlier plugin's masquerading for each service; absent = none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prior_treatments: Vec<Treatments>,
    /// The filter's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<Vec<Verdict>>,
    /// The scheduler's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    /// The masquerade policy's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub treatments: Option<Vec<Treatments>>,
}

/// Returns a configured plugin.
///
/// # Panics
/// If it refuses the configuration; the message gives its reasons.
pub fn plugin<P: Plugin>(configuration: &Value) -> P {
    match P::configure(&configuration.to_string()) {
        Ok(plugin) => plugin,
        Err(refusals) => panic!("{} refuses {configuration}: {}", P::NAME, refusals.join("; ")),
    }
}

/// Returns the mistakes that a plugin finds in a configuration; empty if it accepts it.
pub fn refusals<P: Plugin>(configuration: &Value) -> Vec<String> {
    P::configure(&configuration.to_string()).err().unwrap_or_default()
}

/// Runs a function and returns its result and the log lines that the plugin wrote, as level and line.
pub fn logged<T>(run: impl FnOnce() -> T) -> (T, Vec<(Level, String)>) {
    crate::log::capture(run)
}

type Called<A> = Result<Vec<A>, types::Error>;

impl Golden {
    /// Returns the file as a plugin with these needs sees it.
    ///
    /// # Panics
    /// On a need that weir would refuse.
    #[must_use]
    pub fn reduced(&self, needs: &[String]) -> Golden {
        let needs = needs::Needs::parse(needs);
        Golden {
            context: needs.reduced_context(&self.context),
            services: self.services.iter().map(|service| needs.reduced_service(service)).collect(),
            ..self.clone()
        }
    }

    /// Calls a filter.
    ///
    /// # Panics
    /// If there is no answer, or the answers depend on the batch.
    pub fn select<P: Filter>(&self) -> Vec<Verdict> {
        let answers = self.ask::<P, _>(|plugin, context, services| {
            component::select(plugin, context, services.into_iter().map(|(_, service)| service).collect())
        });
        answers.into_iter().map(convert::answered_verdict).collect()
    }

    /// Calls a scheduler.
    ///
    /// # Panics
    /// See [`select`](Golden::select).
    pub fn schedule<P: Scheduler>(&self) -> Vec<Schedule> {
        let request = |(index, service)| scheduler::exports::weir::policy::scheduler::Request {
            service,
            prior: convert::schedule(self.prior_schedules.get(index).cloned().unwrap_or_default()),
        };
        let answers = self.ask::<P, _>(|plugin, context, services| {
            component::schedule(plugin, context, services.into_iter().map(request).collect())
        });
        answers.into_iter().map(convert::prior_schedule).collect()
    }

    /// Calls a masquerade policy.
    ///
    /// # Panics
    /// See [`select`](Golden::select).
    pub fn treat<P: Masquerade>(&self) -> Vec<Treatments> {
        let request = |(index, service)| masquerade::exports::weir::policy::masquerade::Request {
            service,
            prior: convert::treatments(self.prior_treatments.get(index).cloned().unwrap_or_default()),
        };
        let answers = self.ask::<P, _>(|plugin, context, services| {
            component::treat(plugin, context, services.into_iter().map(request).collect())
        });
        answers.into_iter().map(convert::prior_treatments).collect()
    }

    /// Calls the plugin for all services at once, and for each alone.
    fn ask<P: Plugin, A: std::fmt::Debug>(
        &self,
        call: impl Fn(&P, types::Context, Vec<(usize, types::Service)>) -> Called<A>,
    ) -> Vec<A> {
        let plugin: P = plugin(&self.configuration);
        let Golden { context, services, .. } = self.reduced(&plugin.needs());
        let (context, indexes) = convert::lower_context(context, &services);
        let services: Vec<types::Service> =
            services.into_iter().map(|service| convert::lower_service(service, &indexes)).collect();
        let answers = |services: Vec<(usize, types::Service)>| {
            let names = services.iter().map(|(_, service)| format!("{}/{}", service.namespace, service.name));
            let names: Vec<String> = names.collect();
            match call(&plugin, context.clone(), services) {
                Ok(answers) if answers.len() == names.len() => answers,
                Ok(answers) => panic!(
                    "expected one answer per service; the number of answers is {} for {}",
                    answers.len(),
                    names.join(", ")
                ),
                Err(error) => panic!("no answer for {}: {error}", names.join(", ")),
            }
        };
        let together = answers(services.iter().cloned().enumerate().collect());
        for (index, service) in services.into_iter().enumerate() {
            let name = format!("{}/{}", service.namespace, service.name);
            let alone = answers(vec![(index, service)]);
            assert_eq!(
                format!("{:?}", alone[0]),
                format!("{:?}", together[index]),
                "the answer for {name} depends on the other services in the call: it differs if the plugin is called \
                 for {name} alone"
            );
        }
        together
    }
}

/// Returns the golden files of a folder, sorted by name.
///
/// # Panics
/// If the folder or a file cannot be read, or the folder has no golden files.
pub fn goldens(folder: &Path) -> Vec<(PathBuf, Golden)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has no golden files", folder.display());
    paths.into_iter().map(|path| (path.clone(), golden(&path, &text(&path)))).collect()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden(path: &Path, text: &str) -> Golden {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{}", compare::unreadable(path, text, &error)))
}

/// Runs the golden files of a folder; `ask` fills in the answers.
///
/// # Panics
/// If answers are not as expected; the message lists all unexpected answers.
pub fn check(folder: &Path, ask: impl Fn(&Golden) -> Golden) {
    check_files(folder, |_| Vec::new(), ask);
}

/// Runs the golden files of a folder; `remarks` returns the oddities of one file.
#[doc(hidden)]
pub fn check_files(folder: &Path, remarks: impl Fn(&Golden) -> Vec<String>, ask: impl Fn(&Golden) -> Golden) {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut failures = Vec::new();
    for (path, golden) in goldens(folder) {
        let (remarks, actual) = {
            let _told = compare::InFile(&path);
            (remarks(&golden), ask(&golden))
        };
        remarks.iter().for_each(|remark| eprintln!("remark: {}: {remark}", path.display()));
        let differences = compare::differences(&golden, &actual);
        if differences.is_empty() {
            continue;
        }
        if update && compare::superfluous(&golden, &actual).is_none() {
            let text = compare::updated(text(&path), &golden, &actual);
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            continue;
        }
        failures.push(format!("{}:\n{}", path.display(), differences.join("\n")));
        failures.extend(remarks.iter().map(|remark| format!("  remark: {remark}")));
    }
    assert!(
        failures.is_empty(),
        "answers differ from the golden files.\n{}\nIf the new answers are right, run UPDATE_EXPECTED=1 cargo test and \
         review the changes.",
        failures.join("\n")
    );
}

/// Returns the oddities of a golden file for this plugin.
#[doc(hidden)]
pub fn remarks<P: Plugin>(golden: &Golden) -> Vec<String> {
    golden.remarks(&plugin::<P>(&golden.configuration).needs())
}

/// Runs the golden files of a folder against the listed interfaces. List the same interfaces as in
/// [`export!`](crate::export):
///
/// ```
/// # use weir_plugin_sdk::{Context, Error, Plugin, Schedule, Scheduler, Service};
/// # struct MyPlugin;
/// # impl Plugin for MyPlugin {
/// #     const NAME: &'static str = "my-plugin";
/// #     const VERSION: &'static str = "1";
/// #     fn configure(_: &str) -> Result<MyPlugin, Vec<String>> { Ok(MyPlugin) }
/// #     fn needs(&self) -> Vec<String> { Vec::new() }
/// # }
/// # impl Scheduler for MyPlugin {
/// #     fn schedule(&self, _: &Service, _: &Schedule, _: &Context) -> Result<Schedule, Error> { Ok(Schedule::keep()) }
/// # }
/// # let folder = tempfile::tempdir().unwrap();
/// # std::fs::write(folder.path().join("a.json"), r#"{"context": {}, "services": [], "schedules": []}"#).unwrap();
/// # let tests_views = folder.path();
/// weir_plugin_sdk::check_goldens!(tests_views, MyPlugin: scheduler);
/// ```
///
/// # Panics
/// If an answer is not as expected.
#[macro_export]
macro_rules! check_goldens {
    ($folder:expr, $plugin:ty: $($interface:ident),+ $(,)?) => {
        $crate::testing::check_files(::std::path::Path::new(&$folder), $crate::testing::remarks::<$plugin>, |golden| {
            let mut asked = $crate::testing::Golden {
                verdicts: None,
                schedules: None,
                treatments: None,
                ..golden.clone()
            };
            $($crate::__ask!($interface, asked, golden, $plugin);)+
            asked
        })
    };
}

/// Calls the plugin through one interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __ask {
    (filter, $asked:ident, $golden:ident, $plugin:ty) => {
        $asked.verdicts = Some($golden.select::<$plugin>());
    };
    (scheduler, $asked:ident, $golden:ident, $plugin:ty) => {
        $asked.schedules = Some($golden.schedule::<$plugin>());
    };
    (masquerade, $asked:ident, $golden:ident, $plugin:ty) => {
        $asked.treatments = Some($golden.treat::<$plugin>());
    };
}

#[cfg(test)]
mod tests;
