//! The programs built with Go: their paths, and the message when they are missing.

use std::fmt;
use std::path::{Path, PathBuf};

/// The directory that `cargo xtask cluster build` writes to.
pub fn folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).join("target/cluster")
}

/// The programs of a cluster, and of the tests of `host/install`.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// Its store.
    pub etcd: PathBuf,
    /// kubectl, for people.
    pub kubectl: PathBuf,
    /// kube-proxy, to compare with weir.
    pub kube_proxy: PathBuf,
    /// Renders and installs the chart.
    pub helm: PathBuf,
    /// Checks Grafana dashboards.
    pub board: PathBuf,
}

/// A missing program.
#[derive(Clone, Debug)]
pub struct Missing(PathBuf);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} not found; with Go installed, run: cargo xtask cluster build", self.0.display())
    }
}

impl std::error::Error for Missing {}

impl Programs {
    /// Finds all programs in the default directory.
    ///
    /// # Errors
    /// The first missing program.
    pub fn find() -> Result<Programs, Missing> {
        Programs::below(&folder())
    }

    fn below(folder: &Path) -> Result<Programs, Missing> {
        let find = |name: &str| {
            let program = folder.join(name);
            if program.is_file() { Ok(program) } else { Err(Missing(program)) }
        };
        Ok(Programs {
            kube_apiserver: find("kube-apiserver")?,
            etcd: find("etcd")?,
            kubectl: find("kubectl")?,
            kube_proxy: find("kube-proxy")?,
            helm: find("helm")?,
            board: find("board")?,
        })
    }
}

/// For tests: returns the programs, or prints that the test is skipped.
pub fn programs_or_skip() -> Option<Programs> {
    Programs::find().inspect_err(|missing| println!("SKIPPED: {missing}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_program_that_is_missing_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kube-apiserver"), "").unwrap();
        let missing = Programs::below(folder.path()).unwrap_err().to_string();
        assert!(
            missing.contains("etcd not found; ") && missing.contains("cargo xtask cluster build"),
            "{missing}"
        );
    }
}
