//! A world in which nothing is real but the definition of the saga.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidewire_core::saga::{
    Advanced, Answers, Definition, Direction, Failure, Input, Saga, SagaLog, SagaRef, Status, StepStatus, TimerWish,
};
use tidewire_core::{Draft, Envelope, EventType, ManualClock};

use super::super::participant::record::{Ruling, StepRecord};
use super::{Accidents, Mishap};

/// More turns than any saga takes whose patience is finite.
const MAX_TURNS: usize = 20_000;

/// One run.
pub(super) struct Model<'a, G: Saga> {
    definition: &'a Definition<G>,
    data: &'a dyn Fn(&EventType) -> Value,
    accidents: &'a Accidents,
    now: DateTime<Utc>,
    /// What the orchestrator has committed.
    log: Option<SagaLog<G::State>>,
    timer: Option<DateTime<Utc>>,
    /// What has been emitted, in order, and by whom it is handled. An event is one reader's at the most.
    emitted: Vec<Envelope>,
    handled: HashSet<usize>,
    /// What the participants have committed: their records, and how often each step is applied now.
    records: BTreeMap<String, StepRecord>,
    applied: BTreeMap<String, i64>,
    failed: BTreeMap<(String, bool), u32>,
    commits: usize,
    has_died: bool,
    is_late: bool,
    forgets: bool,
}

impl<'a, G: Saga> Model<'a, G> {
    pub fn new(
        definition: &'a Definition<G>,
        start: &Envelope,
        data: &'a dyn Fn(&EventType) -> Value,
        accidents: &'a Accidents,
        forgets: bool,
    ) -> Self {
        Self {
            definition,
            data,
            accidents,
            now: DateTime::UNIX_EPOCH,
            log: None,
            timer: None,
            emitted: vec![start.clone()],
            handled: HashSet::new(),
            records: BTreeMap::new(),
            applied: BTreeMap::new(),
            failed: BTreeMap::new(),
            commits: 0,
            has_died: false,
            is_late: false,
            forgets,
        }
    }

    pub fn commits(&self) -> usize {
        self.commits
    }

    pub fn events(&self) -> usize {
        self.emitted.len()
    }

    /// Lets events travel and time pass until nothing is left to do, and holds the end against every promise.
    pub fn live(&mut self) -> Result<Status, String> {
        for _ in 0..MAX_TURNS {
            if let Some(next) = (0..self.emitted.len()).find(|n| self.is_due(*n)) {
                self.deliver(next)?;
            } else if let Some(timer) = self.timer {
                self.now = self.now.max(timer);
                self.wake()?;
            } else if !self.is_late {
                self.is_late = true;
            } else {
                return self.end();
            }
        }
        Err("it never ends".into())
    }

    fn is_due(&self, n: usize) -> bool {
        let kept_back = match self.accidents.mishap {
            Some(Mishap::Lost(lost)) => lost == n,
            Some(Mishap::Late(late)) => late == n && !self.is_late,
            _ => false,
        };
        !kept_back && !self.handled.contains(&n)
    }

    fn deliver(&mut self, n: usize) -> Result<(), String> {
        let event = self.emitted[n].clone();
        match self.definition.answers(&event.ty) {
            Some(answers) => self.participate(n, &event, &answers),
            None => self.orchestrate(n, &event),
        }
    }

    // ── the orchestrator ────────────────────────────────────────────────────────────────────────────

    fn orchestrate(&mut self, n: usize, event: &Envelope) -> Result<(), String> {
        let advanced = match (self.definition.id_for(event), self.log.clone()) {
            (Some(_), None) => {
                let begun = self.definition.begin(event, self.now).map_err(|error| error.to_string())?;
                begun.ok_or("the event that is to start it does not")?
            }
            (Some(_), Some(log)) => self.definition.advance(log, Input::Started(event), self.now),
            (None, Some(log)) if SagaRef::of(event).is_some() => {
                self.definition.advance(log, Input::Reply(event), self.now)
            }
            // About the saga, for others.
            _ => {
                self.handled.insert(n);
                return Ok(());
            }
        };
        self.keep(advanced, Some(n));
        self.signal();
        Ok(())
    }

    fn wake(&mut self) -> Result<(), String> {
        let log = self.log.clone().ok_or("a timer of no saga")?;
        let advanced = self.definition.advance(log, Input::Wake, self.now);
        self.keep(advanced, None);
        self.signal();
        Ok(())
    }

    fn keep(&mut self, advanced: Advanced<G::State>, handled: Option<usize>) {
        if self.dies_before() {
            return;
        }
        match advanced.timer {
            Some(TimerWish::Set(due)) => self.timer = Some(due),
            Some(TimerWish::Cancel) => self.timer = None,
            // What fired is used up.
            None if handled.is_none() => self.timer = None,
            None => {}
        }
        self.log = Some(advanced.log);
        self.committed(handled, advanced.drafts, "/orchestrator");
    }

    /// Whoever is waited for from outside says yes at once.
    fn signal(&mut self) {
        let Some(log) = &self.log else { return };
        let (id, key) = (log.id, log.key.clone());
        let waiting = log.steps.iter().filter(|step| step.status == StepStatus::Waiting);
        let names: Vec<String> = waiting.map(|step| step.name.clone()).collect();
        for step in names {
            let Some(ty) = self.definition.signal(&step) else { continue };
            let is_signalled =
                |event: &Envelope| event.ty == ty && SagaRef::of(event).is_some_and(|at| at.step == step);
            if !self.emitted.iter().any(is_signalled) {
                let draft = draft(ty.clone(), key.clone(), (self.data)(&ty));
                self.emit(vec![SagaRef::signal(id, step).stamp(draft)], "/outside");
            }
        }
    }

    // ── the participants ────────────────────────────────────────────────────────────────────────────

    fn participate(&mut self, n: usize, request: &Envelope, answers: &Answers) -> Result<(), String> {
        let at = SagaRef::of(request).ok_or("a request that names no saga")?;
        let record = self.records.get(&at.step);
        let ruling = record.map_or(Ruling::Run, |record| record.rule(answers.direction, at.epoch));
        let key = request.key.clone();
        let (reply, works) = match ruling {
            Ruling::Repeat(reply) => (Some(reply), None),
            Ruling::Refuse(_) => (self.refusal(answers, &key), None),
            Ruling::Run => {
                let fails = self.fails(&at.step, answers.direction);
                match (fails, self.refusal(answers, &key)) {
                    (true, refusal) => (refusal, Some(false)),
                    (false, _) => (Some(draft(answers.done.clone(), key, (self.data)(&answers.done))), Some(true)),
                }
            }
        };
        if self.dies_before() {
            return Ok(());
        }
        if works.is_none()
            && self.records.get(&at.step).is_some_and(|record| record.is_before(at.epoch))
            && let Some(record) = self.records.remove(&at.step)
        {
            self.records.insert(at.step.clone(), record.repeated(answers.direction, at.epoch));
        }
        if let Some(works) = works {
            self.work(&at, answers.direction, works, reply.as_ref())?;
        }
        let replies = reply.into_iter().map(|reply| at.stamp(reply)).collect();
        self.committed(Some(n), replies, "/participant");
        Ok(())
    }

    fn refusal(&self, answers: &Answers, key: &tidewire_core::Key) -> Option<Draft> {
        let ty = answers.failed.clone()?;
        let data = (self.data)(&ty);
        Some(draft(ty, key.clone(), data))
    }

    fn fails(&self, step: &str, direction: Direction) -> bool {
        let already = self.failed.get(&(step.to_owned(), direction == Direction::Undo)).copied().unwrap_or(0);
        self.accidents.fails.iter().any(|(name, way, times)| *name == step && *way == direction && already < *times)
    }

    fn work(&mut self, at: &SagaRef, direction: Direction, works: bool, reply: Option<&Draft>) -> Result<(), String> {
        if !works {
            *self.failed.entry((at.step.clone(), direction == Direction::Undo)).or_default() += 1;
        } else {
            let applied = self.applied.entry(at.step.clone()).or_default();
            *applied = if direction == Direction::Do { *applied + 1 } else { 0 };
            if *applied > 1 {
                return Err(format!("step `{}` is applied twice", at.step));
            }
        }
        // An undo that fails without a word is parked, and leaves no record.
        if let Some(reply) = reply.filter(|_| !self.forgets) {
            let before = self.records.remove(&at.step);
            let record = StepRecord::new(at.epoch, direction, works, reply).after(before);
            self.records.insert(at.step.clone(), record);
        }
        Ok(())
    }

    // ── commits ─────────────────────────────────────────────────────────────────────────────────────

    /// Whether the process dies before the next commit; what it was about to commit is lost then.
    fn dies_before(&mut self) -> bool {
        let dies = !self.has_died && self.accidents.mishap == Some(Mishap::DiesBefore(self.commits));
        self.has_died |= dies;
        dies
    }

    fn committed(&mut self, handled: Option<usize>, drafts: Vec<Draft>, source: &str) {
        let dies = !self.has_died && self.accidents.mishap == Some(Mishap::DiesAfter(self.commits));
        self.has_died |= dies;
        self.commits += 1;
        self.emit(drafts, source);
        // A process that died after its commit is told again what it handled; the inbox knows it. Only for replies the
        // model leaves that to the saga itself, which must not need the inbox for it.
        let is_reply = handled.is_some_and(|n| self.definition.answers(&self.emitted[n].ty).is_none());
        if let Some(n) = handled.filter(|_| !(dies && is_reply)) {
            self.handled.insert(n);
        }
    }

    fn emit(&mut self, drafts: Vec<Draft>, source: &str) {
        let clock = ManualClock::new(self.now, u64::try_from(self.emitted.len()).unwrap_or_default() + 7);
        for draft in drafts {
            let event = draft.seal(&clock, source, None);
            let n = self.emitted.len();
            let again = Envelope { id: format!("{}-again", event.id), ..event.clone() };
            self.emitted.push(event);
            if self.accidents.mishap == Some(Mishap::Repeated(n)) {
                self.emitted.push(again);
            }
        }
    }

    // ── the end ─────────────────────────────────────────────────────────────────────────────────────

    fn end(&self) -> Result<Status, String> {
        // Its start was lost: nothing happened at all.
        let Some(log) = &self.log else { return Ok(Status::Undone) };
        let applied = |step: &str| self.applied.get(step).copied().unwrap_or(0);
        for step in &log.steps {
            let has_undo = self.definition.has_undo(&step.name);
            let is_wait = self.definition.signal(&step.name).is_some();
            match log.status {
                Status::Completed if !is_wait && applied(&step.name) != 1 => {
                    return Err(format!("it completed, and step `{}` did not happen", step.name));
                }
                Status::Undone if has_undo && applied(&step.name) != 0 => {
                    return Err(format!("it is undone, and step `{}` is not", step.name));
                }
                _ => {}
            }
        }
        match log.status {
            Status::Completed if log.steps.len() < self.definition.step_names().count() => {
                Err("it completed before its last step".into())
            }
            Status::Completed | Status::Undone => Ok(log.status),
            Status::Stuck if reason(log.stuck.as_ref()) => Ok(Status::Stuck),
            Status::Stuck => Err("it is stuck without a reason".into()),
            other => Err(format!("it ends {}", other.as_str())),
        }
    }
}

fn reason(failure: Option<&Failure>) -> bool {
    failure.is_some_and(|failure| !failure.reason.is_empty() && !failure.code.is_empty())
}

fn draft(ty: EventType, key: tidewire_core::Key, data: Value) -> Draft {
    Draft {
        ty,
        key,
        data: Some(data.to_string().into()),
        datacontenttype: None,
        subject: None,
        id: None,
        correlationid: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    }
}
