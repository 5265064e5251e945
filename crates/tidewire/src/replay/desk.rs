//! What operators ask of replays: plan, apply, stop, look.

use std::sync::Arc;

use tidewire_core::commit::ExpectDocument;
use tidewire_core::handler::{Consumer, Kind};
use tidewire_core::{Commit, Committed, DocumentWrite, Envelope, Handler, Position, Recorded, StoreError};

use super::differential::Recording;
use super::domain::Domains;
use super::elsewhere::Elsewhere;
use super::error::ReplayError;
use super::job::{self, JOBS, Job, PLANS, Seat, State};
use super::plan::{Plan, Request, Target};
use super::record;
use super::source::{Pages, Wanted};
use crate::consume::{ConsumeLoop, ConsumeOptions};
use crate::operate::{Acted, Actor};
use crate::ports::Ports;
use crate::roster::Enrolled;

/// Replays listed at once, newest first. Older ones stay where they are.
const MAX_LISTED: usize = 500;
/// Plans kept. Making one more removes those that were made first, unless they are being carried out.
const MAX_PLANS: usize = 500;
/// The longest reason kept, in characters.
const MAX_REASON_CHARS: usize = 500;
/// How often a change of a document is tried again after losing a race.
const MAX_CONFLICTS: u32 = 20;
/// The most events of a plan read at once for a file.
const MAX_PAGE: usize = 5_000;

/// Who applies a plan, and why.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who.
    pub actor: Actor,
    /// Why. Needed where effects are carried out.
    pub reason: String,
    /// Whether he agrees that what handlers ask for is carried out. Has to be as the plan says.
    pub with_effects: bool,
}

/// The desk: what operators see and do, over a set of handlers on their ports. Cheap to clone.
#[derive(Clone)]
pub struct Replays {
    pub(super) ports: Ports,
    pub(super) handlers: Arc<Vec<Enrolled>>,
    pub(super) options: ConsumeOptions,
    pub(super) domains: Option<Arc<dyn Domains>>,
    pub(super) elsewhere: Arc<Vec<Arc<dyn Elsewhere>>>,
}

impl Replays {
    /// Over `handlers`, each with the source its events are emitted as.
    pub fn new(ports: &Ports, handlers: Vec<Enrolled>, options: ConsumeOptions) -> Self {
        Self { ports: ports.clone(), handlers: Arc::new(handlers), options, domains: None, elsewhere: Arc::default() }
    }

    /// With what opens the broker under other domains. Without it nothing is replayed there.
    pub fn with_domains(mut self, domains: Arc<dyn Domains>) -> Self {
        self.domains = Some(domains);
        self
    }

    /// Makes a plan and keeps it under its hash. Nothing else changes. Reads the part of the log it is about, and runs
    /// its handler for the first few events without keeping anything of it.
    pub async fn plan(&self, request: &Request) -> Result<Plan, ReplayError> {
        let plan = self.draw(request).await?;
        self.forget_old_plans().await?;
        let write = record::write(PLANS, &plan.hash, &plan, ExpectDocument::Any)?;
        self.ports.store.commit(Commit { documents: vec![write], ..Commit::default() }).await?;
        Ok(plan)
    }

    /// A plan that was made.
    pub async fn planned(&self, hash: &str) -> Result<Plan, ReplayError> {
        let found = job::load(self.ports.store.as_ref(), PLANS, hash).await?;
        found.map(|(plan, _)| plan).ok_or_else(|| ReplayError::NotFound { what: "plan", id: hash.to_owned() })
    }

    /// Has a plan carried out, or one that stopped gone on with. One that is done is left as it is.
    ///
    /// `replay.busy` while it is under way, or another one to the same target. The work is done in the background, by
    /// whichever process runs the handler; see [`Replays::job`].
    pub async fn apply(&self, hash: &str, asked: &Asked) -> Result<Job, ReplayError> {
        let plan = self.planned(hash).await?;
        self.may_apply(&plan, asked).await?;
        let store = self.ports.store.as_ref();
        let target = plan.terms.target.seat();
        let known = Job::load(store, hash).await?;
        let (mut seat, seat_expects) = Seat::load(store, &target).await?;
        if let Some(other) = seat.taken.as_ref().filter(|other| *other != hash)
            && let Some((job, _)) = Job::load(store, other).await?
            && job.state.is_open()
        {
            let reason = format!("the replay {other} goes to {target} now; stop it, or wait for its end");
            return Err(ReplayError::refused("replay.busy", reason));
        }
        let now = self.ports.clock.now();
        let (job, expect) = match known {
            Some((job, _)) if job.state == State::Done => return Ok(job),
            Some((job, _)) if job.state.is_open() => {
                let reason = format!("{} is applying it since {}", job.actor, job.begun.format("%FT%TZ"));
                return Err(ReplayError::refused("replay.busy", reason));
            }
            Some((job, expect)) => (Job { state: State::Waiting, trouble: None, updated: now, ..job }, expect),
            None => (begin(&plan, asked, now), ExpectDocument::Absent),
        };
        seat.taken = Some(hash.to_owned());
        let mut documents = job.writes(expect)?;
        documents.push(record::write(job::SEATS, &target, &seat, seat_expects)?);
        let acted = Acted::new(&asked.actor, "replay apply", hash, &reason(asked))
            .with("target", target.as_str())
            .with("events", plan.report.events)
            .with("effects", plan.terms.with_effects);
        let append = vec![acted.append(self.ports.clock.as_ref())];
        match store.commit(Commit { append, documents, ..Commit::default() }).await {
            Ok(_) => Ok(job),
            Err(StoreError::Conflict(_)) => {
                Err(ReplayError::refused("replay.busy", "somebody else has just applied a plan to the same target"))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn may_apply(&self, plan: &Plan, asked: &Asked) -> Result<(), ReplayError> {
        let terms = &plan.terms;
        if terms.target == Target::File {
            return Err(ReplayError::Invalid("whoever applies a plan for a file writes the file himself".into()));
        }
        if terms.log_id != self.ports.store.info().await?.log_id {
            return Err(ReplayError::refused("replay.outdated", "the plan is of another log; make a new one"));
        }
        if let Some(name) = terms.target.handler()
            && self.elsewhere(name).is_none()
            && reads(&self.consumer(name)?) != terms.reads
        {
            let reason = format!("`{name}` reads other types or versions than when the plan was made; make a new one");
            return Err(ReplayError::refused("replay.outdated", reason));
        }
        if terms.target.handler().is_some() && !plan.report.newer.is_empty() {
            let newer: Vec<&str> = plan.report.newer.keys().map(String::as_str).collect();
            let reason = format!("this build does not know {}; use one that does", newer.join(", "));
            return Err(ReplayError::refused("replay.newer_version", reason));
        }
        match (terms.with_effects, asked.with_effects) {
            (true, true) if asked.reason.trim().is_empty() => {
                Err(ReplayError::refused("replay.unconfirmed", "carrying out effects again needs a reason"))
            }
            (true, false) => {
                let reason = "the plan carries out effects, emitted events and timers: say so when applying it";
                Err(ReplayError::refused("replay.unconfirmed", reason))
            }
            (false, true) => {
                let reason = "the plan mutes effects; make one that does not";
                Err(ReplayError::refused("replay.unconfirmed", reason))
            }
            _ => Ok(()),
        }
    }

    /// Has a replay stopped after the batch it is at. It can be gone on with.
    pub async fn stop(&self, id: &str, actor: &Actor, reason: &str) -> Result<Job, ReplayError> {
        let store = self.ports.store.as_ref();
        for _ in 0..MAX_CONFLICTS {
            let (mut job, expect) = self.found(id).await?;
            job.state = match job.state {
                State::Waiting => State::Stopped,
                State::Running => State::Stopping,
                _ => return Ok(job),
            };
            let append = vec![Acted::new(actor, "replay stop", id, reason).append(self.ports.clock.as_ref())];
            let commit = Commit { append, documents: job.writes(expect)?, ..Commit::default() };
            match store.commit(commit).await {
                Ok(_) => return Ok(job),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReplayError::refused("replay.busy", "it moves too fast to be stopped now; try again"))
    }

    /// One replay.
    pub async fn job(&self, id: &str) -> Result<Job, ReplayError> {
        Ok(self.found(id).await?.0)
    }

    async fn found(&self, id: &str) -> Result<(Job, ExpectDocument), ReplayError> {
        let found = Job::load(self.ports.store.as_ref(), id).await?;
        found.ok_or_else(|| ReplayError::NotFound { what: "replay", id: id.to_owned() })
    }

    /// Replays, the newest first, at most 500.
    pub async fn jobs(&self) -> Result<Vec<Job>, ReplayError> {
        let found = job::page::<Job>(self.ports.store.as_ref(), JOBS, None, MAX_LISTED).await?;
        let mut jobs: Vec<Job> = found.into_iter().map(|(_, job)| job).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.begun));
        Ok(jobs)
    }

    /// Events of a plan after a position, at most `limit`, and the position up to which that was; `true` with the last of
    /// them.
    pub async fn events(
        &self,
        hash: &str,
        after: Position,
        limit: usize,
    ) -> Result<(Vec<Recorded>, Position, bool), ReplayError> {
        let plan = self.planned(hash).await?;
        let mut pages = Pages::new(&plan.terms.source, after, limit.clamp(1, MAX_PAGE))?;
        let page = pages.next(self.ports.store.as_ref()).await?;
        Ok((page.events, page.position, page.last))
    }

    /// What the handler of a consumer does for events of the log, or for those given, at most `limit`. See
    /// [`Recording::of`].
    pub async fn record(
        &self,
        consumer: &str,
        wanted: &Wanted,
        given: Option<Vec<Envelope>>,
        limit: usize,
    ) -> Result<Recording, ReplayError> {
        let (handler, _) = self.enrolled(consumer)?;
        let reader = handler.consumer();
        replayable(&reader, &Target::Consumer { name: consumer.to_owned(), again: true }).or_else(|error| {
            // What it keeps begins empty here: nothing counts twice.
            if reader.kind == Kind::Projection && reader.outside.is_none() { Ok(()) } else { Err(error) }
        })?;
        let too_many = || ReplayError::Invalid(format!("a window has at most {limit} events"));
        let events = match given {
            Some(given) => given,
            None => {
                let source = wanted.resolve(&self.ports, &reader.names()).await?;
                let mut pages = Pages::new(&source, source.after, MAX_PAGE)?;
                let mut events = Vec::new();
                loop {
                    let page = pages.next(self.ports.store.as_ref()).await?;
                    events.extend(page.events.into_iter().map(|recorded| recorded.envelope));
                    if page.last || events.len() > limit {
                        break events;
                    }
                }
            }
        };
        if events.len() > limit {
            return Err(too_many());
        }
        Ok(Recording::of(&self.ports, handler.clone(), &events).await)
    }

    /// The loop of a consumer, to run its handler with.
    pub(super) fn runner(&self, name: &str) -> Result<ConsumeLoop, ReplayError> {
        let (handler, source) = self.enrolled(name)?;
        Ok(ConsumeLoop::new(&self.ports, handler.clone(), source, self.options.clone()))
    }

    pub(super) fn consumer(&self, name: &str) -> Result<Consumer, ReplayError> {
        Ok(self.enrolled(name)?.0.consumer())
    }

    fn enrolled(&self, name: &str) -> Result<(&Arc<dyn Handler>, &str), ReplayError> {
        let found = self.handlers.iter().find(|(handler, _)| handler.consumer().name == name);
        found.map(|(handler, source)| (handler, source.as_str())).ok_or_else(|| {
            let known: Vec<String> = self.handlers.iter().map(|(handler, _)| handler.consumer().name).collect();
            ReplayError::NoConsumer { name: name.to_owned(), known: known.join(", ") }
        })
    }

    async fn forget_old_plans(&self) -> Result<(), ReplayError> {
        let store = self.ports.store.as_ref();
        if store.count(PLANS, "").await? < MAX_PLANS as u64 {
            return Ok(());
        }
        let mut plans = job::page::<Plan>(store, PLANS, None, MAX_PLANS).await?;
        plans.sort_by_key(|(_, plan)| plan.made);
        plans.truncate(MAX_PLANS / 2);
        let gone = |(id, _): (String, Plan)| DocumentWrite {
            collection: PLANS.into(),
            id,
            expect: ExpectDocument::Any,
            value: None,
        };
        let documents = plans.into_iter().map(gone).collect();
        let committed = store.commit(Commit { documents, ..Commit::default() }).await?;
        debug_assert!(matches!(committed, Committed::Applied { .. }));
        Ok(())
    }
}

fn begin(plan: &Plan, asked: &Asked, now: chrono::DateTime<chrono::Utc>) -> Job {
    Job {
        id: plan.hash.clone(),
        terms: plan.terms.clone(),
        planned: plan.report.events,
        state: State::Waiting,
        position: plan.terms.source.after,
        counts: Default::default(),
        generation: None,
        phase: None,
        compared: None,
        trouble: None,
        actor: asked.actor.name().to_owned(),
        reason: reason(asked),
        begun: now,
        updated: now,
        seconds: 0.0,
    }
}

fn reason(asked: &Asked) -> String {
    asked.reason.trim().chars().take(MAX_REASON_CHARS).collect()
}

/// What a consumer reads, as plans note it.
pub(super) fn reads(consumer: &Consumer) -> Vec<String> {
    let mut reads: Vec<String> = consumer.types.iter().map(ToString::to_string).collect();
    reads.sort_unstable();
    reads
}

/// Refuses handlers to which events must not come a second time, or that cannot be muted.
pub(super) fn replayable(consumer: &Consumer, target: &Target) -> Result<(), ReplayError> {
    let name = &consumer.name;
    let no = |why: String| Err(ReplayError::refused("replay.not_replayable", why));
    match (consumer.kind, target) {
        (Kind::Saga, _) => no(format!("`{name}` is a saga: its steps would be asked for again")),
        (Kind::Participant, _) => no(format!("`{name}` carries out steps of sagas: what it does cannot be muted")),
        _ if consumer.outside.is_some() => {
            let what = consumer.outside.unwrap_or_default();
            no(format!("`{name}` changes {what} by itself: that cannot be muted"))
        }
        (Kind::Projection, Target::Consumer { .. }) if !consumer.keeps.is_empty() => {
            no(format!("`{name}` is a projection: rebuild it instead, or every event would count twice"))
        }
        (_, Target::New { .. } | Target::Projection { .. }) if consumer.keeps.is_empty() => no(format!(
            "`{name}` does not say which collections it keeps, so its rows cannot be put beside the live ones"
        )),
        (kind, Target::Projection { .. }) if kind != Kind::Projection => {
            no(format!("`{name}` is no projection: its rows follow from more than its events"))
        }
        _ => Ok(()),
    }
}
