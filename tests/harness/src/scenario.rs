//! The recorded scenarios; `tests/scenarios/data/README.md` describes the files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::netns::Netns;
use crate::witness::Dump;

/// One directory: a node, a configuration, and one or more steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The directory's name.
    pub name: String,
    folder: PathBuf,
}

/// The state of the objects, and the resulting kernel state.
#[derive(Clone, Debug)]
pub struct Step {
    /// Scenario and number, such as `mutate-ports/2`.
    pub name: String,
    folder: PathBuf,
}

/// A script that ran on the node before the recording.
const SETUP: &str = "setup.sh";

/// The directory of the recordings.
pub fn folder() -> PathBuf {
    // Without `..`: in the guest this directory exists and the package's own does not.
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("scenarios").join("data")
}

/// All recorded scenarios, sorted by name.
///
/// # Errors
/// When they cannot be read.
pub fn all() -> Result<Vec<Scenario>> {
    let data = folder();
    let mut scenarios = Vec::new();
    for entry in
        fs::read_dir(&data).with_context(|| format!("cannot read scenarios in {}", data.display()))?
    {
        let folder = entry?.path();
        if let Some(name) = folder.file_name().and_then(|name| name.to_str())
            && folder.is_dir()
        {
            scenarios.push(Scenario { name: name.to_owned(), folder: folder.clone() });
        }
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

/// The scenario with this name.
///
/// # Errors
/// When it does not exist or cannot be read.
pub fn named(name: &str) -> Result<Scenario> {
    all()?.into_iter().find(|s| s.name == name).with_context(|| format!("there is no scenario `{name}`"))
}

impl Scenario {
    /// The KubeProxyConfiguration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.json")
    }

    /// The Node object.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn node(&self) -> Result<String> {
        read(&self.folder.join("node.json"))
    }

    /// The node's interfaces.
    pub fn interfaces(&self) -> PathBuf {
        self.folder.join("interfaces.json")
    }

    /// The steps, in order.
    pub fn steps(&self) -> Vec<Step> {
        (1..)
            .map(|number| (number, self.folder.join(number.to_string())))
            .take_while(|(_, folder)| folder.is_dir())
            .map(|(number, folder)| Step { name: format!("{}/{number}", self.name), folder })
            .collect()
    }

    /// Whether node and configuration are the same, so that one process can run through both.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn shares_node_with(&self, other: &Scenario) -> Result<bool> {
        for file in ["config.json", "node.json", "interfaces.json"] {
            if read(&self.folder.join(file))? != read(&other.folder.join(file))? {
                return Ok(false);
            }
        }
        Ok([self, other].iter().all(|scenario| !scenario.folder.join(SETUP).exists()))
    }

    /// Turns a namespace into the scenario's node: `eth0` as recorded, the rest by the scenario's own script.
    ///
    /// # Errors
    /// When the interfaces cannot be read or created.
    pub fn furnish(&self, netns: &Netns) -> Result<()> {
        let interfaces: Vec<Value> = serde_json::from_str(&read(&self.interfaces())?)?;
        let eth0 = interfaces
            .iter()
            .find(|interface| interface["name"] == "eth0")
            .context("interfaces.json has no interface eth0")?;
        let addresses: Vec<&str> = eth0["addresses"]
            .as_array()
            .context("eth0 has no addresses")?
            .iter()
            .filter_map(Value::as_str)
            // The kernel derives the link-local address from the hardware address.
            .filter(|address| !address.starts_with("fe80:"))
            .collect();
        netns.add_interface("eth0", "52:54:00:12:34:56", &addresses)?;
        let setup = self.folder.join(SETUP);
        if setup.exists() {
            netns.script(&read(&setup)?).context(SETUP)?;
        }
        Ok(())
    }
}

impl Step {
    /// All Services and EndpointSlices.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn objects(&self) -> Result<String> {
        read(&self.folder.join("objects.json"))
    }

    /// The recorded kernel state.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn recorded(&self) -> Result<Dump> {
        Ok(Dump::recorded(&read(&self.folder.join("kernel.txt"))?))
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_equal_themselves_only() {
        let steps = named("mutate-ports").unwrap().steps();
        let [first, second] = [0, 1].map(|index| steps[index].recorded().unwrap());
        assert_eq!(first.differences(&first), "");
        assert!(first.differences(&second).contains("## ipvs"));
    }
}
