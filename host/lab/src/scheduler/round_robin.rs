//! `rr` and `wrr`: round robin.

use super::{Client, Scheduler, Server, common_divisor};

/// The next position in the list: after the last chosen one, or at the start.
fn next_index(servers: &[Server], last: Option<usize>) -> usize {
    let position = last.and_then(|last| servers.iter().position(|server| server.endpoint == last));
    position.map_or(0, |position| position + 1)
}

/// `rr`: the next real server in the list whose weight is not 0; otherwise the weight does not matter.
///
/// Source: `net/netfilter/ipvs/ip_vs_rr.c`. If the last chosen real server is removed, the search continues at its
/// place in the list.
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

/// `wrr`: passes through the list again and again. Each pass chooses all real servers whose weight is at least the
/// level. The level falls to 1 in steps of the weights' common divisor, and then starts again at the top, which is the
/// largest weight minus the step plus 1.
///
/// Source: `net/netfilter/ipvs/ip_vs_wrr.c`. Two quirks matter. The order is not smooth: with weights 150 and 100 and
/// steps of 1, fifty passes in a row go to the first real server only. And every change of a weight restarts at the
/// head of the list but keeps the level, so real servers at the head are favoured when weights change often.
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
        // The largest weight reaches every level, so this ends when the level is back at the top at the latest.
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
        // The last level of a cycle is 1, not the step, to include a weight that has been lowered since.
        self.top = i32::from(weights().max().unwrap_or(0)) - (self.step - 1);
        if self.level > self.top || self.level == 0 {
            self.level = self.top;
        } else if self.step > 1 {
            self.level = self.level / self.step * self.step + 1;
        }
    }
}
