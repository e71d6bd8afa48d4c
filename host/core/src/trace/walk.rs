//! The hooks in order, and the chains at each.

use super::{Cause, Delivery, Origin, Packet, Source, Step, Trace, Verdict};
use crate::net::Family;
use crate::node::HostAddress;
use crate::rule::{Chain, Place, Rule, Table, Target};
use crate::state::{KernelState, RealServer, Sysctl, VirtualServer, Weight};

/// A packet on its way.
#[derive(Clone)]
pub(super) struct Walk<'a> {
    pub(super) state: &'a KernelState,
    pub(super) host: &'a [HostAddress],
    pub(super) packet: Packet,
    pub(super) mark: u32,
    /// The virtual server that took the packet.
    pub(super) server: Option<VirtualServer>,
    steps: Vec<Step>,
}

/// How a chain ends for a packet.
enum End {
    /// No rule decided; the calling chain continues.
    Through,
    /// The packet leaves the table.
    Accepted,
    Masqueraded(Place, Rule),
    Stopped(Verdict),
}

/// Our chains never call each other deeper than this; the kernel refuses loops.
const DEPTH: usize = 8;

impl<'a> Walk<'a> {
    pub(super) fn new(state: &'a KernelState, host: &'a [HostAddress], packet: &Packet) -> Walk<'a> {
        Walk { state, host, packet: packet.clone(), mark: 0, server: None, steps: Vec::new() }
    }

    pub(super) fn run(mut self) -> Trace {
        let verdict = match self.packet.origin {
            Origin::Interface(_) | Origin::Bridge(_) => self.arrive(),
            Origin::Host => self.depart(),
        };
        // `Err` carries a verdict, too: the one that stopped the packet.
        let verdict = verdict.unwrap_or_else(|stopped| stopped);
        Trace { steps: self.steps, verdict }
    }

    /// A packet from an interface.
    fn arrive(&mut self) -> Result<Verdict, Verdict> {
        self.pass(Table::Nat, Chain::Prerouting)?;
        let destination = self.packet.destination.ip();
        if !self.is_local(destination) {
            self.event(format!("{destination} is not an address of this node"));
            self.pass(Table::Filter, Chain::Forward)?;
            return Ok(Verdict::Onward(self.pass(Table::Nat, Chain::Postrouting)?));
        }
        self.event(format!("{destination} is an address of this node"));
        self.pass(Table::Filter, Chain::Input)?;
        match self.find_server() {
            Some(server) => self.schedule(server),
            None => Ok(Verdict::ToHost),
        }
    }

    /// A packet from the host itself.
    fn depart(&mut self) -> Result<Verdict, Verdict> {
        self.pass(Table::Nat, Chain::Output)?;
        if let Some(server) = self.find_server() {
            return self.schedule(server);
        }
        self.pass(Table::Filter, Chain::Output)?;
        let source = self.pass(Table::Nat, Chain::Postrouting)?;
        if !self.is_local(self.packet.destination.ip()) {
            return Ok(Verdict::Onward(source));
        }
        // It returns through the loopback device; nat was already evaluated.
        self.pass(Table::Filter, Chain::Input)?;
        Ok(Verdict::ToHost)
    }

    fn find_server(&mut self) -> Option<VirtualServer> {
        let server = VirtualServer { protocol: self.packet.protocol, address: self.packet.destination };
        let scheduling = &self.state.virtual_servers.get(&server)?.scheduling;
        self.event(format!("IPVS has virtual server {server} {scheduling}"));
        Some(server)
    }

    fn schedule(&mut self, server: VirtualServer) -> Result<Verdict, Verdict> {
        let state = self.state;
        let takers = state.real_servers_of(server).filter(|(_, weight)| *weight != Weight::QUIESCED);
        let mut ways = Vec::new();
        let mut stopped = Verdict::NoRealServer(server);
        for (real, weight) in takers {
            let mut way = Walk { server: Some(server), steps: Vec::new(), ..self.clone() };
            let outcome = way.send_to(real);
            // Packets to different real servers mostly match the same rules; each step is listed once.
            for step in way.steps {
                if !self.steps.contains(&step) {
                    self.steps.push(step);
                }
            }
            match outcome {
                Ok(source) => ways.push(Delivery { real, weight, source }),
                Err(verdict) => stopped = verdict,
            }
        }
        if ways.is_empty() { Err(stopped) } else { Ok(Verdict::Delivered(server, ways)) }
    }

    /// From IPVS to a real server.
    fn send_to(&mut self, real: RealServer) -> Result<Source, Verdict> {
        self.packet.destination = real.0;
        let here = self.is_local(real.0.ip());
        if here && self.packet.origin != Origin::Host {
            // It is already at LOCAL_IN and stays there.
            return Ok(Source::Kept);
        }
        if !here && self.packet.source.ip().is_loopback() {
            return Err(Verdict::Dropped(Cause::LoopbackSource));
        }
        self.pass(Table::Filter, Chain::Output)?;
        let before = self.steps.len();
        let source = self.pass(Table::Nat, Chain::Postrouting)?;
        let tracked = self.state.sysctls.get(&Sysctl::new("net/ipv4/vs/conntrack"));
        if tracked == Some(&0) {
            self.steps.truncate(before);
            self.event("net/ipv4/vs/conntrack is 0, so IPVS packets are never masqueraded".to_owned());
            return Ok(Source::Kept);
        }
        Ok(source)
    }

    fn event(&mut self, text: String) {
        self.steps.push(Step::Event(text));
    }

    /// Evaluates a built-in chain; `Err` is a verdict that stops the packet.
    fn pass(&mut self, table: Table, chain: Chain) -> Result<Source, Verdict> {
        match self.walk(table, chain, DEPTH) {
            End::Through | End::Accepted => Ok(Source::Kept),
            End::Masqueraded(place, rule) => Ok(Source::Masqueraded(place, rule)),
            End::Stopped(verdict) => Err(verdict),
        }
    }

    fn walk(&mut self, table: Table, chain: Chain, depth: usize) -> End {
        let family = Family::of(self.packet.source.ip());
        let state = self.state;
        let Some(rules) = state.rules.get(&(family, table, chain)) else { return End::Through };
        let place = Place { family, table, chain };
        for rule in rules {
            let (matches, target) = match rule {
                Rule::Known(matches, target) => (matches, *target),
                Rule::Foreign(_) => {
                    self.steps.push(Step::Unknown(place, rule.clone()));
                    continue;
                }
            };
            if !matches.iter().all(|test| self.passes(test)) {
                continue;
            }
            self.steps.push(Step::Rule(place, rule.clone()));
            match target {
                Target::Accept => return End::Accepted,
                Target::Return => return End::Through,
                Target::Drop => return End::Stopped(Verdict::Dropped(Cause::Rule(place, rule.clone()))),
                Target::Reject(_) => return End::Stopped(Verdict::Refused(place, rule.clone())),
                Target::Masquerade(_) | Target::Snat(..) => return End::Masqueraded(place, rule.clone()),
                Target::SetMark(value, mask) => self.mark = (self.mark & !mask) ^ value,
                Target::Jump(to) if depth > 0 => match self.walk(table, to, depth - 1) {
                    End::Through => {}
                    end => return end,
                },
                // When that chain ends, this one ends too.
                Target::Goto(to) if depth > 0 => return self.walk(table, to, depth - 1),
                Target::Jump(_) | Target::Goto(_) => {}
            }
        }
        End::Through
    }
}
