//! A plugin as the policy to measure.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_core::policy::Policy;
use weir_policy::configuration::parse;
use weir_policy::{Chain, Compiler, Loader, Runtime};

/// Returns the name of a component, and a chain of only this component with this configuration.
pub(crate) fn plugin(file: &Path, configuration: Value) -> Result<(String, Box<dyn Policy>)> {
    let name = file.file_stem().context("the plugin has no file name")?.to_string_lossy().into_owned();
    let name = name.trim_start_matches("weir_guest_").trim_start_matches("weir_plugin_").replace('_', "-");
    let entry = json!({
        "name": name,
        "source": std::path::absolute(file)?,
        "configuration": configuration,
        "limits": {"callTimeout": "5s", "syncBudget": "10s"},
    });
    let text =
        json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration", "plugins": [entry]});
    let parsed = parse(&text.to_string(), Path::new(""))?;
    let loaded = Loader::new(Runtime::new()?, Compiler::InProcess, "bench").load(&parsed)?;
    if let Some(refused) = loaded.refused.first() {
        anyhow::bail!("{}: {}", file.display(), refused.why);
    }
    let chain: Chain = loaded.chain;
    Ok((name, Box::new(chain)))
}
