//! A plugin that changes nothing, through every interface.

use weir_plugin_sdk::{
    Context, Error, Filter, Masquerade, Plugin, Schedule, Scheduler, Service, Treatments, Verdict, export,
};

struct Identity;

impl Plugin for Identity {
    const NAME: &'static str = "identity";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn configure(_: &str) -> Result<Identity, Vec<String>> {
        Ok(Identity)
    }

    fn needs(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Filter for Identity {
    fn select(&self, _: &Service, _: &Context) -> Result<Verdict, Error> {
        Ok(Verdict::keep())
    }
}

impl Scheduler for Identity {
    fn schedule(&self, _: &Service, _: &Schedule, _: &Context) -> Result<Schedule, Error> {
        Ok(Schedule::keep())
    }
}

impl Masquerade for Identity {
    fn treat(&self, _: &Service, _: &Treatments, _: &Context) -> Result<Treatments, Error> {
        Ok(Treatments::keep())
    }
}

export!(Identity: filter, scheduler, masquerade);
