use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Each command with a configuration, with the arguments it needs in addition to the daemon's.
const COMMANDS: [&str; 12] = [
    "run",
    "plan --manifests a",
    "diff --manifests a",
    "trace --manifests a --from host --to 10.0.0.1:80",
    "explain a/b --manifests a",
    "lab --manifests a --traffic t",
    "record --manifests a --policy p",
    "status",
    "top",
    "doctor",
    "cleanup",
    "plugin run p.wasm --manifests a",
];

fn matches(line: &str) -> Result<clap::ArgMatches, clap::Error> {
    command().try_get_matches_from(format!("weir {line}").split(' '))
}

#[test]
fn arguments_of_a_daemon_set_are_taken_by_every_command_with_a_configuration() {
    command().debug_assert();
    let lines = [
        "--v=2",
        "-v 2",
        "-v2",
        "--logging-format=json --vmodule=proxier=4 --log-flush-frequency=5s --log-json-split-stream",
        "--config=/var/lib/kube-proxy/config.conf --hostname-override=n --state-dir=/var/lib/weir",
        "--master=https://192.0.2.1:6443 --kubeconfig ./k --once --log debug --log-format text",
        "--ipvs-exclude-cidrs=192.0.2.0/24 --ipvs-exclude-cidrs 198.51.100.0/24,203.0.113.0/24",
        "--init-only --cleanup=false --write-config-to=/x --enforce-internal-traffic-policy",
    ];
    for name in COMMANDS {
        for line in lines {
            let line = format!("{name} {line}");
            assert!(matches(&line).is_ok(), "{line}: {}", matches(&line).unwrap_err());
        }
        for wrong in ["--logtostderr=true", "--v=x", "--log-flush-frequency=x", "-v"] {
            assert!(matches(&format!("{name} {wrong}")).is_err(), "{name} {wrong}");
        }
    }
    for name in ["status", "top", "doctor", "cleanup"] {
        let line = format!("{name} --manifests=a --policy=p --shadow=s --record=r");
        assert!(matches(&line).is_ok(), "{line}: {}", matches(&line).unwrap_err());
    }
}

#[test]
fn what_the_daemon_does_instead_of_running_is_known_of_other_commands() {
    let names = |line: &str| {
        SpecialRuns::of_another(&matches(line).unwrap()).map(|special| special.names().collect::<Vec<_>>())
    };
    let all = "--init-only --cleanup --write-config-to=x";
    for name in COMMANDS {
        let expected = (name != "run").then(|| vec!["write-config-to", "init-only", "cleanup"]);
        assert_eq!(names(&format!("{name} {all}")), expected, "{name}");
    }
    assert_eq!(names("plan --manifests a --cleanup=false -v 2"), Some(vec![]));
    assert_eq!(names("replay r --component c"), None);
}

#[test]
fn a_destination_without_a_port_is_reported_with_an_example() {
    let said = |text: &str| parse_destination(text).unwrap_err();
    assert!(said("10.96.0.10").ends_with("for example 10.96.0.10:80"));
    assert!(said("fd00::10").ends_with("for example [fd00::10]:80"));
    assert!(said("[fd00::10]").ends_with("for example [fd00::10]:80"));
    assert!(said("web").starts_with("expected an IP address with a port"));
    assert!(parse_destination("[fd00::10]:80").is_ok());
}

#[test]
fn help_names_what_a_command_uses() {
    let help = |name: &str| {
        let mut command = command();
        command.find_subcommand_mut(name).unwrap().render_long_help().to_string()
    };
    for flag in ["--v <", "--state-dir", "--kubeconfig", "--init-only", "--log "] {
        assert!(help("run").contains(flag), "run: {flag}");
        assert!(!help("plan").contains(flag), "plan: {flag}");
    }
    assert!(help("plan").contains("--ipvs-scheduler"));
    for (name, used) in [("status", "ipvs-scheduler"), ("top", ""), ("cleanup", "ipvs-exclude-cidrs")] {
        let help = help(name);
        assert_eq!(help.contains("--metrics-bind-address"), name != "cleanup", "{name}");
        let plans = ["ipvs-scheduler", "ipvs-exclude-cidrs", "masquerade-all"].into_iter();
        let listed: Vec<&str> = plans.filter(|flag| help.contains(&format!("--{flag}"))).collect();
        assert_eq!(listed.concat(), used, "{name}");
    }
}

#[test]
fn every_heading_has_only_its_own_flags() {
    let command = command();
    let mut under: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let commands = command.get_subcommands().flat_map(|of| [of].into_iter().chain(of.get_subcommands()));
    for argument in commands.flat_map(clap::Command::get_arguments) {
        let heading = argument.get_help_heading().unwrap_or_default();
        under.entry(heading).or_default().insert(argument.get_id().as_str());
    }
    under.retain(|heading, _| !heading.is_empty() && !heading.ends_with("(kube-proxy's flags)"));
    let expected = [
        ("Do one task and exit", ["write_config_to", "init_only", "cleanup", "version"].into()),
        ("Logging", daemon::OF_LOGGING.into()),
        ("Policy", ["policy", "shadow", "record"].into()),
    ];
    assert_eq!(under, expected.into());
}
