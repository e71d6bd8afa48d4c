//! What a component may export and import.

use wasmtime::Engine;
use wasmtime::component::{Component, types::ComponentItem};

use super::{LoadError, PACKAGE, TRACK};
use crate::configuration::Interface;
use crate::wasi;

/// The names of a component's exports and imports.
pub(super) struct Names {
    pub(super) exports: Vec<String>,
    pub(super) imports: Vec<String>,
}

impl Names {
    pub(super) fn of(component: &Component, engine: &Engine) -> Names {
        let component_type = component.component_type();
        let exports = component_type.exports(engine).map(|(name, _)| name.to_owned()).collect();
        // A plugin that only uses the contract's types also imports their interface; it has no functions.
        let imports = component_type
            .imports(engine)
            .filter(|(_, import)| match &import.ty {
                ComponentItem::ComponentInstance(instance) => {
                    instance.exports(engine).any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)))
                }
                _ => true,
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        Names { exports, imports }
    }

    pub(super) fn exports_interface(&self, interface: Interface) -> bool {
        self.exports.iter().any(|name| speaks(name, &interface.to_string()))
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        let of_the_contract: Vec<&str> =
            self.exports.iter().map(String::as_str).filter(|name| name.starts_with(PACKAGE)).collect();
        if let Some(other) = of_the_contract.iter().find(|name| !is_of_track(name)) {
            return Err(LoadError::Version { found: (*other).to_owned() });
        }
        if !["filter", "scheduler", "masquerade"]
            .iter()
            .any(|i| self.exports.iter().any(|name| speaks(name, i)))
        {
            let found = if self.exports.is_empty() { "nothing".to_owned() } else { self.exports.join(", ") };
            return Err(LoadError::NoInterface { found });
        }
        if !self.exports.iter().any(|name| speaks(name, "lifecycle")) {
            return Err(LoadError::Missing {
                interface: "lifecycle".to_owned(),
                why: "every plugin must export",
            });
        }
        self.imports.iter().try_for_each(|import| check_import(import))
    }
}

/// What to do about a component that exports an interface of another track.
pub(super) fn advice(export: &str) -> &'static str {
    match export.split_once('@') {
        Some((_, version)) if version.starts_with("0.1.") => {
            "rebuild it with this weir's plugin SDK. Rust code needs no change. In other languages, lists and \
             strings that are usually empty are now options (in answers `reason`, `extra`, `ports`, `refusals`, \
             `dropped-endpoints` and `sources`; in questions labels, annotations, `endpoints`, `slices`, \
             `source-ranges`, `name` and `app-protocol`), and `service-type` is now an enum. See wit/README.md, \
             \"From 0.1 to 0.2\""
        }
        _ => "rebuild it with the plugin contract (wit/policy.wit) of this weir version",
    }
}

fn is_of_track(name: &str) -> bool {
    name.split_once('@').is_some_and(|(_, version)| version.starts_with(TRACK))
}

fn speaks(export: &str, interface: &str) -> bool {
    export.strip_prefix(PACKAGE).is_some_and(|rest| wasi::unversioned(rest) == interface)
        && is_of_track(export)
}

fn check_import(import: &str) -> Result<(), LoadError> {
    let ours = ["log", "types"].iter().any(|interface| speaks(import, interface));
    if ours || wasi::tolerates(import) {
        return Ok(());
    }
    let what = match wasi::unversioned(import) {
        name if name.starts_with("wasi:sockets/") || name.starts_with("wasi:http/") => "network access",
        name if name.starts_with(PACKAGE) => "such interface in this version of weir",
        _ => "such interface",
    };
    Err(LoadError::Import { import: import.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(exports: &[&str], imports: &[&str]) -> Result<(), String> {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Names { exports: own(exports), imports: own(imports) }.check().map_err(|error| error.to_string())
    }

    const LIFECYCLE: &str = "weir:policy/lifecycle@0.2.0";

    #[test]
    fn a_later_patch_of_the_track_is_taken_and_another_track_is_named() {
        assert_eq!(names(&[LIFECYCLE, "weir:policy/filter@0.2.3"], &[]), Ok(()));
        let other = names(&["weir:policy/lifecycle@0.3.0", "weir:policy/filter@0.3.0"], &[]).unwrap_err();
        assert!(other.contains("weir:policy/lifecycle@0.3.0") && other.contains("@0.2.x"), "{other}");
        let old = names(&["weir:policy/lifecycle@0.1.0", "weir:policy/filter@0.1.0"], &[]).unwrap_err();
        assert!(old.contains("rebuild it with this weir's plugin SDK") && !other.contains("SDK"), "{old}");
        assert!(names(&["weir:policy/filter"], &[]).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(names(&[], &[]).unwrap_err().contains("nothing"));
        assert!(names(&[LIFECYCLE], &[]).unwrap_err().contains("exports none of"));
        assert!(names(&["weir:policy/filter@0.2.0"], &[]).unwrap_err().contains("lifecycle"));
        // Toolchains add their own exports.
        assert_eq!(names(&[LIFECYCLE, "weir:policy/filter@0.2.0", "init"], &[]), Ok(()));
    }

    #[test]
    fn imports_that_lead_outside_are_refused() {
        let with = |import| names(&[LIFECYCLE, "weir:policy/filter@0.2.0"], &[import]);
        for fine in ["wasi:cli/environment@0.2.12", "wasi:io/streams@0.2.0", "weir:policy/log@0.2.0"] {
            assert_eq!(with(fine), Ok(()));
        }
        assert!(with("wasi:sockets/tcp@0.2.0").unwrap_err().contains("no network"));
        assert!(with("wasi:http/outgoing-handler@0.2.0").unwrap_err().contains("no network"));
        assert!(with("acme:kernel/modules").unwrap_err().contains("acme:kernel/modules"));
        assert!(with("weir:policy/log@0.1.0").is_err());
    }
}
