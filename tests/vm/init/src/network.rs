//! The guest's interfaces, as on the node where the scenarios were recorded
//! (`tests/scenarios/data/*/interfaces.json`).

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use weir_guest_init::RECORDED_CARD;

use crate::system::wait_until;

/// Input for `ip -batch`.
const LINKS: &str = "link set lo up\nlink set eth0 up\n";

/// More input for `ip -batch`, for the recorded card. The address with the card's interface identifier came from a router advertisement.
const ADDRESSES: &str = "\
addr add 10.0.2.15/24 brd 10.0.2.255 dev eth0
addr add fec0::5054:ff:fe12:3456/64 dev eth0
addr add fec0::15/64 dev eth0
route add default via 10.0.2.2 dev eth0
";

/// Nothing answers in the guest's network: duplicate detection and router solicitation would only delay the
/// addresses.
const SETTINGS: &[(&str, &str)] = &[("accept_dad", "0"), ("accept_ra", "0"), ("router_solicitations", "0")];

/// Brings up `lo` and `eth0`.
pub(crate) fn configure() -> Result<()> {
    let settings = Path::new("/proc/sys/net/ipv6/conf/eth0");
    wait_until("eth0", || settings.exists().then_some(()))?;
    for (name, value) in SETTINGS {
        fs::write(settings.join(name), value).with_context(|| format!("cannot set {name} of eth0"))?;
    }
    let card = fs::read_to_string("/sys/class/net/eth0/address").context("eth0 has no address")?;
    let addresses = if card.trim() == RECORDED_CARD { ADDRESSES } else { "" };
    let mut ip = Command::new("/usr/sbin/ip");
    let mut child = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("cannot start ip")?;
    let mut input = child.stdin.take().context("ip has no input")?;
    input.write_all(format!("{LINKS}{addresses}").as_bytes()).context("cannot write to ip")?;
    drop(input);
    let status = child.wait().context("cannot wait for ip")?;
    ensure!(status.success(), "ip -batch: {status}");
    // The device reports its carrier by itself, and on a busy machine not immediately.
    let state = Path::new("/sys/class/net/eth0/operstate");
    wait_until("the carrier of eth0", || {
        fs::read_to_string(state).ok().filter(|state| state.trim() == "up")
    })?;
    Ok(())
}
