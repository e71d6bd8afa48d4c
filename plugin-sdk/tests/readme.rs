//! The plugin of the README compiles and answers as the README says.

use weir_plugin_sdk::serde_json::{self, json};
use weir_plugin_sdk::testing::{Golden, refusals};

#[path = "readme/prefer_local.rs"]
mod prefer_local;

const README: &str = include_str!("../README.md");

#[test]
fn the_plugin_of_the_readme_is_this_one() {
    assert!(
        README.contains(include_str!("readme/prefer_local.rs")),
        "copy tests/readme/prefer_local.rs there"
    );
}

#[test]
fn it_answers_as_the_golden_file_of_the_readme_says() {
    let text = README.split("```json\n").nth(1).and_then(|text| text.split("```").next()).unwrap();
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert_eq!(Some(golden.schedule::<prefer_local::PreferLocal>()), golden.schedules);
}

#[test]
fn its_mistakes_are_named() {
    let mistakes = refusals::<prefer_local::PreferLocal>(&json!({"keep-percent": 0, "keep": 1}));
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
}
