//! Generated from `wit/policy.wit`.

wit_bindgen::generate!({
    path: "../wit",
    world: "policy",
    pub_export_macro: true,
    export_macro_name: "export_world",
    default_bindings_module: "weir_plugin_sdk::bindings",
});
