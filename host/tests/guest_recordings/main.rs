//! `weir` against a real kernel, judged by ipvsadm, ipset, iptables-save and ip.
//!
//! Each recorded scenario is one test, named after its folder; the others are named after what users see.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use weir_harness::scenario;

mod api_server;
mod audit;
mod cleanup;
mod crash;
mod diff;
mod manifests;
mod missing;
mod monitoring;
mod nftables;
mod other_nodes;
mod recorded;
mod restart;
mod special;
mod stage;

type Test = fn() -> anyhow::Result<()>;

const TESTS: [(&str, Test); 46] = [
    ("api_server::what_it_reports_is_programmed", api_server::what_it_reports_is_programmed),
    (
        "api_server::nothing_is_written_before_both_lists_are_complete",
        api_server::nothing_is_written_before_both_lists_are_complete,
    ),
    (
        "api_server::that_goes_away_takes_nothing_with_it",
        api_server::a_server_that_goes_away_takes_nothing_with_it,
    ),
    (
        "api_server::what_plugins_may_not_read_holds_up_nothing",
        api_server::what_plugins_may_not_read_holds_up_nothing,
    ),
    ("api_server::node_that_is_deleted_stays_as_it_was", api_server::node_that_is_deleted_stays_as_it_was),
    ("api_server::watches_that_break_lose_nothing", api_server::watches_that_break_lose_nothing),
    ("api_server::it_reports_how_it_is", api_server::it_reports_how_it_is),
    ("monitoring::board_and_alerts_work", monitoring::board_and_alerts_work),
    ("other_nodes_stay_reachable", other_nodes::other_nodes_stay_reachable),
    ("one_start_is_enough", recorded::one_start_is_enough),
    ("one_process_goes_from_each_to_the_next", recorded::one_process_goes_from_each_to_the_next),
    ("second_start_sends_nothing", restart::second_start_sends_nothing),
    ("killed_first_start_is_finished_by_the_second", restart::killed_first_start_is_finished_by_the_second),
    ("killed_before_any_message_loses_no_endpoint", crash::killed_before_any_message_loses_no_endpoint),
    (
        "killed_before_any_message_of_the_first_start_is_finished_by_the_next",
        crash::killed_before_any_message_of_the_first_start_is_finished_by_the_next,
    ),
    (
        "nodes_that_share_a_kernel_do_not_disturb_each_other",
        restart::nodes_that_share_a_kernel_do_not_disturb_each_other,
    ),
    ("sigterm_leaves_the_kernel_alone", restart::sigterm_leaves_the_kernel_alone),
    ("broken_file_keeps_its_services", manifests::broken_file_keeps_its_services),
    (
        "folder_that_goes_away_and_returns_loses_nothing",
        manifests::folder_that_goes_away_and_returns_loses_nothing,
    ),
    ("audit_repairs", audit::audit_repairs),
    ("cleanup_leaves_nothing", cleanup::cleanup_leaves_nothing),
    ("cleanup_spares_excluded_networks", cleanup::cleanup_spares_excluded_networks),
    ("cleanup_removes_what_it_can", cleanup::cleanup_removes_what_it_can),
    ("cleanup_removes_rules_of_both_variants", cleanup::cleanup_removes_rules_of_both_variants),
    ("nftables::tables_go_once_services_work", nftables::tables_go_once_services_work),
    ("nftables::single_round_deletes_tables", nftables::single_round_deletes_tables),
    ("nftables::cleanup_deletes_tables", nftables::cleanup_deletes_tables),
    ("diff_is_honest", diff::diff_is_honest),
    (
        "without_iptables_restore_the_rest_is_programmed",
        missing::without_iptables_restore_the_rest_is_programmed,
    ),
    ("unreadable_rules_hold_up_their_family_only", missing::unreadable_rules_hold_up_their_family_only),
    ("without_net_raw_the_rest_is_programmed", missing::without_net_raw_the_rest_is_programmed),
    ("without_ip6_nat_the_node_has_ipv4_only", missing::without_ip6_nat_the_node_has_ipv4_only),
    (
        "match_that_does_not_load_keeps_no_other_rule_out",
        missing::extensions::match_that_does_not_load_keeps_no_other_rule_out,
    ),
    (
        "missing::rules_for_external_ips_do_without_physdev",
        missing::extensions::rules_for_external_ips_do_without_physdev,
    ),
    (
        "missing::rules_do_without_comments_and_refusals_and_get_them_back",
        missing::extensions::rules_do_without_comments_and_refusals_and_get_them_back,
    ),
    (
        "missing::no_vip_comes_up_whose_host_ports_cannot_be_closed",
        missing::extensions::no_vip_comes_up_whose_host_ports_cannot_be_closed,
    ),
    (
        "missing::table_that_only_nft_can_read_holds_up_no_other",
        missing::others::table_that_only_nft_can_read_holds_up_no_other,
    ),
    ("missing::table_that_nft_took_is_left_alone", missing::others::table_that_nft_took_is_left_alone),
    (
        "missing::ipv6_that_is_off_for_new_devices_is_switched_on_for_ours",
        missing::others::ipv6_that_is_off_for_new_devices_is_switched_on_for_ours,
    ),
    ("missing::sysctl_that_keeps_ipv6_off_is_named", missing::others::sysctl_that_keeps_ipv6_off_is_named),
    (
        "missing::networks_on_the_device_go_and_their_vips_stay",
        missing::others::networks_on_the_device_go_and_their_vips_stay,
    ),
    ("unknown_scheduler_is_named_with_its_module", missing::unknown_scheduler_is_named_with_its_module),
    ("held_lock_delays_only_what_needs_new_rules", missing::held_lock_delays_only_what_needs_new_rules),
    ("initialised_once_two_capabilities_are_enough", special::initialised_once_two_capabilities_are_enough),
    ("initialising_names_what_keeps_it_from_working", special::initialising_names_what_keeps_it_from_working),
    ("run_cleanup_is_cleanup", special::run_cleanup_is_cleanup),
];

fn main() -> ExitCode {
    let scenarios = scenario::all().expect("the recorded scenarios exist");
    assert!(!scenarios.is_empty(), "no recorded scenarios in {}", scenario::folder().display());
    let recorded = scenarios
        .into_iter()
        .map(|scenario| trial(&format!("recorded::{}", scenario.name), move || recorded::equals(&scenario)));
    let trials = TESTS.into_iter().map(|(name, test)| trial(name, test)).chain(recorded).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, test: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
}
