//! The README's plugin compiles and gives the README's answers.

use weir_plugin_sdk::serde_json::{self, json};
use weir_plugin_sdk::testing::{Golden, refusals};

#[path = "readme/by_processors.rs"]
mod by_processors;
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
fn the_weights_of_the_readme_are_these() {
    assert!(
        README.contains(include_str!("readme/by_processors.rs")),
        "copy tests/readme/by_processors.rs there"
    );
    let node = |name: &str, processors| json!({"name": name, "cpu-millis": processors});
    let context = json!({"nodes": [node("a", 2000), node("b", 6000)]});
    let endpoint = |address: &str, node: &str| json!({"address": address, "node": node});
    let port = json!({"port": 80, "endpoints": [endpoint("10.0.0.1:80", "a"), endpoint("10.0.0.2:80", "b")]});
    let (context, port) = (serde_json::from_value(context).unwrap(), serde_json::from_value(port).unwrap());
    let decided = by_processors::by_processors(&port, &context);
    assert_eq!(json!(decided), json!({"scheduler": "wrr", "weights": {"each": [1, 3]}}));
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
