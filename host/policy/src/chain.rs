//! All plugins of a node, combined into one policy.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_core::decision::Decision;
use weir_core::objects::{ObjectName, Service};
use weir_core::planner::Planner;
use weir_core::policy::{Decided, Note, Policy, Reads, Surroundings};
use weir_core::report::{Reason, Report};
use weir_core::sampling::Wish;
use weir_core::view::ServiceView;

use crate::account::{Account, Condition};
use crate::artifact::{Artifact, Facts};
use crate::configuration::{Interface, Mode};
use crate::hook::Hook;
use crate::load::Refused;
use crate::patch::{Answer, FilterPatch, MasqueradePatch, Opinion, SchedulerPatch};
use crate::plugin::{BATCH, Item, Plugin, Round};
use crate::record::Record;

/// Plugins in the order in which they are called. Without plugins it is the built-in policy.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Vec<Plugin>,
    /// Where the next audit continues.
    cursor: usize,
}

/// A service on its way through the chain.
struct Course<'a> {
    view: &'a ServiceView,
    opinion: Opinion,
    notes: Vec<Note>,
    reports: Vec<Report>,
    expires: Option<u64>,
}

/// The state of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it decides or runs in shadow mode.
    pub mode: Mode,
    /// Facts about its component.
    pub facts: Facts,
    /// What it did and cost.
    pub account: Account,
    /// Whether it is being called.
    pub condition: Condition,
    /// The number of questions known to make it fail.
    pub poisoned: usize,
    /// The totals of its metrics, in the order of `facts.metrics`.
    pub totals: Vec<u128>,
}

impl Chain {
    /// A chain that has not called any plugin yet. `node` is this node's name.
    pub fn new(artifacts: Vec<Arc<Artifact>>, node: &str) -> Chain {
        let plugins = artifacts.into_iter().map(|artifact| Plugin::new(artifact, node)).collect();
        Chain { plugins, cursor: 0 }
    }

    pub(crate) fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// The state of each plugin at a time in seconds since 1970.
    pub fn status(&self, now: u64) -> Vec<Status> {
        let status = |plugin: &Plugin| Status {
            name: plugin.name().to_owned(),
            mode: plugin.artifact.configuration().mode,
            facts: plugin.artifact.facts().clone(),
            account: plugin.account().clone(),
            condition: plugin.condition(now),
            poisoned: plugin.poisoned(),
            totals: plugin.totals(),
        };
        self.plugins.iter().map(status).collect()
    }

    /// Starts recording questions and answers.
    pub fn start_recording(&mut self) {
        self.plugins.iter_mut().for_each(|plugin| plugin.records = Some(Vec::new()));
    }

    /// Takes the questions and answers recorded since the last call; answers from memory are not recorded.
    pub fn take_records(&mut self) -> Vec<Record> {
        let records = self.plugins.iter_mut().filter_map(|plugin| plugin.records.as_mut());
        records.flat_map(std::mem::take).collect()
    }

    /// Takes over from an earlier chain: an unchanged plugin keeps its memory, a changed plugin keeps the last good
    /// answers of its predecessor, and a plugin whose new version was refused stays as it was. `order` lists the names
    /// in the configuration.
    pub fn inherit(&mut self, earlier: Chain, refused: &[Refused], order: &[String]) {
        for mut old in earlier.plugins {
            let Some(new) = self.plugins.iter_mut().find(|new| new.name() == old.name()) else {
                if refused.iter().any(|plugin| plugin.name == old.name()) {
                    self.plugins.push(old);
                }
                continue;
            };
            if new.artifact.is(old.artifact.facts().digest, old.artifact.configuration()) {
                old.records = new.records.take();
                *new = old;
            } else {
                new.inherit_good(old);
            }
        }
        self.plugins.sort_by_key(|plugin| order.iter().position(|name| name == plugin.name()));
    }

    /// Asks one plugin about every service that it selects.
    fn consult<'a, H: Hook>(
        plugin: &mut Plugin,
        round: &mut Option<Round<'a>>,
        courses: &mut [Course<'_>],
        around: &Surroundings<'a>,
    ) {
        if !plugin.has(H::INTERFACE) {
            return;
        }
        let select = &plugin.artifact.configuration().select;
        let asks = |course: &Course<'_>| select.selects(&course.view.service) && !course.opinion.ignores();
        let (chosen, others): (Vec<usize>, Vec<usize>) = (0..courses.len()).partition(|i| asks(&courses[*i]));
        for i in others {
            plugin.pass_over(H::INTERFACE, &courses[i].view.service.name);
        }
        // Most rounds have nothing to ask about, and the context alone may name every node of the cluster.
        if chosen.is_empty() {
            return;
        }
        let round = round.get_or_insert_with(|| plugin.begin(around));
        let item = |place: &usize| {
            let Course { view, opinion, .. } = &courses[*place];
            Item { place: *place, view, opinion }
        };
        let items: Vec<Item<'_>> = chosen.iter().map(item).collect();
        let replies = plugin.ask::<H>(round, &items);
        let (name, mode) = (plugin.name().to_owned(), plugin.artifact.configuration().mode);
        for (i, reply) in chosen.into_iter().zip(replies) {
            let course = &mut courses[i];
            course.expires = course.expires.into_iter().chain(reply.expires).min();
            if let Some(failure) = reply.failure {
                course.report(Reason::PolicyFailed, failure.text.clone());
                if failure.skip && mode == Mode::Enforce {
                    course.opinion.skipped = Some(failure.text);
                }
            }
            let Some(answer) = reply.answer else { continue };
            let said = answer.patch.summary(course.view);
            match mode {
                Mode::Enforce => {
                    if !said.is_empty() || !answer.reason.is_empty() {
                        course.note(&name, H::INTERFACE, said, &answer.reason);
                    }
                    answer.patch.add(&mut course.opinion);
                }
                Mode::Shadow => course.compare::<H>(&name, &answer, &said, around),
            }
        }
    }

    fn each<'a, H: Hook>(
        &mut self,
        mode: Mode,
        rounds: &mut [Option<Round<'a>>],
        courses: &mut [Course<'_>],
        around: &Surroundings<'a>,
    ) {
        for (plugin, round) in self.plugins.iter_mut().zip(rounds) {
            if plugin.artifact.configuration().mode == mode {
                Chain::consult::<H>(plugin, round, courses, around);
            }
        }
    }
}

impl Course<'_> {
    fn report(&mut self, reason: Reason, message: String) {
        self.reports.push(Report { service: self.view.service.name.clone(), reason, message });
    }

    fn note(&mut self, plugin: &str, interface: Interface, answer: String, reason: &str) {
        let (plugin, reason) = (plugin.to_owned(), reason.to_owned());
        self.notes.push(Note { plugin, hook: interface.name(), answer, reason });
    }

    /// Reports what would change if a shadow plugin decided.
    fn compare<H: Hook>(&mut self, plugin: &str, answer: &Answer<H>, said: &str, around: &Surroundings<'_>) {
        let mut other = self.opinion.clone();
        answer.patch.add(&mut other);
        let node = around.node;
        let clamped =
            |opinion: &Opinion| weir_core::guard::clamp(self.view, opinion.decision(self.view, node), node).0;
        if clamped(&other) != clamped(&self.opinion) {
            self.note(plugin, H::INTERFACE, format!("would change the decision: {said}"), &answer.reason);
            self.report(
                Reason::ShadowDifference,
                format!("plugin {plugin} (shadow mode, not applied), {}: {said}", H::INTERFACE),
            );
        }
    }
}

impl Policy for Chain {
    fn decide(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Decided> {
        if self.plugins.is_empty() {
            return views.iter().map(|view| Decision::upstream(view, around.node).into()).collect();
        }
        let course = |view| Course {
            view,
            opinion: Opinion::default(),
            notes: Vec::new(),
            reports: Vec::new(),
            expires: None,
        };
        let mut rounds: Vec<Option<Round<'_>>> = self.plugins.iter().map(|_| None).collect();
        self.plugins.iter_mut().for_each(|plugin| plugin.make_room(views.len()));
        let mut all = Vec::with_capacity(views.len());
        // One call's worth at a time, so that a cold start does not keep all services in memory twice.
        for views in views.chunks(BATCH) {
            let mut courses: Vec<Course<'_>> = views.iter().map(course).collect();
            for mode in [Mode::Enforce, Mode::Shadow] {
                self.each::<FilterPatch>(mode, &mut rounds, &mut courses, around);
                self.each::<SchedulerPatch>(mode, &mut rounds, &mut courses, around);
                self.each::<MasqueradePatch>(mode, &mut rounds, &mut courses, around);
            }
            rounds.iter_mut().flatten().for_each(Round::turn);
            all.extend(courses.into_iter().map(|course| Decided {
                decision: course.opinion.decision(course.view, around.node),
                notes: course.notes,
                reports: course.reports,
                expires: course.expires,
            }));
        }
        for (plugin, round) in self.plugins.iter_mut().zip(rounds) {
            round.into_iter().for_each(|round| plugin.end(round));
        }
        all
    }

    fn reads(&self) -> Reads {
        self.plugins.iter().map(|plugin| plugin.artifact.needs.reads()).fold(Reads::default(), Reads::and)
    }

    fn wishes(&self, service: &Service) -> BTreeSet<Wish> {
        let asks = |plugin: &&Plugin| plugin.artifact.configuration().select.selects(service);
        self.plugins.iter().filter(asks).filter_map(|plugin| plugin.artifact.needs.statistics).collect()
    }

    fn forget(&mut self, service: &ObjectName) {
        self.plugins.iter_mut().for_each(|plugin| plugin.forget(service));
    }

    fn sample(&mut self, count: usize) -> Vec<ObjectName> {
        let known: BTreeSet<&ObjectName> = self.plugins.iter().flat_map(Plugin::services).collect();
        if known.is_empty() {
            return Vec::new();
        }
        let start = self.cursor % known.len();
        self.cursor = start + count;
        known.iter().cycle().skip(start).take(count.min(known.len())).map(|name| (*name).clone()).collect()
    }

    fn audit(&mut self, views: &[ServiceView], around: &Surroundings<'_>) -> Vec<Report> {
        let opinion = Opinion::default();
        let mut reports = Vec::new();
        // Only the first enforced plugin of an interface sees the same earlier opinion as before. The others get a
        // different question, to which memory has no answer to compare.
        for plugin in &mut self.plugins {
            let item = |(place, view)| Item { place, view, opinion: &opinion };
            let items: Vec<Item<'_>> = views.iter().enumerate().map(item).collect();
            let mut round = plugin.begin(around);
            let mut changed = plugin.audit::<FilterPatch>(&mut round, &items);
            changed.extend(plugin.audit::<SchedulerPatch>(&mut round, &items));
            changed.extend(plugin.audit::<MasqueradePatch>(&mut round, &items));
            plugin.end(round);
            reports.extend(changed.into_iter().map(|service| Report {
                service,
                reason: Reason::PolicyImpure,
                message: format!(
                    "plugin {}: it gave a different answer to a repeated question, so its answers are no longer cached, \
                     which costs a call per change. Its answers must depend only on its arguments",
                    plugin.name()
                ),
            }));
        }
        reports
    }
}

/// The state of the plugins that decide for a planner, at a time in seconds since 1970; empty if it decides
/// without plugins.
pub fn status(planner: &Planner, now: u64) -> Vec<Status> {
    planner.policy::<Chain>().map(|chain| chain.status(now)).unwrap_or_default()
}

/// Takes the records of the plugins that decide for a planner, since the last call.
pub fn take_records(planner: &mut Planner) -> Vec<Record> {
    planner.policy_mut::<Chain>().map(Chain::take_records).unwrap_or_default()
}
