//! The kernel's readiness to kill this process when memory is short.

use std::path::{Path, PathBuf};

use crate::sysctl::{self, SysctlError};

/// Sets the value for this process, unless it already has it. Lowering it requires CAP_SYS_RESOURCE.
///
/// # Errors
/// When it cannot be read or written.
pub fn set_score_adjustment(value: i64) -> Result<(), SysctlError> {
    set_at(Path::new("/proc/self/oom_score_adj"), value)
}

fn set_at(path: &Path, value: i64) -> Result<(), SysctlError> {
    match sysctl::read_file(path)? {
        Some(found) if found == value => Ok(()),
        Some(_) => sysctl::write_file(path, value),
        None => Err(SysctlError::Missing { path: PathBuf::from(path), hint: "; mount /proc" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_become_easier_to_end() {
        let path = Path::new("/proc/self/oom_score_adj");
        let found = sysctl::read_file(path).unwrap().unwrap();
        // Lowering requires a capability, raising does not, and no test depends on the value.
        let raised = (found + 1).min(1000);
        set_score_adjustment(raised).unwrap();
        assert_eq!(sysctl::read_file(path).unwrap(), Some(raised));
        set_score_adjustment(raised).unwrap();
        assert!(set_at(Path::new("/nonexistent"), 0).unwrap_err().to_string().contains("mount /proc"));
    }
}
