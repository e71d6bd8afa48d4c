//! A well-behaved plugin.

use serde_json::json;
use weir_core::planner::Planner;
use weir_core::policy::BuiltIn;
use weir_policy::{Account, Compiler, status};

use crate::world::{chain, configuration, hear, load, loader, planner, refusal, service};

/// The account of the only plugin.
pub(crate) fn account(planner: &Planner) -> Account {
    status(planner, 0).remove(0).account
}

#[test]
fn identity_plans_what_the_built_in_policy_plans() {
    let with = planner(chain("weir-guest-identity", json!({})), 300).plan();
    assert_eq!(with, planner(BuiltIn, 300).plan());
}

#[test]
fn a_plugin_is_asked_once_and_then_only_about_what_changed() {
    let mut planner = planner(chain("weir-guest-identity", json!({"interfaces": ["scheduler"]})), 300);
    planner.plan();
    let cold = account(&planner);
    assert_eq!((cold.calls, cold.asked, cold.remembered), (2, 300, 0));
    planner.plan();
    hear(&mut planner, service("s7", &[], 2));
    planner.plan();
    assert_eq!(account(&planner).calls, 2, "nothing changed");
    hear(&mut planner, service("s7", &[("not", "needed")], 3));
    planner.plan();
    let warm = account(&planner);
    assert_eq!((warm.calls, warm.remembered), (3, 0), "a plugin always sees the number of endpoints");
    hear(&mut planner, service("s7", &[("still", "not needed")], 3));
    planner.plan();
    let warm = account(&planner);
    assert_eq!((warm.calls, warm.remembered), (3, 1), "undeclared data is no reason to ask");
}

#[test]
fn what_a_plugin_is_can_be_reported() {
    let artifact = load("weir-guest-identity", json!({})).unwrap();
    let facts = artifact.facts();
    assert_eq!(facts.name, "identity");
    assert_eq!(facts.interfaces.len(), 3);
    assert!(facts.exports.contains(&"weir:policy/filter@0.2.0".to_owned()));
    assert!(facts.imports.iter().all(|import| import.starts_with("wasi:")), "{:?}", facts.imports);
    assert!(facts.memory > 0);
}

#[test]
fn files_that_are_no_plugins_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        json!({"source": path})
    };
    let package = "weir-guest-identity";
    let said = |more| refusal(package, more);
    assert!(said(json!({"source": "/nowhere/x.wasm"})).contains("/nowhere/x.wasm"));
    assert!(said(file("text", b"not wasm")).contains("not a component"));
    assert!(said(file("core", b"\0asm\x01\0\0\0")).contains("core WebAssembly module"));
    assert!(said(file("empty", b"\0asm\x0d\0\x01\0")).contains("exports none of"));
    assert!(said(json!({"sha256": "00".repeat(32)})).contains("requires sha256:0000"));
    let whole = std::fs::read(configuration(package, json!({})).source).unwrap();
    assert!(said(file("cut", &whole[..whole.len() / 2])).contains("cannot compile it"));
}

/// Two components in one, with a string passed from one's memory to the other's.
const SEVERAL: &str = r#"(component
  (component $inner
    (core module $m
      (memory (export "memory") 1)
      (func (export "take") (param i32 i32))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
    (core instance $i (instantiate $m))
    (func (export "take") (param "text" string)
      (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc")))))
  (component $outer
    (import "take" (func $take (param "text" string)))
    (core module $libc (memory (export "memory") 1))
    (core instance $libc (instantiate $libc))
    (core func $take (canon lower (func $take) (memory $libc "memory")))
    (core module $m (import "" "take" (func (param i32 i32))))
    (core instance (instantiate $m (with "" (instance (export "take" (func $take)))))))
  (instance $inner (instantiate $inner))
  (instance (instantiate $outer (with "take" (func $inner "take")))))"#;

#[test]
fn a_component_made_of_several_is_looked_at_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("several.wasm");
    std::fs::write(&path, wat::parse_str(SEVERAL).unwrap()).unwrap();
    let said = refusal("weir-guest-identity", json!({"source": path}));
    assert!(said.contains("exports none of"), "{said}");
}

/// Supported by the engine's build, but disabled (GHSA-2674-w29h-wqvj): shared memory, in a module and in an
/// import.
#[test]
fn shared_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, core) in [
        ("memory", "(memory 1 1 shared)"),
        ("import", r#"(import "" "m" (memory 1 1 shared))"#),
        ("atomic", "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, wat::parse_str(format!("(component (core module {core}))")).unwrap()).unwrap();
        let said = refusal("weir-guest-identity", json!({"source": path}));
        assert!(said.contains("cannot compile it") && said.contains("threads"), "{name}: {said}");
    }
}

#[test]
fn compiled_code_is_made_by_a_child_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("compiler");
    // Stands in for a compiler that crashes; the program's own tests cover the real one.
    std::fs::write(&script, "#!/bin/sh\ncat > /dev/null\necho 'it is too odd' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut loader = loader();
    loader.compiler = Compiler::Child { program: script, arguments: Vec::new(), cache: None };
    let error = loader.load_one(&configuration("weir-guest-identity", json!({}))).err().unwrap();
    assert!(error.to_string().contains("it is too odd"), "{error}");
}

#[test]
fn a_plugin_that_is_slow_to_start_is_reported_with_the_limit_that_counts() {
    let said = refusal("weir-guest-hostile", json!({"configuration": "configure-loop"}));
    assert!(said.contains("being configured") && said.contains("5 s"), "{said}");
    assert!(!said.contains("callTimeout"), "{said}");
}

#[test]
fn a_plugin_that_is_to_be_watched_and_is_not_there_refuses_the_file() {
    let mut loader = loader();
    loader.shadow = vec!["zzz".to_owned()];
    let entry = |name: &str| json!({"name": name, "source": "gone.wasm"});
    let file = json!({"apiVersion": "policy.weir/v1alpha1", "kind": "PolicyConfiguration",
        "plugins": [entry("a"), entry("b")]});
    let file = weir_policy::configuration::parse(&file.to_string(), std::path::Path::new("")).unwrap();
    let error = loader.load(&file).err().unwrap().to_string();
    assert!(error.contains("--shadow zzz") && error.ends_with("its plugins: a, b"), "{error}");
    loader.shadow = vec!["b".to_owned()];
    assert_eq!(loader.load(&file).unwrap().refused.len(), 2);
}
