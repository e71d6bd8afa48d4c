//! All plugins of a node, as one policy.

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

/// Plugins in the order in which they are asked. With none it is the built-in policy.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Vec<Plugin>,
    /// Where the next audit goes on.
    cursor: usize,
}

/// What becomes of one service on its way through the chain.
struct Course<'a> {
    view: &'a ServiceView,
    opinion: Opinion,
    notes: Vec<Note>,
    reports: Vec<Report>,
    expires: Option<u64>,
}

/// What can be said of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it decides or is only watched.
    pub mode: Mode,
    /// What is in its file.
    pub facts: Facts,
    /// What it did and cost.
    pub account: Account,
    /// Whether it is asked.
    pub condition: Condition,
    /// Questions that are known to fail it.
    pub poisoned: usize,
    /// What its numbers come to, in the order of `facts.metrics`.
    pub totals: Vec<u128>,
}

impl Chain {
    /// A chain that has asked nobody anything yet. `node` is this node's name.
    pub fn new(artifacts: Vec<Arc<Artifact>>, node: &str) -> Chain {
        let plugins = artifacts.into_iter().map(|artifact| Plugin::new(artifact, node)).collect();
        Chain { plugins, cursor: 0 }
    }

    pub(crate) fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// What can be said of each plugin, at a time in seconds since 1970.
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

    /// Starts to keep what is asked and answered from now on.
    pub fn start_recording(&mut self) {
        self.plugins.iter_mut().for_each(|plugin| plugin.records = Some(Vec::new()));
    }

    /// What was asked and answered since the last time; answers from memory were asked before.
    pub fn take_records(&mut self) -> Vec<Record> {
        let records = self.plugins.iter_mut().filter_map(|plugin| plugin.records.as_mut());
        records.flat_map(std::mem::take).collect()
    }

    /// Takes over the plugins of an earlier chain: with what they remember where they are the same here, with their last
    /// good answers where there is another of the same name, and as they are where that was refused. `order` has the
    /// names of the configuration.
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

    /// Asks one plugin about every service that it is for.
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

    /// Notes what would be different if a watched plugin decided.
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
                format!("plugin {plugin} (shadow), {}: {said}", H::INTERFACE),
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
        // As many as fit into a call, so that a cold start does not hold all services twice.
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
        // Only the first enforced plugin of an interface is asked with the opinion that it was asked with before; for
        // the others the question is another one, and the memory has no answer to compare.
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
                    "plugin {}: asked the same again it answered otherwise; its answers are not remembered any more, \
                     which costs a call per change. Its answers must depend on its arguments alone",
                    plugin.name()
                ),
            }));
        }
        reports
    }
}

/// What can be said of the plugins that a planner decides by, at a time in seconds since 1970; nothing where it decides
/// without plugins.
pub fn status(planner: &Planner, now: u64) -> Vec<Status> {
    planner.policy::<Chain>().map(|chain| chain.status(now)).unwrap_or_default()
}

/// What the plugins that a planner decides by were asked and answered since the last time.
pub fn take_records(planner: &mut Planner) -> Vec<Record> {
    planner.policy_mut::<Chain>().map(Chain::take_records).unwrap_or_default()
}
