//! The text of `--version`.

use std::sync::LazyLock;

/// Printed by `--version`, also when called as kube-proxy. A release also names the commit from which it was built:
/// `0.1.0+0123456789ab (kube-proxy v1.37.2 compatible)`.
pub(crate) fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| text(option_env!("WEIR_COMMIT")));
    &VERSION
}

fn text(commit: Option<&str>) -> String {
    // Build metadata of a semantic version begins with a `+`.
    let commit = commit.map(|commit| format!("+{commit:.12}")).unwrap_or_default();
    format!("{}{commit} (kube-proxy v1.37.2 compatible)", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_its_commit_and_other_builds_do_not() {
        let version = env!("CARGO_PKG_VERSION");
        let of_release = text(Some("0123456789abcdef"));
        assert_eq!(of_release, format!("{version}+0123456789ab (kube-proxy v1.37.2 compatible)"));
        assert_eq!(text(None), format!("{version} (kube-proxy v1.37.2 compatible)"));
    }
}
