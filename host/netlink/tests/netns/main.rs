//! Tests against the running kernel's ipset, rtnetlink, connection tracking and packet filters, with the usual
//! programs as witnesses.

mod conntrack;
mod ipset;
#[path = "../support/namespace.rs"]
mod namespace;
mod nftables;
mod recorded;
#[path = "../support/recording.rs"]
mod recording;
mod route;
mod rules;
