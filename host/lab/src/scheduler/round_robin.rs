//! `rr` and `wrr`: one after the other.

use super::{Client, Scheduler, Server, common_divisor};

/// Where to go on in the list: after the last one that was chosen, or at the beginning.
fn next_index(servers: &[Server], last: Option<usize>) -> usize {
    let position = last.and_then(|last| servers.iter().position(|server| server.endpoint == last));
    position.map_or(0, |position| position + 1)
}

/// `rr`: the next real server of the list whose weight is not 0; how large the weight is does not matter.
///
/// Source: `net/netfilter/ipvs/ip_vs_rr.c`. When the one that was chosen last is removed, the search goes on where it
/// stood in the list.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    last: Option<usize>,
}

impl Scheduler for RoundRobin {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        let first = next_index(servers, self.last);
        let index = (first..servers.len()).chain(0..first).find(|index| servers[*index].weight > 0)?;
        self.last = Some(servers[index].endpoint);
        Some(index)
    }

    fn removing(&mut self, servers: &[Server], index: usize) {
        if self.last == Some(servers[index].endpoint) {
            self.last = index.checked_sub(1).map(|before| servers[before].endpoint);
        }
    }
}

/// `wrr`: passes over the list, each for all real servers of at least a level; the level falls from the largest weight
/// to the smallest in steps of the weights' common divisor, and starts again at the top.
///
/// Source: `net/netfilter/ipvs/ip_vs_wrr.c`. Two quirks matter. It is not smooth: with weights 150 and 100 in steps of
/// 1, fifty passes in a row go to the first alone. And every change of a weight sends it back to the beginning of the
/// list while the level stays, so that real servers at the beginning are favoured when weights change often.
#[derive(Debug, Default)]
pub(super) struct Weighted {
    last: Option<usize>,
    level: i32,
    top: i32,
    step: i32,
}

impl Scheduler for Weighted {
    fn pick(&mut self, servers: &[Server], _client: Client) -> Option<usize> {
        if self.top == 0 {
            return None;
        }
        let mut first = next_index(servers, self.last);
        // The largest weight reaches every level, so this ends at the latest when the level is back at the top.
        loop {
            let reaches = |index: &usize| i32::from(servers[*index].weight) >= self.level;
            if let Some(index) = (first..servers.len()).find(reaches) {
                self.last = Some(servers[index].endpoint);
                return Some(index);
            }
            first = 0;
            self.level -= self.step;
            if self.level <= 0 {
                self.level = self.top;
            }
        }
    }

    fn changed(&mut self, servers: &[Server]) {
        let weights = || servers.iter().map(|server| server.weight);
        self.last = None;
        self.step = i32::from(common_divisor(weights()).max(1));
        // The last level of a cycle is 1, not the step, to catch a weight that was lowered meanwhile.
        self.top = i32::from(weights().max().unwrap_or(0)) - (self.step - 1);
        if self.level > self.top || self.level == 0 {
            self.level = self.top;
        } else if self.step > 1 {
            self.level = self.level / self.step * self.step + 1;
        }
    }
}
