//! Commits groups over one connection, and answers everybody in them: what is to blame is split off, what raced is
//! decided again, what is blocked is left to a lane, and an outcome that is unknown is looked up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool};
use tidewire_core::{Clock, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::codec::Cells;
use super::connect::Link;
use super::consumers::Consumers;
use super::error::{Failure, again, classify};
use super::lanes::Blocked;
use super::lookup::consumers_of;
use super::outcome::{self, Outcome};
use super::sequencer::{Horizon, Request};
use super::transaction::{Answer, Done, How, Place, Token, Trace, is_outdated, placed, run};
use crate::group::Prepared;

/// How often a group that lost a race is decided again as a whole, and a single commit until it is given up.
const RACES: (u32, u32) = (3, 20);
/// The longest pause after a lost race; there is none after the first.
const RACE_PAUSE: Duration = Duration::from_millis(20);
/// How long to wait for positions of what is committed. The sequencer starts over after any failure, so this is how
/// long the server may be away.
const PLACE_PATIENCE: Duration = Duration::from_secs(60);
/// How long others wait until it is known that a group was never sent.
const SOON: Duration = Duration::from_millis(200);
/// How long the sequencer may keep somebody whose expectation was outdated.
const CATCH_UP: Duration = Duration::from_secs(1);

/// A commit and who waits for it.
pub(super) struct Pending {
    pub prepared: Box<Prepared<Cells>>,
    pub reply: oneshot::Sender<Answer>,
}

impl Pending {
    fn answer(self, answer: Answer) {
        // Whoever gave up waiting has lost the answer, not the commit.
        let _ = self.reply.send(answer);
    }
}

/// What all who commit for one store share.
pub(super) struct Shared {
    pub options: PgConnectOptions,
    /// For new consumers.
    pub work: PgPool,
    pub clock: Arc<dyn Clock>,
    pub consumers: Arc<Consumers>,
    pub horizon: Arc<Horizon>,
    pub sequencer: mpsc::Sender<Request>,
    pub lanes: mpsc::WeakSender<Blocked>,
    pub on_flush: Option<fn(usize, Duration)>,
    /// Which run of the server the store was opened on.
    pub server: Option<String>,
}

/// One connection that commits.
pub(super) struct Committer {
    pub link: Link,
    pub shared: Arc<Shared>,
    /// Whether this one waits for streams that others have locked.
    pub wait: bool,
}

/// A group on its way.
struct Group {
    members: Vec<Pending>,
    events: bool,
    races: u32,
    /// Whether its connection was lost before.
    lost: bool,
}

impl Group {
    fn of(members: Vec<Pending>) -> Self {
        Self { members, events: false, races: 0, lost: false }
    }

    /// Two halves, the first one last.
    fn halves(mut self) -> [Self; 2] {
        let second = self.members.split_off(self.members.len() / 2);
        [Self { members: second, races: 0, ..self }, Self { members: self.members, races: 0, ..self }]
            .map(|half| Self { events: self.events, ..half })
    }
}

impl Committer {
    /// Commits a group; every member is answered, now or later. Returns those that stay blocked for longer than this
    /// connection waits.
    pub(super) async fn process(&mut self, members: Vec<Pending>) -> Vec<Pending> {
        let mut groups = vec![Group::of(members)];
        let mut blocked = Vec::new();
        while let Some(mut group) = groups.pop() {
            let mut token = None;
            let failure = match self.attempt(&group, &mut token).await {
                Ok(done) => {
                    blocked.extend(self.settle(group.members, done));
                    continue;
                }
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Lost(_) | Failure::Unknown(_)) {
                self.link.drop_connection();
            } else {
                self.link.roll_back().await;
            }
            match failure {
                Failure::Duplicate(_) if !group.events => groups.push(Group { events: true, ..group }),
                Failure::Duplicate(error) => self.raced(group, error.to_string(), &mut groups).await,
                Failure::Raced(why) => self.raced(group, why, &mut groups).await,
                Failure::Blocked(_) if group.members.len() == 1 => blocked.append(&mut group.members),
                Failure::Blocked(_) => groups.extend(group.halves()),
                Failure::Refused(error) if group.members.len() == 1 => {
                    refuse(group.members, &StoreError::Invalid(error.to_string()));
                }
                Failure::Refused(_) => groups.extend(group.halves()),
                // It may have been lost long ago: once more over a new one.
                Failure::Lost(_) if !group.lost => groups.push(Group { lost: true, ..group }),
                Failure::Lost(error) => refuse(group.members, &classify(error)),
                Failure::All(error) => refuse(group.members, &error),
                Failure::Unknown(error) => {
                    if !group.lost && self.came_to_nothing(&group.members, &token).await {
                        groups.push(Group { lost: true, ..group });
                    } else {
                        self.find_out(group.members, token, &error);
                    }
                }
            }
        }
        blocked
    }

    async fn attempt(
        &mut self,
        group: &Group,
        token: &mut Option<(Token, Vec<Option<Answer>>)>,
    ) -> Result<Done, Failure> {
        let prepared: Vec<&Prepared<Cells>> = group.members.iter().map(|pending| &*pending.prepared).collect();
        let names = prepared.iter().flat_map(|prepared| consumers_of(prepared));
        self.shared.consumers.ensure(&self.shared.work, names).await?;
        let how = How { wait: self.wait, events: group.events, stays_open: false };
        let begun = Instant::now();
        let connection = self.link.get_known().await?;
        let done = run(connection, &prepared, &self.shared.consumers, &*self.shared.clock, how, token).await?;
        if let Some(on_flush) = self.shared.on_flush.filter(|_| done.committed > 0) {
            on_flush(group.members.len(), begun.elapsed());
        }
        Ok(done)
    }

    /// Decides a group again that lost a race; when it keeps losing, in halves, which lose less.
    async fn raced(&self, group: Group, why: String, groups: &mut Vec<Group>) {
        let races = group.races + 1;
        if races > 1 {
            let most = RACE_PAUSE.as_micros() as u64;
            tokio::time::sleep(Duration::from_micros(self.shared.clock.random() % most)).await;
        }
        if races <= RACES.0 || (group.members.len() == 1 && races <= RACES.1) {
            groups.push(Group { races, ..group });
        } else if group.members.len() > 1 {
            groups.extend(group.halves());
        } else {
            refuse(group.members, &StoreError::Unavailable(format!("others were faster again and again: {why}")));
        }
    }

    /// Answers a group that was committed, and returns those who were left out.
    fn settle(&self, members: Vec<Pending>, done: Done) -> Vec<Pending> {
        let (mut blocked, mut decided) = (Vec::new(), Vec::new());
        for (pending, answer) in members.into_iter().zip(done.answers) {
            match answer {
                Some(answer) => decided.push((pending, answer)),
                None => blocked.push(pending),
            }
        }
        let has_events = decided.iter().any(|(pending, a)| a.is_ok() && !pending.prepared.commit.append.is_empty());
        if let Place::After(after) = done.place {
            let events: usize = decided.iter().filter(|(_, answer)| is_applied(answer)).map(|(p, _)| events(p)).sum();
            match events {
                0 => self.shared.horizon.reach(after),
                events => self.shared.horizon.give(after + events as u64),
            }
        }
        let (outdated, decided): (Vec<_>, Vec<_>) = decided.into_iter().partition(|(_, answer)| is_outdated(answer));
        if !outdated.is_empty() {
            tokio::spawn(catch_up(self.shared.clone(), outdated));
        }
        match done.place {
            Place::After(after) => answer_all(decided, after, has_events),
            Place::Waiting(batch) => drop(tokio::spawn(await_place(self.shared.clone(), batch, decided))),
        }
        blocked
    }

    /// Whether a group of one statement is known to have come to nothing. Then its connection may have been lost long ago,
    /// and it is sent once more over a new one.
    async fn came_to_nothing(&self, members: &[Pending], token: &Option<(Token, Vec<Option<Answer>>)>) -> bool {
        let Some((token @ Token { trace: Trace::Session { .. }, .. }, _)) = token else { return false };
        let shared = &self.shared;
        let first = members.iter().flat_map(|pending| &pending.prepared.commit.append).flat_map(|a| &a.events).next();
        let event = first.map(|event| (event.id.as_str(), event.source.as_str()));
        let asked = outcome::look_up(&shared.options, token, event, shared.server.as_deref());
        matches!(tokio::time::timeout(SOON, asked).await, Ok(Ok(Outcome::Gone)))
    }

    /// Finds out what became of a group, in a task of its own: others need not wait for that.
    fn find_out(&self, members: Vec<Pending>, token: Option<(Token, Vec<Option<Answer>>)>, error: &sqlx::Error) {
        let Some((token, answers)) = token else {
            return refuse(members, &StoreError::Unknown(error.to_string()));
        };
        tracing::warn!(%error, commits = members.len(), "the answer to a commit was lost; looking it up");
        let shared = self.shared.clone();
        let decided = members.into_iter().zip(answers).filter_map(|(pending, answer)| match answer {
            Some(answer) => Some((pending, answer)),
            None => {
                pending
                    .answer(Err(StoreError::Unavailable("its stream is locked, and the connection was lost".into())));
                None
            }
        });
        let decided: Vec<_> = decided.collect();
        tokio::spawn(async move {
            let first = decided.iter().filter(|(_, answer)| is_applied(answer)).find_map(|(pending, _)| {
                let event = pending.prepared.commit.append.first()?.events.first()?;
                Some((event.id.clone(), event.source.clone()))
            });
            let event = first.as_ref().map(|(id, source)| (id.as_str(), source.as_str()));
            match outcome::look_up(&shared.options, &token, event, shared.server.as_deref()).await {
                Ok(Outcome::CommittedAs(batch)) => await_place(shared, batch, decided).await,
                Ok(Outcome::Committed) => match token.batch {
                    Some(batch) => await_place(shared, batch.id, decided).await,
                    None => {
                        let head = shared.horizon.head.borrow().0;
                        answer_all(decided, head, false);
                    }
                },
                Ok(Outcome::Gone) => {
                    let error = StoreError::Unavailable("the connection was lost, and the commit with it".into());
                    refuse_applied(decided, &error);
                }
                Err(error) => refuse_applied(decided, &error),
            }
        });
    }
}

fn events(pending: &Pending) -> usize {
    pending.prepared.commit.append.iter().map(|append| append.events.len()).sum()
}

fn is_applied(answer: &Answer) -> bool {
    matches!(answer, Ok(tidewire_core::Committed::Applied { .. }))
}

fn answer_all(decided: Vec<(Pending, Answer)>, after: u64, has_events: bool) {
    for (pending, answer) in decided {
        pending.answer(placed(answer, after, has_events));
    }
}

/// Refuses everybody in a group.
pub(super) fn refuse(group: Vec<Pending>, error: &StoreError) {
    for pending in group {
        pending.answer(Err(again(error)));
    }
}

/// What was decided without being written stands; what was to be written was not, or nobody knows.
fn refuse_applied(decided: Vec<(Pending, Answer)>, error: &StoreError) {
    for (pending, answer) in decided {
        let answer = if is_applied(&answer) { Err(again(error)) } else { answer };
        pending.answer(answer);
    }
}

/// Answers when the batch has its position. It is committed, whatever happens.
async fn await_place(shared: Arc<Shared>, batch: i64, decided: Vec<(Pending, Answer)>) {
    let (reply, place) = oneshot::channel();
    let asked = async {
        shared.sequencer.send(Request::Place(batch, reply)).await.ok()?;
        place.await.ok()
    };
    match tokio::time::timeout(PLACE_PATIENCE, asked).await {
        Ok(Some(after)) => answer_all(decided, after, true),
        _ => {
            let why = "it is committed, but its position could not be learned in time";
            refuse_applied(decided, &StoreError::Unknown(why.into()));
        }
    }
}

/// Answers those whose expectation was outdated once they can see by what: an event that is committed and waits for its
/// position is counted in its stream's version, and nobody can read it yet.
async fn catch_up(shared: Arc<Shared>, outdated: Vec<(Pending, Answer)>) {
    let (reply, done) = oneshot::channel();
    let asked = async {
        if shared.sequencer.send(Request::CatchUp(reply)).await.is_ok() {
            let _ = done.await;
        }
    };
    let _ = tokio::time::timeout(CATCH_UP, asked).await;
    for (pending, answer) in outdated {
        pending.answer(answer);
    }
}
