//! What the writer, the members and the callers have in common.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::SqlitePool;
use tidewire_core::broker::{Published, Subscribe};
use tidewire_core::{BrokerError, Clock, Envelope};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::EmbeddedOptions;
use super::group::Group;
use super::scheduler::Urgency;
use super::tail::Tail;
use crate::wire::Mark;

/// A lock whose state is consistent at every point where its holder could panic.
pub(super) fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Shared {
    pub options: EmbeddedOptions,
    pub clock: Arc<dyn Clock>,
    pub inbox: Inbox,
    /// Locked after a group's state, never before.
    pub tail: Mutex<Tail>,
    pub groups: Mutex<BTreeMap<String, Arc<Group>>>,
    pub readers: SqlitePool,
    /// Bytes of publishes that may wait for the writer.
    pub admission: Semaphore,
    pub closed: AtomicBool,
    /// Bytes of the file that are in use.
    pub used: AtomicU64,
    /// Commits since it was opened.
    pub commits: AtomicU64,
    /// Damaged entries on record.
    pub damaged: AtomicU64,
    /// Names the file.
    pub incarnation: String,
}

/// One event on its way into the log.
pub(super) struct Item {
    pub envelope: Arc<Envelope>,
    pub json: Vec<u8>,
    pub mark: Mark,
    pub crc: u32,
}

pub(super) type Answers = Vec<Result<Published, BrokerError>>;

/// Events to store, and who waits for it.
pub(super) struct Publish {
    pub items: Vec<Item>,
    pub bytes: usize,
    pub answer: oneshot::Sender<Answers>,
}

/// An entry that could not be read.
pub(super) struct Damage {
    pub group: Arc<Group>,
    pub seq: u64,
    pub reason: String,
}

/// What is asked of the writer besides publishing.
pub(super) enum Control {
    /// Create or change a group.
    Put(Subscribe, oneshot::Sender<Result<Arc<Group>, BrokerError>>),
    /// Delete a group without members.
    Remove(String, oneshot::Sender<Result<bool, BrokerError>>),
    /// Go through the log for what may be removed, now.
    Trim(oneshot::Sender<()>),
    /// Something to the writer's connection, to make it fail.
    #[cfg(test)]
    Execute(&'static str, oneshot::Sender<Result<(), BrokerError>>),
    /// End; in order, or as if the process had died.
    Close { clean: bool, answer: oneshot::Sender<()> },
}

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Work {
    pub publishes: VecDeque<Publish>,
    pub controls: VecDeque<Control>,
    pub damaged: Vec<Damage>,
    pub urgency: Option<Urgency>,
    pub abandoned: bool,
    /// The writer is gone: nothing is taken any more.
    pub ended: bool,
}

/// The writer's inbox.
#[derive(Default)]
pub(super) struct Inbox {
    work: Mutex<Work>,
    pub arrived: Notify,
}

impl Inbox {
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        unpoisoned(&self.work)
    }

    /// Once the writer has ended this drops what it is given, and with it the sender of the answer.
    pub(super) fn publish(&self, publish: Publish) {
        let mut work = self.work();
        if !work.ended {
            work.publishes.push_back(publish);
            self.arrived.notify_one();
        }
    }

    /// As [`Inbox::publish`].
    pub(super) fn control(&self, control: Control) {
        let mut work = self.work();
        if !work.ended {
            work.controls.push_back(control);
            self.arrived.notify_one();
        }
    }

    pub(super) fn damaged(&self, damage: Damage) {
        self.work().damaged.push(damage);
        self.arrived.notify_one();
    }

    /// Some group has something to write.
    pub(super) fn dirty(&self, urgency: Urgency) {
        if urgency < Urgency::Soon {
            return;
        }
        let mut work = self.work();
        if work.urgency < Some(urgency) {
            work.urgency = Some(urgency);
            self.arrived.notify_one();
        }
    }

    /// Nobody is left to ask for anything.
    pub(super) fn abandon(&self) {
        self.work().abandoned = true;
        self.arrived.notify_one();
    }
}
