//! Metrics of plugins: their declarations, and the totals over all services.
//!
//! All values are whole numbers, so that sums stay exact while services come and go.

use std::collections::{BTreeMap, HashMap};

use weir_core::objects::ObjectName;
use weir_core::text::abridged;

use crate::bindings::lifecycle;
use crate::configuration::Interface;

/// The maximum number of metrics per plugin.
const MOST: usize = 8;

/// The maximum lengths of a name and of a help text, in bytes.
const LONGEST_NAME: usize = 48;
const LONGEST_HELP: usize = 256;

/// A metric declared by a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name: `[a-z][a-z0-9_]*`, at most 48 bytes.
    pub name: String,
    /// How the numbers of services are combined.
    pub kind: MetricKind,
    /// Its help text, safe to print.
    pub help: String,
}

/// How the numbers of services are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// The sum over all answers in force.
    Sum,
    /// The maximum over all answers in force.
    Max,
    /// The sum over all new answers; it does not shrink when a service is deleted.
    Counter,
}

/// The kinds, with their names in the contract.
const KINDS: [(&str, MetricKind); 3] =
    [("sum", MetricKind::Sum), ("max", MetricKind::Max), ("counter", MetricKind::Counter)];

impl MetricKind {
    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// Why a declaration is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// There are too many.
    #[error("it declares {0} metrics, but weir exports at most {MOST} per plugin")]
    Many(usize),
    /// A name that cannot be exported.
    #[error(
        "it declares the metric `{0}`, which is not a valid name: a name starts with a lower-case letter, continues \
         with lower-case letters, digits and `_`, has at most {LONGEST_NAME} characters, and does not end in `_total`, \
         which weir appends to counters"
    )]
    Name(String),
    /// A kind unknown to this version.
    #[error("its metric `{name}` has the unknown kind `{kind}`; use `sum`, `max` or `counter`")]
    Kind {
        /// The metric.
        name: String,
        /// The kind.
        kind: String,
    },
    /// No help text.
    #[error("its metric `{0}` has no help text; describe it in one sentence")]
    NoHelp(String),
    /// A name declared before.
    #[error("it declares the metric `{0}` twice")]
    Twice(String),
}

/// Parses a plugin's declarations.
pub(crate) fn parse(declared: &[lifecycle::Metric]) -> Result<Vec<Metric>, Vec<MetricError>> {
    if declared.len() > MOST {
        return Err(vec![MetricError::Many(declared.len())]);
    }
    let (mut metrics, mut errors) = (Vec::<Metric>::new(), Vec::new());
    for lifecycle::Metric { name, kind, help } in declared {
        let shown = abridged(name, LONGEST_NAME);
        let known = KINDS.iter().find(|(word, _)| word == kind);
        if !is_name(name) {
            errors.push(MetricError::Name(shown));
        } else if metrics.iter().any(|other| other.name == *name) {
            errors.push(MetricError::Twice(shown));
        } else if help.trim().is_empty() {
            errors.push(MetricError::NoHelp(shown));
        } else if let Some((_, kind)) = known {
            metrics.push(Metric { name: shown, kind: *kind, help: abridged(help, LONGEST_HELP) });
        } else {
            errors.push(MetricError::Kind { name: shown, kind: abridged(kind, LONGEST_NAME) });
        }
    }
    if errors.is_empty() { Ok(metrics) } else { Err(errors) }
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
        && !name.ends_with("_total")
}

/// The totals of one plugin's metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// The numbers of the answers in force, by interface; services without any have no entry.
    services: HashMap<ObjectName, [Box<[u64]>; Interface::ALL.len()]>,
    totals: Vec<Total>,
}

#[derive(Clone, Debug)]
enum Total {
    Sum(u128),
    /// How often each number occurs.
    Max(BTreeMap<u64, usize>),
    Counter(u128),
}

impl Tally {
    pub(crate) fn new(metrics: &[Metric]) -> Tally {
        let total = |metric: &Metric| match metric.kind {
            MetricKind::Sum => Total::Sum(0),
            MetricKind::Max => Total::Max(BTreeMap::new()),
            MetricKind::Counter => Total::Counter(0),
        };
        Tally { services: HashMap::new(), totals: metrics.iter().map(total).collect() }
    }

    /// Whether there is nothing to count.
    pub(crate) fn is_idle(&self) -> bool {
        self.totals.is_empty()
    }

    /// Sets the numbers of the answer now in force for a service; an empty slice counts as zeros.
    pub(crate) fn set(&mut self, interface: Interface, service: &ObjectName, numbers: &[u64]) {
        let some = numbers.iter().any(|number| *number > 0);
        if self.is_idle() || (!some && !self.services.contains_key(service)) {
            return;
        }
        let numbers = if some { numbers } else { &[] };
        let of_service = self.services.entry(service.clone()).or_default();
        let place = &mut of_service[interface as usize];
        if **place == *numbers {
            return;
        }
        let before = std::mem::replace(place, numbers.into());
        if of_service.iter().all(|numbers| numbers.is_empty()) {
            self.services.remove(service);
        }
        for (index, total) in self.totals.iter_mut().enumerate() {
            let of = |numbers: &[u64]| numbers.get(index).copied().unwrap_or_default();
            total.replace(of(&before), of(numbers));
        }
    }

    /// Adds the numbers of a new answer to the counters.
    pub(crate) fn count(&mut self, numbers: &[u64]) {
        for (total, number) in self.totals.iter_mut().zip(numbers) {
            if let Total::Counter(total) = total {
                *total += u128::from(*number);
            }
        }
    }

    /// Forgets a deleted service.
    pub(crate) fn forget(&mut self, service: &ObjectName) {
        Interface::ALL.into_iter().for_each(|interface| self.set(interface, service, &[]));
    }

    /// The totals, in the order of the declarations.
    pub(crate) fn totals(&self) -> Vec<u128> {
        let total = |total: &Total| match total {
            Total::Sum(sum) | Total::Counter(sum) => *sum,
            Total::Max(numbers) => numbers.last_key_value().map_or(0, |(largest, _)| (*largest).into()),
        };
        self.totals.iter().map(total).collect()
    }
}

impl Total {
    /// Replaces one number with another.
    fn replace(&mut self, before: u64, now: u64) {
        match self {
            Total::Sum(sum) => *sum = *sum - u128::from(before) + u128::from(now),
            Total::Max(numbers) => {
                if let Some(count) = numbers.get_mut(&before) {
                    *count -= 1;
                    if *count == 0 {
                        numbers.remove(&before);
                    }
                }
                if now > 0 {
                    *numbers.entry(now).or_default() += 1;
                }
            }
            Total::Counter(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(names: &[(&str, &str)]) -> Vec<lifecycle::Metric> {
        let metric = |(name, kind): &(&str, &str)| lifecycle::Metric {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            help: "What it is.".to_owned(),
        };
        names.iter().map(metric).collect()
    }

    #[test]
    fn a_declaration_that_cannot_be_exported_is_refused_with_its_mistakes() {
        let long = "x".repeat(LONGEST_NAME + 1);
        let wrong = ["", "9lives", "Upper", "with-dash", "a_total", "ä", "_a", &long];
        for name in wrong {
            let errors = parse(&declared(&[(name, "sum")])).unwrap_err();
            assert!(matches!(&errors[..], [MetricError::Name(_)]), "{name}: {errors:?}");
        }
        let errors = parse(&declared(&[("a", "sum"), ("a", "max"), ("b", "histogram")])).unwrap_err();
        let kind = MetricError::Kind { name: "b".to_owned(), kind: "histogram".to_owned() };
        assert_eq!(errors, [MetricError::Twice("a".to_owned()), kind]);
        let mut mute = declared(&[("a", "sum")]);
        mute[0].help = " ".to_owned();
        assert_eq!(parse(&mute).unwrap_err(), [MetricError::NoHelp("a".to_owned())]);
        let many = vec![("a", "sum"); MOST + 1];
        assert_eq!(parse(&declared(&many)).unwrap_err(), [MetricError::Many(MOST + 1)]);
        let kinds = KINDS.map(|(word, kind)| (word, kind.name()));
        assert!(kinds.iter().all(|(word, name)| word == name) && parse(&declared(&kinds)).is_ok());
    }

    #[test]
    fn numbers_are_added_compared_or_counted_and_go_with_their_service() {
        let metrics = parse(&declared(&[("a", "sum"), ("b", "max"), ("c", "counter")])).unwrap();
        let mut tally = Tally::new(&metrics);
        let (web, api) = (ObjectName::new("shop", "web"), ObjectName::new("shop", "api"));
        let mut answer = |interface, service: &ObjectName, numbers: &[u64]| {
            tally.count(numbers);
            tally.set(interface, service, numbers);
            tally.totals()
        };
        assert_eq!(answer(Interface::Scheduler, &web, &[2, 300, 1]), [2, 300, 1]);
        assert_eq!(answer(Interface::Scheduler, &api, &[1, 300, 4]), [3, 300, 5]);
        assert_eq!(answer(Interface::Filter, &api, &[u64::MAX, 7, 0])[0], u128::from(u64::MAX) + 3);
        assert_eq!(answer(Interface::Filter, &api, &[]), [3, 300, 5]);
        assert_eq!(answer(Interface::Scheduler, &web, &[2, 100, 0]), [3, 300, 5]);
        tally.forget(&api);
        assert_eq!(tally.totals(), [2, 100, 5]);
        tally.set(Interface::Scheduler, &web, &[0, 0, 9]);
        tally.set(Interface::Scheduler, &web, &[]);
        assert_eq!((tally.totals(), tally.services.len()), (vec![0, 0, 5], 0));
    }
}
