//! The source of a virtual server's scheduler and weights.

use std::time::Duration;

use weir_core::state::Scheduling;

/// The wanted state of a virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// Scheduler, flags and persistence.
    pub scheduling: Scheduling,
    /// The weight of each endpoint of the load, in its order; `None` for an endpoint that is not behind it.
    pub weights: Vec<Option<u16>>,
}

/// What a node's kernel reports about one real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Connections between SYN and the first FIN or RST.
    pub active: u32,
    /// Connections that were closed but not forgotten yet.
    pub inactive: u32,
    /// Connections started, as of the kernel's last update.
    pub begun: u64,
    /// The weight.
    pub weight: u16,
}

/// A policy as seen by the simulation.
pub trait Weights {
    /// The wanted virtual server of a client node at a point in time. `seen` has one entry per endpoint of the load,
    /// `None` for those not behind the virtual server; at the start nothing has been counted.
    ///
    /// # Errors
    /// A message for people.
    fn arrange(&mut self, node: usize, now: Duration, seen: &[Option<Seen>]) -> Result<Arrangement, String>;

    /// How often the policy wants to be called; `None` = only at the start.
    fn period(&self) -> Option<Duration> {
        None
    }
}

impl<W: Weights + ?Sized> Weights for Box<W> {
    fn arrange(&mut self, node: usize, now: Duration, seen: &[Option<Seen>]) -> Result<Arrangement, String> {
        (**self).arrange(node, now, seen)
    }

    fn period(&self) -> Option<Duration> {
        (**self).period()
    }
}

/// The same arrangement on every node, from start to end.
#[derive(Clone, Debug)]
pub struct Fixed(pub Arrangement);

impl Weights for Fixed {
    fn arrange(
        &mut self,
        _node: usize,
        _now: Duration,
        _seen: &[Option<Seen>],
    ) -> Result<Arrangement, String> {
        Ok(self.0.clone())
    }
}
