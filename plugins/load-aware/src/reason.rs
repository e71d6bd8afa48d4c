//! The reason for the weights, in milliseconds.

use weir_plugin_sdk::Port;

use crate::share::{Measured, Shares};

/// The maximum number of endpoints that a sentence names.
const NAMED: usize = 3;

/// How far an endpoint's time must be from the median to be mentioned, in percent.
const WORTH: f64 = 10.0;

/// Describes a port in one sentence; `weights` only if they depend on measured times.
pub(crate) fn sentence(
    shares: &Shares,
    port: &Port,
    measured: &Measured,
    weights: Option<&Vec<u16>>,
) -> Option<String> {
    measured.used().next()?;
    let Some(mean) = measured.mean.filter(|_| measured.connections >= shares.least as f64) else {
        let seen = measured.connections.round();
        return Some(format!("recent connections: {seen}, but weights need at least {}", shares.least));
    };
    let Some(weights) = weights else {
        return Some(format!("connections take {}, and endpoints differ only by chance", millis(mean)));
    };
    let mut times: Vec<f64> =
        measured.used().map(|index| shares.time(&measured.counts[index], mean)).collect();
    times.sort_by(f64::total_cmp);
    // Not the mean, which a single slow endpoint raises.
    let usual = times[(times.len() - 1) / 2];
    // Farthest first; the order of endpoints breaks ties.
    let mut odd: Vec<(usize, f64)> = measured
        .used()
        .map(|index| (index, shares.time(&measured.counts[index], mean)))
        .filter(|(_, time)| (time - usual).abs() * 100.0 > WORTH * usual)
        .collect();
    let far = |time: f64| (time / usual).max(usual / time);
    odd.sort_by(|a, b| far(b.1).total_cmp(&far(a.1)));
    let others = measured.used().count() - odd.len();
    if odd.is_empty() {
        return Some(format!("connections take {} at every endpoint", millis(mean)));
    }
    let rest = match others {
        0 => String::new(),
        _ => {
            let plain = |index: &usize| odd.iter().all(|(named, _)| named != index);
            let plain = measured.used().filter(plain).map(|index| measured.counts[index]);
            let (connections, active) = plain.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            format!(
                ", the other endpoints {}",
                millis(if connections > 0.0 { active / connections } else { mean })
            )
        }
    };
    let name = |(index, time): &(usize, f64)| {
        format!(
            "endpoint {} takes {}: weight {}",
            port.endpoints[*index].address.ip(),
            millis(*time),
            weights[*index]
        )
    };
    if let [(index, time)] = &odd[..] {
        let address = port.endpoints[*index].address.ip();
        return Some(format!("endpoint {address} takes {}{rest}: weight {}", millis(*time), weights[*index]));
    }
    let mut said: Vec<String> = odd.iter().take(NAMED).map(name).collect();
    if odd.len() > NAMED {
        said.push(format!("{} more differ", odd.len() - NAMED));
    }
    Some(format!("{}{rest}", said.join(", ")))
}

/// Formats a time for people.
fn millis(time: f64) -> String {
    if time < 9.95 { format!("{time:.1} ms") } else { format!("{time:.0} ms") }
}
