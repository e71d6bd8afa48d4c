//! Who gives a virtual server its scheduler and its weights.

use std::time::Duration;

use weir_core::state::Scheduling;

/// How a virtual server is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// Scheduler, flags and persistence.
    pub scheduling: Scheduling,
    /// The weight of each endpoint of the load, in its order; `None` for one that is not behind the virtual server.
    pub weights: Vec<Option<u16>>,
}

/// What a node's kernel says of one real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Connections between SYN and the first FIN or RST.
    pub active: u32,
    /// Connections that were closed and are not forgotten yet.
    pub inactive: u32,
    /// Connections begun since the start, as of when the kernel last added them up.
    pub begun: u64,
    /// The weight.
    pub weight: u16,
}

/// A policy as the simulation sees it.
pub trait Weights {
    /// How the virtual server of a client node is to be at a time. `seen` has one entry by endpoint of the load, `None`
    /// for those that are not behind the virtual server; at the start nothing was counted yet.
    ///
    /// # Errors
    /// In words for a person.
    fn arrange(&mut self, node: usize, now: Duration, seen: &[Option<Seen>]) -> Result<Arrangement, String>;

    /// How often it wants to be asked; `None` = only at the start.
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

/// The same arrangement on each node, from the start to the end.
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
