//! Endpoints of this node's zone first.

use weir_plugin_sdk::configuration::Fields;
use weir_plugin_sdk::{Context, Endpoint, Port};

/// The share of traffic that stays in the zone while it has enough endpoints.
#[derive(Debug)]
pub(crate) struct ZoneFirst {
    keep_percent: u32,
    enough: usize,
}

/// The groups in the order of their shares.
const HERE: usize = 0;
const ELSEWHERE: usize = 1;

/// The zone's share of one port.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    zone: &'a str,
    keep_percent: u32,
}

impl ZoneFirst {
    pub(crate) fn take(fields: &mut Fields) -> ZoneFirst {
        let keep_percent = fields.text("keep-percent").unwrap_or(100);
        if !(1..=100).contains(&keep_percent) {
            fields.problem("keep-percent", format!("is {keep_percent}: write a whole number from 1 to 100"));
        }
        let enough: u16 = fields.text("enough").unwrap_or(1);
        if enough == 0 {
            fields.problem(
                "enough",
                "is 0: write the number of ready endpoints that the zone needs, at least 1",
            );
        }
        ZoneFirst { keep_percent, enough: enough.into() }
    }

    /// Returns `None` if zones are ignored for this port: the node has no zone, or the zone has too few endpoints, or
    /// would get less than without zones. Endpoints with weight 0 do not count.
    pub(crate) fn place<'a>(&self, port: &Port, left: &[u16], context: &'a Context) -> Option<Place<'a>> {
        let zone = context.zone.as_deref()?;
        let place = Place { zone, keep_percent: self.keep_percent };
        let takes = |(endpoint, left): &(&Endpoint, &u16)| endpoint.is_used() && endpoint.ready && **left > 0;
        let ready = || port.endpoints.iter().zip(left).filter(takes);
        let here = ready().filter(|(endpoint, _)| place.group(endpoint) == HERE).count();
        let share = u32::try_from(here * 100 / ready().count().max(1)).unwrap_or(100);
        (here >= self.enough && share < self.keep_percent).then_some(place)
    }
}

impl Place<'_> {
    pub(crate) fn group(&self, endpoint: &Endpoint) -> usize {
        if endpoint.zone.as_deref() == Some(self.zone) { HERE } else { ELSEWHERE }
    }

    pub(crate) fn shares(&self) -> Vec<u32> {
        vec![self.keep_percent, 100 - self.keep_percent]
    }

    pub(crate) fn reason(&self) -> String {
        format!("{} % of the traffic stays in zone {}", self.keep_percent, self.zone)
    }
}
