/// Makes a component from a plugin. It exports `lifecycle` and exactly the listed interfaces.
///
/// ```
/// use weir_plugin_sdk::{Context, Error, Plugin, Schedule, Scheduler, Service, configuration};
///
/// struct Keeper;
///
/// impl Plugin for Keeper {
///     const NAME: &'static str = "keeper";
///     const VERSION: &'static str = env!("CARGO_PKG_VERSION");
///
///     fn configure(text: &str) -> Result<Keeper, Vec<String>> {
///         configuration::none(text)?;
///         Ok(Keeper)
///     }
///
///     fn needs(&self) -> Vec<String> {
///         Vec::new()
///     }
/// }
///
/// impl Scheduler for Keeper {
///     fn schedule(&self, _: &Service, _: &Schedule, _: &Context) -> Result<Schedule, Error> {
///         Ok(Schedule::keep())
///     }
/// }
///
/// weir_plugin_sdk::export!(Keeper: scheduler);
/// ```
///
/// Separate several interfaces with commas: `export!(MyPlugin: filter, scheduler, masquerade)`. Use `export!` once in a
/// crate. For targets other than WebAssembly it exports nothing and only checks that the plugin implements the traits.
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($interface:ident),+ $(,)?) => {
        const _: () = {
            $($crate::__assert!($interface $plugin);)+

            // An instance has one thread, and is configured before anything else.
            #[cfg(target_family = "wasm")]
            ::std::thread_local! {
                static PLUGIN: ::std::cell::OnceCell<$plugin> = const { ::std::cell::OnceCell::new() };
            }

            #[cfg(target_family = "wasm")]
            struct Component;

            #[cfg(target_family = "wasm")]
            use $crate::bindings::lifecycle::exports::weir::policy::lifecycle as wire_lifecycle;

            #[cfg(target_family = "wasm")]
            impl wire_lifecycle::Guest for Component {
                fn configure(configuration: ::std::string::String)
                    -> ::std::result::Result<(), ::std::vec::Vec<::std::string::String>>
                {
                    let plugin = <$plugin as $crate::Plugin>::configure(&configuration)?;
                    PLUGIN
                        .with(|cell| cell.set(plugin))
                        .map_err(|_| ::std::vec!["the plugin was configured twice".to_owned()])
                }

                fn describe() -> wire_lifecycle::Description {
                    PLUGIN.with(|cell| $crate::component::describe(cell.get()))
                }
            }

            #[cfg(target_family = "wasm")]
            $crate::bindings::lifecycle::export_lifecycle!(Component with_types_in $crate::bindings::lifecycle);

            $(
                #[cfg(target_family = "wasm")]
                $crate::__export!($interface);
            )+
        };
    };
}

/// Checks that a plugin implements the interfaces that it exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __assert {
    (filter $plugin:ty) => {
        const _: fn() = || $crate::component::is_filter::<$plugin>();
    };
    (scheduler $plugin:ty) => {
        const _: fn() = || $crate::component::is_scheduler::<$plugin>();
    };
    (masquerade $plugin:ty) => {
        const _: fn() = || $crate::component::is_masquerade::<$plugin>();
    };
    ($other:ident $plugin:ty) => {
        ::std::compile_error!(::std::concat!(
            "`",
            ::std::stringify!($other),
            "` is not an interface: write filter, scheduler or masquerade"
        ));
    };
}

/// Exports one interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (filter) => {
        impl $crate::bindings::filter::exports::weir::policy::filter::Guest for Component {
            fn select(
                context: $crate::bindings::lifecycle::weir::policy::types::Context,
                asked: ::std::vec::Vec<$crate::bindings::lifecycle::weir::policy::types::Service>,
            ) -> ::std::result::Result<
                ::std::vec::Vec<$crate::bindings::filter::exports::weir::policy::filter::Verdict>,
                $crate::bindings::lifecycle::weir::policy::types::Error,
            > {
                PLUGIN.with(|cell| {
                    let plugin = cell.get().ok_or_else($crate::component::unconfigured)?;
                    $crate::component::select(plugin, context, asked)
                })
            }
        }
        $crate::bindings::filter::export_filter!(Component with_types_in $crate::bindings::filter);
    };
    (scheduler) => {
        impl $crate::bindings::scheduler::exports::weir::policy::scheduler::Guest for Component {
            fn schedule_services(
                context: $crate::bindings::lifecycle::weir::policy::types::Context,
                asked: ::std::vec::Vec<$crate::bindings::scheduler::exports::weir::policy::scheduler::Request>,
            ) -> ::std::result::Result<
                ::std::vec::Vec<$crate::bindings::scheduler::exports::weir::policy::scheduler::Schedule>,
                $crate::bindings::lifecycle::weir::policy::types::Error,
            > {
                PLUGIN.with(|cell| {
                    let plugin = cell.get().ok_or_else($crate::component::unconfigured)?;
                    $crate::component::schedule(plugin, context, asked)
                })
            }
        }
        $crate::bindings::scheduler::export_scheduler!(Component with_types_in $crate::bindings::scheduler);
    };
    (masquerade) => {
        impl $crate::bindings::masquerade::exports::weir::policy::masquerade::Guest for Component {
            fn treat(
                context: $crate::bindings::lifecycle::weir::policy::types::Context,
                asked: ::std::vec::Vec<$crate::bindings::masquerade::exports::weir::policy::masquerade::Request>,
            ) -> ::std::result::Result<
                ::std::vec::Vec<$crate::bindings::masquerade::exports::weir::policy::masquerade::Treatments>,
                $crate::bindings::lifecycle::weir::policy::types::Error,
            > {
                PLUGIN.with(|cell| {
                    let plugin = cell.get().ok_or_else($crate::component::unconfigured)?;
                    $crate::component::treat(plugin, context, asked)
                })
            }
        }
        $crate::bindings::masquerade::export_masquerade!(Component with_types_in $crate::bindings::masquerade);
    };
}
