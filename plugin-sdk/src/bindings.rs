//! The contract's types and exports, generated from `wit/policy.wit`.
//!
//! What the macro writes lifts from and lowers into the component's memory, which needs `unsafe`; it stays in these
//! modules, and nothing that is written by hand needs any.
//!
//! A component must export the interfaces that its world names, all of them. So there is a world for each interface,
//! and the linker makes the union of those that a plugin uses; [`export!`](crate::export) says which. The types are
//! generated once, with the first world.

/// Every plugin's own: who it is, what it reads, and its voice.
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

/// The filter.
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

/// The scheduler.
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

/// Masquerading.
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
