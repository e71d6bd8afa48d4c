//! Files that guest tests read, at the same path in the guest: files of the workspace, and components, which
//! cannot be built in the guest.

use anyhow::Result;

use crate::architecture::Architecture;
use crate::guest_tests::Selection;
use crate::monitoring;
use crate::overlay::Given;
use crate::workspace::{self, Component};

struct Fixtures {
    package: &'static str,
    target: &'static str,
    /// Relative to the workspace.
    files: &'static [&'static str],
    /// Packages built for the plugins' target.
    components: &'static [&'static str],
    /// From Debian's package prometheus, in `/usr/bin`.
    monitoring: &'static [&'static str],
}

const FIXTURES: &[Fixtures] = &[
    Fixtures {
        package: "weir",
        target: "guest_recordings",
        files: &["tests/scenarios/data", "host/install/monitoring"],
        components: &["weir-plugin-namespace-guard"],
        monitoring: &["prometheus"],
    },
    Fixtures {
        package: "weir",
        target: "guest_costs",
        files: &[],
        components: &["weir-guest-identity"],
        monitoring: &[],
    },
    Fixtures {
        package: "weir",
        target: "guest_plugins",
        files: &[],
        components: &[
            "weir-guest-identity",
            "weir-plugin-annotations",
            "weir-plugin-load-aware",
            "weir-plugin-masquerade-by-vip",
            "weir-plugin-namespace-guard",
            "weir-plugin-node-weights",
            "weir-plugin-slow-start",
        ],
        monitoring: &[],
    },
];

/// Returns everything these tests read.
pub(crate) fn of(architecture: Architecture, selections: &[Selection]) -> Result<Vec<Given>> {
    let wanted = |fixtures: &&Fixtures| selections.iter().any(|selection| fixtures.are_for(selection));
    let (mut given, mut packages) = (Vec::new(), Vec::new());
    for fixtures in FIXTURES.iter().filter(wanted) {
        given.extend(fixtures.files.iter().map(|file| Given::same_path(workspace::root().join(file))));
        packages.extend(fixtures.components);
        for name in fixtures.monitoring {
            let guest = Some(format!("/usr/bin/{name}"));
            given.push(Given { host: monitoring::program(architecture, name)?, guest });
        }
    }
    packages.sort_unstable();
    packages.dedup();
    given.extend(components(&packages)?);
    Ok(given)
}

/// Builds the components of these packages, placed where programs in the guest look for them.
pub(crate) fn components(packages: &[&str]) -> Result<Vec<Given>> {
    let given = |component: Component| Given {
        guest: component.place().to_str().map(str::to_owned),
        host: component.file,
    };
    Ok(workspace::components(packages)?.into_iter().map(given).collect())
}

impl Fixtures {
    fn are_for(&self, selection: &Selection) -> bool {
        self.package == selection.package
            && selection.target.as_ref().is_none_or(|target| target == self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_gets_its_own_and_a_package_those_of_all_its_targets() {
        let files = |text: &str| {
            let selection: Selection = text.parse().unwrap();
            let fixtures = FIXTURES.iter().filter(|fixtures| fixtures.are_for(&selection));
            fixtures.map(|fixtures| fixtures.files.len() + fixtures.components.len()).sum::<usize>()
        };
        assert_eq!(files("weir:guest_packets"), 0);
        assert_eq!(files("weir:guest_recordings"), 3);
        assert_eq!(files("weir:guest_plugins"), 7);
        assert_eq!(files("weir"), 11);
        assert_eq!(files("weir-core"), 0);
    }
}
