//! The source of the objects: a folder of manifests, or the API server.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use tracing::{info, warn};
use weir_core::cluster::Event;
use weir_core::policy::Reads;
use weir_daemon::Listed;
use weir_k8s::Problem;
use weir_k8s::manifests::Folder;
use weir_watch::{Account, Handle, Message, Rate, Recorder, Resource, Standing, Standings};

use super::wake::{self, Waker};
use crate::inputs::Settings;
use crate::source::{ApiServer, Source};
use crate::status;

/// The objects of the cluster, as events.
pub(super) enum Objects {
    /// From a folder or a file, which is read on demand.
    Manifests {
        /// The folder.
        folder: Folder,
        /// Its problems at the last reading, so that each is logged once.
        problems: Vec<Problem>,
        /// Changes not yet taken.
        news: Vec<Event>,
        /// What was listed at the last take.
        told: Listed,
    },
    /// From the API server, which sends events.
    ApiServer {
        /// The thread that follows it.
        handle: Handle,
        /// How complete its data is.
        standings: Standings,
        /// What it follows.
        followed: BTreeSet<Resource>,
        /// Events not yet taken.
        news: Vec<Event>,
        /// What was listed at the last take.
        told: Listed,
    },
}

impl Objects {
    /// Starts watching for objects; the recorder is for Kubernetes Events, which need an API server.
    pub(super) fn start(
        source: &Source,
        settings: &Settings,
        reads: Reads,
        waker: Waker,
    ) -> anyhow::Result<(Objects, Option<Recorder>)> {
        match source {
            Source::Manifests(path) => {
                wake::watch_manifests(path, waker);
                let folder = Folder::new(path, &settings.node_name);
                let (problems, news, told) = Default::default();
                Ok((Objects::Manifests { folder, problems, news, told }, None))
            }
            Source::ApiServer(server) => {
                let mut watched = weir_watch::Settings::new(server.access(), &settings.node_name);
                watched.requests = rate(server);
                let followed = resources(reads);
                watched.resources = followed.clone();
                let (sender, ring) = waker.messages();
                let (handle, recorder) =
                    weir_watch::spawn(watched, sender, ring).with_context(|| server.to_string())?;
                let (standings, news, told) = Default::default();
                Ok((Objects::ApiServer { handle, standings, followed, news, told }, Some(recorder)))
            }
        }
    }

    /// Handles a message of the API server. Returns its resource if contact with the API server was lost.
    pub(super) fn hear(&mut self, message: Message) -> Option<Resource> {
        for problem in &message.problems {
            warn!("{problem}");
        }
        let Objects::ApiServer { standings, news, .. } = self else { return None };
        let (resource, before) = (message.resource, standings.of(message.resource));
        standings.note(&message);
        let lost = (before, message.standing) == (Standing::Current, Standing::Stale);
        match (before, message.standing) {
            (Standing::Incomplete, Standing::Current) => info!(%resource, "listed"),
            (Standing::Current, Standing::Stale) => {
                warn!(%resource, "lost contact with the API server; the last known state of this resource stays in use");
            }
            (Standing::Stale, Standing::Current) => info!(%resource, "contact with the API server restored"),
            _ => {}
        }
        news.extend(message.events);
        lost.then_some(resource)
    }

    /// Counters of the API server's thread, if there is one.
    pub(super) fn account(&self) -> Option<Arc<Account>> {
        match self {
            Objects::ApiServer { handle, .. } => Some(Arc::clone(handle.account())),
            Objects::Manifests { .. } => None,
        }
    }

    /// How far the API server's data can be relied on, for the resources in use; empty without one.
    pub(super) fn resources(&self) -> Vec<status::Resource> {
        let Objects::ApiServer { standings, followed, .. } = self else { return Vec::new() };
        let of = |resource: Resource| status::Resource {
            name: resource.to_string(),
            standing: match standings.of(resource) {
                Standing::Incomplete => status::Standing::Incomplete,
                Standing::Current => status::Standing::Current,
                Standing::Stale => status::Standing::Stale,
            },
        };
        Resource::ALL.into_iter().filter(|resource| followed.contains(resource)).map(of).collect()
    }

    /// Whether changes would be noticed.
    pub(super) fn can_be_heard(&self) -> bool {
        match self {
            Objects::ApiServer { handle, .. } => handle.is_running(),
            Objects::Manifests { .. } => true,
        }
    }

    /// Reads the folder again, if there is one.
    pub(super) fn look(&mut self) {
        let Objects::Manifests { folder, problems, news, .. } = self else { return };
        let (events, now) = folder.scan();
        for problem in now.iter().filter(|problem| !problems.contains(problem)) {
            warn!("{problem}");
        }
        *problems = now;
        news.extend(events);
    }

    /// The events since the last call, and what is listed by now.
    pub(super) fn take(&mut self) -> Option<(Vec<Event>, Listed)> {
        let listed = self.listed();
        let (Objects::Manifests { news, told, .. } | Objects::ApiServer { news, told, .. }) = self;
        if news.is_empty() && *told == listed {
            return None;
        }
        *told = listed;
        Some((std::mem::take(news), listed))
    }

    /// What has been listed completely.
    fn listed(&self) -> Listed {
        match self {
            Objects::Manifests { folder, .. } if folder.is_complete() => Listed::ALL,
            Objects::Manifests { .. } => Listed::default(),
            Objects::ApiServer { standings, .. } => Listed {
                services: standings.are_complete(&Resource::NEEDED),
                own_node: standings.are_complete(&[Resource::OwnNode]),
                nodes: standings.are_complete(&[Resource::Nodes]),
                namespaces: standings.are_complete(&[Resource::Namespaces]),
            },
        }
    }

    /// Whether there is an API server, so that this node's object is certain to arrive.
    pub(super) fn are_from_api_server(&self) -> bool {
        matches!(self, Objects::ApiServer { .. })
    }

    /// Follows what policies read.
    pub(super) fn follow(&mut self, reads: Reads) {
        if let Objects::ApiServer { handle, followed, .. } = self {
            *followed = resources(reads);
            handle.follow(followed.clone());
        }
    }
}

fn resources(reads: Reads) -> BTreeSet<Resource> {
    let needed = Resource::NEEDED.into_iter().chain([Resource::OwnNode]);
    let nodes = reads.nodes.then_some(Resource::Nodes);
    let namespaces = reads.namespaces.then_some(Resource::Namespaces);
    needed.chain(nodes).chain(namespaces).collect()
}

/// As in client-go: zero means its own default, and a negative rate means no limit.
fn rate(server: &ApiServer) -> Rate {
    let connection = &server.connection;
    let per_second = if connection.qps == 0.0 { 5.0 } else { connection.qps };
    let burst = if connection.burst == 0 { 10 } else { connection.burst };
    Rate { per_second, burst }
}
