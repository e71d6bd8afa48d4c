//! One module per subcommand.

pub(crate) mod cleanup;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod lab;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod record;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod trace;
