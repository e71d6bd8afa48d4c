//! The contract's types and exports, generated from `wit/policy.wit`.
//!
//! The generated code lifts from and lowers into the component's memory, which needs `unsafe`. It stays in these
//! modules; hand-written code needs none.
//!
//! A component must export all interfaces of its world, so each interface has its own world. The linker merges the
//! worlds that a plugin lists in [`export!`](crate::export). The types are generated once, with the first world.

/// The interfaces of every plugin: `lifecycle` and `log`.
pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package weir:plugin-sdk;
            world lifecycle {
                import weir:policy/log@0.2.0;
                export weir:policy/lifecycle@0.2.0;
            }
        ",
        world: "weir:plugin-sdk/lifecycle",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
    });
}

/// The filter interface.
pub mod filter {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package weir:plugin-sdk;
            world filter { export weir:policy/filter@0.2.0; }
        ",
        world: "weir:plugin-sdk/filter",
        with: { "weir:policy/types@0.2.0": crate::bindings::lifecycle::weir::policy::types },
        pub_export_macro: true,
        export_macro_name: "export_filter",
    });
}

/// The scheduler interface.
pub mod scheduler {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package weir:plugin-sdk;
            world scheduler { export weir:policy/scheduler@0.2.0; }
        ",
        world: "weir:plugin-sdk/scheduler",
        with: { "weir:policy/types@0.2.0": crate::bindings::lifecycle::weir::policy::types },
        pub_export_macro: true,
        export_macro_name: "export_scheduler",
    });
}

/// The masquerade interface.
pub mod masquerade {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package weir:plugin-sdk;
            world masquerade { export weir:policy/masquerade@0.2.0; }
        ",
        world: "weir:plugin-sdk/masquerade",
        with: { "weir:policy/types@0.2.0": crate::bindings::lifecycle::weir::policy::types },
        pub_export_macro: true,
        export_macro_name: "export_masquerade",
    });
}
