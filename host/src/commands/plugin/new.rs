//! `weir plugin new`: creates a Rust plugin from a template.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};

use crate::cli::PluginNewArguments;
use crate::output::say;
use crate::style;

/// The files of a new plugin, with the placeholders `{{name}}`, `{{component}}` and `{{sdk}}`.
const TEMPLATE: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("../../../../plugin-sdk/template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("../../../../plugin-sdk/template/src/lib.rs.in")),
    (
        "tests/views/scheduler.json",
        include_str!("../../../../plugin-sdk/template/tests/views/scheduler.json"),
    ),
    ("manifests/shop.yaml", include_str!("../../../../plugin-sdk/template/manifests/shop.yaml")),
    ("policy.yaml", include_str!("../../../../plugin-sdk/template/policy.yaml.in")),
    ("README.md", include_str!("../../../../plugin-sdk/template/README.md.in")),
];

/// The configuration that the starter plugin requires.
const CONFIGURATION: &str = "{annotation: example.com/scheduler, allowed: [rr, lc]}";

/// Names that cannot be used: crates that a plugin depends on or that come with Rust, Rust keywords (The Rust
/// Reference, "Keywords"), and folders that cargo creates. As crate names, with `_`.
const TAKEN: &[&str] = &[
    "alloc",
    "core",
    "proc_macro",
    "std",
    "test",
    "serde",
    "serde_json",
    "ipnet",
    "weir_plugin_sdk",
    "weir_plugin_views",
    "wit_bindgen",
    "build",
    "deps",
    "examples",
    "incremental",
    "abstract",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "struct",
    "super",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The longest name; policy files accept no longer ones.
const LONGEST: usize = 63;

/// Creates the folder and prints the next steps.
pub(super) fn new(arguments: &PluginNewArguments) -> anyhow::Result<ExitCode> {
    let name = &arguments.name;
    check_name(name)?;
    let sdk = sdk(&arguments.sdk)?;
    let component = name.replace('-', "_");
    let folder = Path::new(name);
    ensure!(!folder.exists(), "`{name}` already exists in this folder; delete it, or choose another name");
    for (file, text) in TEMPLATE {
        let path = folder.join(file);
        let making = || format!("cannot create {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(making)?;
        let text =
            text.replace("{{name}}", name).replace("{{component}}", &component).replace("{{sdk}}", &sdk);
        fs::write(&path, text).with_context(making)?;
    }
    say!("{}", style::good(&format!("{name} is ready")));
    say!("  cd {name}");
    say!("  cargo test");
    say!("  cargo build --release --target wasm32-wasip2");
    let file = format!("target/wasm32-wasip2/release/{component}.wasm");
    say!("  weir plugin check {file} --configuration '{CONFIGURATION}'");
    say!("  weir plan --manifests manifests --node node1 --policy policy.yaml");
    say!("Each of the two builds first compiles the plugin's dependencies, which takes about a minute.");
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    ensure!(
        name.len() <= LONGEST
            && name.bytes().all(fits)
            && name.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && !name.ends_with('-'),
        "`{name}` is not a valid plugin name: use up to {LONGEST} lowercase letters, digits and dashes, starting with a \
         letter and not ending with a dash"
    );
    ensure!(
        !TAKEN.contains(&name.replace('-', "_").as_str()),
        "`{name}` is not a valid plugin name: a crate of this name cannot be built; use another name, such as `my-{name}`"
    );
    Ok(())
}

/// The SDK's folder, as a TOML string.
fn sdk(folder: &Path) -> anyhow::Result<String> {
    let place = || format!("--sdk {}", folder.display());
    let folder: PathBuf = folder.canonicalize().with_context(place)?;
    let manifest = folder.join("Cargo.toml");
    ensure!(
        manifest.exists(),
        "{}: contains no Cargo.toml; give the folder plugin-sdk of weir's source tree",
        place()
    );
    let text = fs::read_to_string(&manifest).with_context(place)?;
    ensure!(
        package_name(&text) == Some("weir-plugin-sdk"),
        "{}: its Cargo.toml is not for the package weir-plugin-sdk; give the folder plugin-sdk of weir's source tree",
        place()
    );
    let path = folder.to_str().with_context(|| format!("{}: the path is not UTF-8", place()))?;
    Ok(quoted(path))
}

/// The name in the `package` section of a Cargo.toml.
fn package_name(manifest: &str) -> Option<&str> {
    let lines = manifest.lines().map(str::trim);
    let section =
        lines.skip_while(|line| *line != "[package]").skip(1).take_while(|line| !line.starts_with('['));
    section
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "name")
        .map(|(_, value)| value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']))
}

/// A basic string of TOML: JSON's escapes are valid in TOML, which requires one more.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates_that_can_be_built() {
        for good in ["a", "prefer-local", "v2-x", &"a".repeat(63)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "A",
            "1a",
            "a-",
            "-a",
            "a_b",
            "../a",
            "std",
            "core",
            "serde",
            "weir-plugin-sdk",
            "fn",
            "deps",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"a".repeat(64)).is_err());
    }

    #[test]
    fn the_package_is_found_in_its_section() {
        let manifest =
            "[workspace]\nname = \"no\"\n[package]\nversion = \"1\"\nname = 'weir-plugin-sdk' # mine\n";
        assert_eq!(package_name(manifest), Some("weir-plugin-sdk"));
        assert_eq!(package_name("[package]\n[lib]\nname = \"x\"\n"), None);
        assert_eq!(package_name(include_str!("../../../../plugin-sdk/Cargo.toml")), Some("weir-plugin-sdk"));
    }

    #[test]
    fn a_path_stays_one_text() {
        assert_eq!(quoted("/a \"b\"\\c\u{7f}\n"), r#""/a \"b\"\\c\u007f\n""#);
    }
}
