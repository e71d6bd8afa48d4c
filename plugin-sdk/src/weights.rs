//! Weights that do what they should: in the right ratio, as small as that allows, and never all 0.
//!
//! Small, because schedulers count with them. `wrr` gives an endpoint of a high weight that many connections in a row,
//! `sh` fills a table of 256 places with them and has none left for the others if one weight is more than that.

use weir_plugin_views::{Context, Endpoint, Scheduling, Weights};

/// The largest weight, unless an endpoint's share is so small that it needs a larger one beside it.
const LARGEST: u128 = 100;

/// How much larger than the smallest weight a rounding error may be thought of: the smallest is at least this, if the
/// kernel's range allows, so that rounding changes no share by more than a twentieth.
const RESOLUTION: u128 = 10;

/// Binary places of a share that is no whole number.
const PLACES: u32 = 40;

/// Weights in the ratio of these numbers. What is more than 0 stays more than 0.
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

/// Weights of endpoints in groups, so that each group gets its share of the traffic however many endpoints it has.
///
/// `groups` says for each endpoint in which group it is and how much it counts in it (1 for all, or its capacity);
/// `shares` are those of the groups, in whatever unit. The share of a group without endpoints goes to the others, as does
/// that of one whose endpoints all count 0. An endpoint of a group that is not in `shares` gets nothing.
///
/// ```
/// use weir_plugin_sdk::weights::{Member, shared};
///
/// // 90 % for two endpoints, 10 % for three.
/// let groups = [0, 0, 1, 1, 1].map(|group| Member { group, counts: 1 });
/// assert_eq!(shared(&groups, &[90, 10]), [27, 27, 2, 2, 2]);
/// ```
pub fn shared(groups: &[Member], shares: &[u32]) -> Vec<u16> {
    // 32 bits of it are more than a weight can tell, and leave room for the products below.
    let most = groups.iter().map(|member| member.counts).max().unwrap_or(0);
    let shift = (64 - most.leading_zeros()).saturating_sub(32);
    let counts = |member: &Member| u128::from(member.counts >> shift).max(u128::from(member.counts > 0));
    let mut sums = vec![0u128; shares.len()];
    for member in groups {
        if let Some(sum) = sums.get_mut(member.group) {
            *sum += counts(member);
        }
    }
    // A multiple of all sums makes every part a whole number; if there is no handy one, binary places have to do.
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

/// An endpoint's place in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The number of the group.
    pub group: usize,
    /// How much it counts in it.
    pub counts: u64,
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Small weights in the same ratio, as nearly as can be told.
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

/// What earlier plugins gave the endpoints of a port, in whichever way they said it: 1 for all if they said nothing.
pub fn said(prior: Option<&Scheduling>, endpoints: &[Endpoint]) -> Vec<u16> {
    match prior.map(|scheduling| &scheduling.weights) {
        Some(Weights::Each(weights)) if weights.len() == endpoints.len() => weights.clone(),
        _ => vec![1; endpoints.len()],
    }
}

/// Whether the failsafe of [`quiesce`] or [`spare`] kept endpoints in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failsafe {
    /// It had nothing to do.
    Idle,
    /// It kept some that should take no connections.
    Held,
}

/// Gives some endpoints weight 0, so that they take no new connections, but never leaves a VIP without any: if that would
/// be all that are used for cluster IPs, or all for the other VIPs, these stay as they are. `which` gets the place of an
/// endpoint, too; there are as many weights as endpoints.
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

/// Gives weight 1 to the endpoints of a kind of VIP if all of them have 0, so that it keeps answering. For weights that were
/// computed; [`quiesce`] is for those that are to be taken away. There are as many weights as endpoints.
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

/// The scheduler that a port has after what earlier plugins said.
pub fn scheduler<'a>(prior: Option<&'a Scheduling>, context: &'a Context) -> &'a str {
    let said = prior.and_then(|scheduling| scheduling.scheduler.as_deref());
    said.filter(|name| *name != "default").unwrap_or(&context.default_scheduler)
}

/// The scheduler that heeds weights in place of the one that a port has, if that is another and the kernel has it: `wrr`
/// for `rr` and `wlc` for `lc`.
///
/// A plugin that will give a port weights some time should name it also while it has none to give. With equal weights both
/// do the same, but between two schedulers the kernel has none, and refuses new connections for a moment.
pub fn heeding(prior: Option<&Scheduling>, context: &Context) -> Option<String> {
    let heeding = match scheduler(prior, context) {
        "rr" => "wrr",
        "lc" => "wlc",
        _ => return None,
    };
    let has = context.schedulers.is_empty() || context.schedulers.iter().any(|known| known == heeding);
    has.then(|| heeding.to_owned())
}

/// A schedule that heeds these weights, whatever scheduler the port has:
///
/// - `rr` and `lc` only ask whether a weight is 0; they become what [`heeding`] says.
/// - `sh` and `mh` can send a client to an endpoint that takes no new connections, and then drop what it sends; if a
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
    // Without a word from anybody weir gives `mh` this flag, as kube-proxy does.
    let by_default = || if scheduler == "mh" { vec!["port".to_owned()] } else { Vec::new() };
    let mut flags = said.unwrap_or_else(by_default);
    if !flags.iter().any(|flag| flag == "fallback") {
        flags.insert(0, "fallback".to_owned());
    }
    flags
}

#[cfg(test)]
mod tests;
