//! Checks an example's answers with the real host.
//!
//! The golden files have the format of weir-plugin-sdk's test kit. weir replays records, which contain the same
//! for one service each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process;

/// The most memory a plugin may get; someone trying out a plugin has not limited it yet.
const MEMORY: &str = "64Mi";

/// Checks the component against all golden files in a directory.
pub(super) fn check(weir: &Path, component: &Path, folder: &Path) -> Result<()> {
    for golden in goldens(folder)? {
        let reading = || format!("cannot use {}", golden.display());
        let text = fs::read_to_string(&golden).with_context(reading)?;
        let records = records(&serde_json::from_str(&text).with_context(reading)?).with_context(reading)?;
        let mut file = tempfile::NamedTempFile::new().context("cannot create a temporary file")?;
        file.write_all(records.as_bytes()).context("cannot write a temporary file")?;
        let mut command = Command::new(weir);
        command.arg("replay").arg(file.path()).args(["--memory", MEMORY]).arg("--component").arg(component);
        process::run(&mut command).with_context(|| golden.display().to_string())?;
    }
    Ok(())
}

fn goldens(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("cannot read {}", folder.display());
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).with_context(reading)?.collect();
    let mut paths: Vec<PathBuf> = entries.with_context(reading)?.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    ensure!(!paths.is_empty(), "{} has no golden files", folder.display());
    Ok(paths)
}

/// Returns one record per line for each service of a golden file.
fn records(golden: &Value) -> Result<String> {
    let list = |name: &str| golden[name].as_array().with_context(|| format!("{name} is not a list"));
    let (services, answers) = (list("services")?, list("schedules")?);
    ensure!(
        services.len() == answers.len(),
        "the file has {} services, but {} schedules",
        services.len(),
        answers.len()
    );
    let mut lines = String::new();
    for (index, (service, answer)) in services.iter().zip(answers).enumerate() {
        let record = json!({
            "plugin": "example",
            "digest": "",
            "interface": "scheduler",
            "configuration": golden["configuration"],
            "context": golden["context"],
            "service": service,
            // Null means that no earlier plugin said anything.
            "prior": golden["prior-schedules"][index],
            "answer": answer,
        });
        lines.push_str(&format!("{record}\n"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_file_is_a_record_for_each_service() {
        let mut golden = json!({
            "configuration": {"a": 1},
            "context": {"node": "n"},
            "services": [{"name": "x"}, {"name": "y"}],
            "schedules": [{}, {"reason": "why"}],
        });
        let lines = |golden: &Value| -> Vec<Value> {
            let text = records(golden).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let found = lines(&golden);
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0]["service"]["name"], &found[1]["service"]["name"]), (&json!("x"), &json!("y")));
        assert_eq!((&found[0]["prior"], &found[1]["answer"]["reason"]), (&Value::Null, &json!("why")));
        golden["prior-schedules"] = json!([{}, {"reason": "earlier"}]);
        assert_eq!(lines(&golden)[1]["prior"]["reason"], "earlier");
    }

    #[test]
    fn an_answer_for_each_service_is_needed() {
        let error = |golden| records(&golden).unwrap_err().to_string();
        assert_eq!(
            error(json!({"services": [{}], "schedules": []})),
            "the file has 1 services, but 0 schedules"
        );
        assert_eq!(error(json!({"services": [{}]})), "schedules is not a list");
    }
}
