//! Computes weights in the right ratio, as small as the ratio allows, and never all 0.
//!
//! Weights are small because of how schedulers use them: `wrr` gives an endpoint with a high weight many connections in
//! a row, and `sh` fills a table of 256 entries, so a weight above 256 leaves no entry for the other endpoints.

use weir_plugin_views::{Context, Endpoint, Scheduling, Weights};

/// The largest weight, unless an endpoint's share is so small that the others need larger ones.
const LARGEST: u128 = 100;

/// If weights must be rounded, the smallest is at least this, as far as the kernel's range allows, so that rounding
/// changes no share by more than a twentieth.
const RESOLUTION: u128 = 10;

/// Binary places of a fractional share.
const PLACES: u32 = 40;

/// Returns weights in the ratio of these numbers. Numbers above 0 give weights above 0.
///
/// ```
/// use weir_plugin_sdk::weights;
///
/// assert_eq!(weights::proportional(&[4000, 8000, 0]), [1, 2, 0]);
/// ```
pub fn proportional(numbers: &[u64]) -> Vec<u16> {
    let numbers: Vec<u128> = numbers.iter().map(|number| u128::from(*number)).collect();
    small(&numbers)
}

/// Returns weights of endpoints in groups, so that each group gets its share of the traffic whatever its number of
/// endpoints.
///
/// `groups` gives each endpoint's group, and how much the endpoint counts in the group (1 for all, or its capacity);
/// `shares` are the shares of the groups, in any unit. The share of a group without endpoints, or whose endpoints all
/// count 0, goes to the other groups. An endpoint in a group that is not in `shares` gets nothing.
///
/// ```
/// use weir_plugin_sdk::weights::{Member, shared};
///
/// // 90 % for two endpoints, 10 % for three.
/// let groups = [0, 0, 1, 1, 1].map(|group| Member { group, counts: 1 });
/// assert_eq!(shared(&groups, &[90, 10]), [27, 27, 2, 2, 2]);
/// ```
pub fn shared(groups: &[Member], shares: &[u32]) -> Vec<u16> {
    // 32 bits are more precise than a weight, and leave room for the products below.
    let most = groups.iter().map(|member| member.counts).max().unwrap_or(0);
    let shift = (64 - most.leading_zeros()).saturating_sub(32);
    let counts = |member: &Member| u128::from(member.counts >> shift).max(u128::from(member.counts > 0));
    let mut sums = vec![0u128; shares.len()];
    for member in groups {
        if let Some(sum) = sums.get_mut(member.group) {
            *sum += counts(member);
        }
    }
    // A common multiple of all sums makes every part a whole number; if it is too large, use binary places.
    let scale = sums.iter().filter(|sum| **sum > 0).try_fold(1u128, |multiple, sum| {
        Some(multiple / gcd(multiple, *sum) * sum).filter(|multiple| *multiple < 1 << PLACES)
    });
    let part = |member: &Member| match (shares.get(member.group), sums.get(member.group)) {
        (Some(share), Some(sum)) if *sum > 0 => {
            u128::from(*share) * counts(member) * scale.unwrap_or(1 << PLACES) / sum
        }
        _ => 0,
    };
    small(&groups.iter().map(part).collect::<Vec<u128>>())
}

/// An endpoint's membership of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The index of the group.
    pub group: usize,
    /// How much the endpoint counts in the group.
    pub counts: u64,
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Returns small weights in nearly the same ratio.
fn small(numbers: &[u128]) -> Vec<u16> {
    let divisor = numbers.iter().fold(0, |divisor, number| gcd(divisor, *number)).max(1);
    let numbers: Vec<u128> = numbers.iter().map(|number| number / divisor).collect();
    let largest = numbers.iter().copied().max().unwrap_or(0);
    let smallest = numbers.iter().copied().filter(|number| *number > 0).min().unwrap_or(1);
    let wanted = (largest / smallest).saturating_mul(RESOLUTION).clamp(LARGEST, u128::from(u16::MAX));
    let weight = |number: u128| {
        let scaled = if largest <= wanted { number } else { (number * wanted + largest / 2) / largest }
            .max(u128::from(number > 0));
        u16::try_from(scaled).unwrap_or(u16::MAX)
    };
    let weights: Vec<u16> = numbers.iter().map(|number| weight(*number)).collect();
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, u128::from(*weight))).max(1);
    weights.iter().map(|weight| u16::try_from(u128::from(*weight) / divisor).unwrap_or(u16::MAX)).collect()
}

/// Returns the weights of a port's endpoints from earlier plugins; 1 for all if there are none.
pub fn said(prior: Option<&Scheduling>, endpoints: &[Endpoint]) -> Vec<u16> {
    match prior.map(|scheduling| &scheduling.weights) {
        Some(Weights::Each(weights)) if weights.len() == endpoints.len() => weights.clone(),
        _ => vec![1; endpoints.len()],
    }
}

/// Whether the failsafe of [`quiesce`] or [`spare`] kept endpoints in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failsafe {
    /// It was not needed.
    Idle,
    /// It kept some endpoints that should get no connections.
    Held,
}

/// Gives weight 0 to the endpoints that `which` selects, so that they get no new connections, but never leaves a VIP
/// without endpoints. If no other endpoint with a weight above 0 is used for cluster IPs, the endpoints used for
/// cluster IPs keep their weights; likewise for the other VIPs. `which` also gets the index of the endpoint. `weights`
/// must have one entry per endpoint.
pub fn quiesce(
    weights: &mut [u16],
    endpoints: &[Endpoint],
    which: impl Fn(usize, &Endpoint) -> bool,
) -> Failsafe {
    let asked: Vec<bool> =
        endpoints.iter().enumerate().map(|(index, endpoint)| which(index, endpoint)).collect();
    let mut spared = vec![false; endpoints.len()];
    let uses: [fn(&Endpoint) -> bool; 2] = [|endpoint| endpoint.internal, |endpoint| endpoint.external];
    for uses in uses {
        let takes = |index: usize| uses(&endpoints[index]) && weights[index] > 0;
        if !(0..endpoints.len()).any(|index| takes(index) && !asked[index]) {
            (0..endpoints.len()).filter(|index| takes(*index)).for_each(|index| spared[index] = true);
        }
    }
    let mut failsafe = Failsafe::Idle;
    for ((asked, spared), weight) in asked.into_iter().zip(spared).zip(weights) {
        match (asked, spared) {
            (true, true) => failsafe = Failsafe::Held,
            (true, false) => *weight = 0,
            (false, _) => {}
        }
    }
    failsafe
}

/// Gives weight 1 to all endpoints used for cluster IPs if all of them have weight 0, and likewise for the other VIPs,
/// so that the VIPs keep answering. Use this for computed weights, and [`quiesce`] to take endpoints out. `weights`
/// must have one entry per endpoint.
pub fn spare(weights: &mut [u16], endpoints: &[Endpoint]) -> Failsafe {
    let mut failsafe = Failsafe::Idle;
    let uses: [fn(&Endpoint) -> bool; 2] = [|endpoint| endpoint.internal, |endpoint| endpoint.external];
    for uses in uses {
        let used: Vec<usize> = (0..endpoints.len()).filter(|index| uses(&endpoints[*index])).collect();
        if !used.is_empty() && used.iter().all(|index| weights[*index] == 0) {
            used.iter().for_each(|index| weights[*index] = 1);
            failsafe = Failsafe::Held;
        }
    }
    failsafe
}

/// Returns a port's scheduler after the answers of earlier plugins.
pub fn scheduler<'a>(prior: Option<&'a Scheduling>, context: &'a Context) -> &'a str {
    let said = prior.and_then(|scheduling| scheduling.scheduler.as_deref());
    said.filter(|name| *name != "default").unwrap_or(&context.default_scheduler)
}

/// Returns the scheduler that uses weights in place of a port's scheduler, if it is a different one and the kernel has
/// it: `wrr` for `rr` and `wlc` for `lc`.
///
/// A plugin that may set weights for a port later should choose this scheduler from the start. With equal weights both
/// behave the same, but while a scheduler changes, the kernel has none and refuses new connections for a moment.
pub fn heeding(prior: Option<&Scheduling>, context: &Context) -> Option<String> {
    let heeding = match scheduler(prior, context) {
        "rr" => "wrr",
        "lc" => "wlc",
        _ => return None,
    };
    let has = context.schedulers.is_empty() || context.schedulers.iter().any(|known| known == heeding);
    has.then(|| heeding.to_owned())
}

/// Returns a schedule that uses these weights, whatever scheduler the port has:
///
/// - `rr` and `lc` only check whether a weight is 0; they are replaced as in [`heeding`].
/// - `sh` and `mh` can send a client to an endpoint that accepts no new connections, and then drop its packets; if a
///   weight is 0, they get the flag that makes them choose again.
pub fn scheduling(prior: Option<&Scheduling>, context: &Context, weights: Vec<u16>) -> Scheduling {
    let present = scheduler(prior, context);
    let quiesced = weights.contains(&0) && matches!(present, "sh" | "mh");
    Scheduling {
        scheduler: heeding(prior, context),
        scheduler_flags: quiesced.then(|| with_fallback(prior, present)),
        ..Scheduling::weights(weights)
    }
}

fn with_fallback(prior: Option<&Scheduling>, scheduler: &str) -> Vec<String> {
    let said = prior.and_then(|scheduling| scheduling.scheduler_flags.clone());
    // Like kube-proxy, weir gives a configured `mh` the flag `port`.
    let by_default = || if scheduler == "mh" { vec!["port".to_owned()] } else { Vec::new() };
    let mut flags = said.unwrap_or_else(by_default);
    if !flags.iter().any(|flag| flag == "fallback") {
        flags.insert(0, "fallback".to_owned());
    }
    flags
}

#[cfg(test)]
mod tests;
