//! Plugins and hostile guests as components, built on first use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Packages to build for the plugins' target.
pub const PACKAGES: &[&str] = &[
    "weir-guest-hostile",
    "weir-guest-identity",
    "weir-plugin-annotations",
    "weir-plugin-load-aware",
    "weir-plugin-masquerade-by-vip",
    "weir-plugin-namespace-guard",
    "weir-plugin-node-weights",
    "weir-plugin-slow-start",
];

/// Returns the component of a package.
///
/// # Panics
/// When it cannot be built. Nothing is built in the guest; the host provides the components there.
pub fn component(package: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"));
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let file = target.join("wasm32-wasip2/plugin").join(format!("{}.wasm", package.replace('-', "_")));
    if let Some(cargo) = std::env::var_os("CARGO") {
        BUILT.get_or_init(|| {
            let mut command = Command::new(cargo);
            command.current_dir(root).args([
                "build",
                "--quiet",
                "--profile",
                "plugin",
                "--target",
                "wasm32-wasip2",
            ]);
            // Flags for native test code do not apply to components.
            command.env_remove("RUSTFLAGS").args(PACKAGES.iter().flat_map(|name| ["--package", name]));
            let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            assert!(status.success(), "{command:?}: {status}; is the target installed? cargo xtask setup");
        });
    }
    assert!(file.exists(), "{} does not exist", file.display());
    file
}
