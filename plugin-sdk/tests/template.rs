//! The template of `weir plugin new` passes its own tests and builds into a component.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The files of the template, and their names in a new plugin.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml.in", "Cargo.toml"),
    ("README.md.in", "README.md"),
    ("manifests/shop.yaml", "manifests/shop.yaml"),
    ("policy.yaml.in", "policy.yaml"),
    ("src/lib.rs.in", "src/lib.rs"),
    ("tests/views/scheduler.json", "tests/views/scheduler.json"),
];

fn cargo(folder: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}:\n{said}", arguments.join(" "));
}

#[test]
fn the_template_is_a_plugin() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for (file, name) in FILES {
        let text = fs::read_to_string(sdk.join("template").join(file)).unwrap();
        let text = text.replace("{{name}}", "my-plugin").replace("{{component}}", "my_plugin");
        let text = text.replace("{{sdk}}", &format!("{:?}", sdk.to_string_lossy()));
        assert!(!text.contains("{{"), "{file}: {text}");
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    // The same versions as here, which are available offline.
    fs::copy(sdk.join("../Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    cargo(folder.path(), &["test", "--offline"]);
    cargo(folder.path(), &["build", "--offline", "--release", "--target", "wasm32-wasip2"]);
    let component = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wasm32-wasip2/release/my_plugin.wasm");
    // A component, not a module: the preamble's layer is 1 (component-model/design/mvp/Binary.md).
    assert!(fs::read(component).unwrap().starts_with(b"\0asm\x0d\0\x01\0"));
}
