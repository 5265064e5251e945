//! What a participant remembers of a step.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidewire_core::saga::{Direction, Failure, SagaRef};
use tidewire_core::{Context, Draft, Envelope, EventType, HandlerError, Key};

/// The collection of participants' records, `<consumer>/<saga>/<step>`.
const COLLECTION: &str = "participant";

/// The last turn of one step at one participant. It is the stored reply and the tombstone in one: an undo that
/// came first leaves a record of a higher epoch than that of the step it undoes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::saga) struct StepRecord {
    epoch: u32,
    direction: Direction,
    done: bool,
    reply: Reply,
    /// Of an undo that failed: the reply to the step, which is still done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Reply>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reply {
    #[serde(rename = "type")]
    ty: EventType,
    key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// What is to be done about a request.
#[derive(Debug)]
pub(in crate::saga) enum Ruling {
    /// Carry it out.
    Run,
    /// It was carried out: reply the same.
    Repeat(Draft),
    /// The saga has moved on.
    Refuse(Failure),
}

impl StepRecord {
    pub(in crate::saga) fn new(epoch: u32, direction: Direction, done: bool, reply: &Draft) -> Self {
        // Data made by `Draft::of` is JSON.
        let data = reply.data.as_deref().and_then(|data| serde_json::from_slice(data).ok());
        let reply = Reply { ty: reply.ty.clone(), key: reply.key.clone(), data };
        Self { epoch, direction, done, reply, kept: None }
    }

    /// Behind the record there was before: an undo that failed left done what was done.
    pub(in crate::saga) fn after(mut self, before: Option<Self>) -> Self {
        if self.direction == Direction::Undo && !self.done {
            self.kept = before.and_then(|before| match before.direction {
                Direction::Do => before.done.then_some(before.reply),
                Direction::Undo => before.kept,
            });
        }
        self
    }

    /// The record once a request of this direction and epoch was answered with what is remembered. What is older is
    /// refused from then on.
    pub(in crate::saga) fn repeated(self, direction: Direction, epoch: u32) -> Self {
        let raised = self.epoch.max(epoch);
        match self.kept {
            Some(reply) if direction == Direction::Do => {
                Self { epoch: raised, direction, done: true, reply, kept: None }
            }
            kept => Self { epoch: raised, kept, ..self },
        }
    }

    /// Whether a request of this epoch is news to it.
    pub(in crate::saga) fn is_before(&self, epoch: u32) -> bool {
        self.epoch < epoch
    }

    fn id(consumer: &str, at: &SagaRef) -> String {
        format!("{consumer}/{}/{}", at.id, at.step)
    }

    pub(super) async fn load(consumer: &str, at: &SagaRef, cx: &mut Context<'_>) -> Result<Option<Self>, HandlerError> {
        cx.get(COLLECTION, &Self::id(consumer, at)).await
    }

    /// Reads the records of a run of requests with one look-up.
    pub(super) async fn prefetch(
        consumer: &str,
        requests: &[&Envelope],
        cx: &mut Context<'_>,
    ) -> Result<(), HandlerError> {
        let turns = requests.iter().filter_map(|request| SagaRef::of(request));
        let ids: BTreeSet<String> = turns.map(|at| Self::id(consumer, &at)).collect();
        cx.prefetch(COLLECTION, &ids.into_iter().collect::<Vec<_>>()).await
    }

    /// Must follow a [`load`](Self::load) in the same context, so that the commit is guarded by what was read.
    pub(super) fn store(&self, consumer: &str, at: &SagaRef, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        cx.put(COLLECTION, &Self::id(consumer, at), self)
    }

    /// What this record says about a request.
    ///
    /// A failure is answered again within its epoch, never tried again: the saga that got the first answer
    /// may have turned back already, and would not undo what a second run did.
    pub(in crate::saga) fn rule(&self, direction: Direction, epoch: u32) -> Ruling {
        let same = direction == self.direction;
        let overtaken = epoch < self.epoch || (epoch == self.epoch && !same && direction == Direction::Do);
        if overtaken {
            let reason = match self.direction {
                Direction::Undo => "the step was undone before this request for it arrived",
                Direction::Do => "the saga has moved on since it sent this request",
            };
            return Ruling::Refuse(Failure::new("saga.superseded", reason));
        }
        match &self.kept {
            // A person turned the saga forward: what could not be undone is done.
            Some(kept) if direction == Direction::Do => Ruling::Repeat(kept.clone().into_draft()),
            _ if same && (self.done || epoch == self.epoch) => Ruling::Repeat(self.reply.clone().into_draft()),
            _ => Ruling::Run,
        }
    }
}

impl Reply {
    fn into_draft(self) -> Draft {
        Draft {
            ty: self.ty,
            key: self.key,
            data: self.data.map(|data| data.get().to_owned().into()),
            datacontenttype: None,
            subject: None,
            id: None,
            correlationid: None,
            expirytime: None,
            dataref: None,
            extensions: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a direction, outcome and epoch, against a request.
    #[test]
    fn rules_by_epoch_and_direction() {
        use Direction::{Do, Undo};
        let table = [
            // record (epoch, direction, done), request (direction, epoch), ruling
            ((1, Do, true), (Do, 1), "repeat"),
            ((1, Do, true), (Do, 2), "repeat"),
            ((1, Do, true), (Undo, 2), "run"),
            ((1, Do, true), (Undo, 1), "run"),
            ((1, Do, false), (Do, 1), "repeat"),
            ((1, Do, false), (Do, 2), "run"),
            ((2, Undo, true), (Do, 1), "refuse"),
            ((2, Undo, true), (Do, 2), "refuse"),
            ((2, Undo, true), (Do, 3), "run"),
            ((2, Undo, true), (Undo, 2), "repeat"),
            ((2, Undo, false), (Undo, 2), "repeat"),
            ((2, Undo, false), (Undo, 3), "run"),
            ((3, Undo, true), (Undo, 2), "refuse"),
            ((3, Do, true), (Undo, 2), "refuse"),
        ];
        for ((epoch, direction, done), (asked, at), expected) in table {
            let reply = Draft {
                data: Some("{}".into()),
                ..Reply { ty: EventType::new("stock.reserved", 1), key: Key::of("order", 1), data: None }.into_draft()
            };
            let found = match StepRecord::new(epoch, direction, done, &reply).rule(asked, at) {
                Ruling::Run => "run",
                Ruling::Repeat(repeated) => {
                    assert_eq!(repeated, reply);
                    "repeat"
                }
                Ruling::Refuse(_) => "refuse",
            };
            assert_eq!(found, expected, "record {epoch} {direction:?} {done}, request {asked:?} {at}");
        }
    }

    /// Done in epoch 1, its undo failed in 2 and again in 3, then asked for once more in 4.
    #[test]
    fn what_could_not_be_undone_is_not_done_again() {
        use Direction::{Do, Undo};
        let reply = |name| Reply { ty: EventType::new(name, 1), key: Key::of("order", 1), data: None }.into_draft();
        let (done, failed) = (reply("stock.reserved"), reply("stock.release.failed"));
        let mut record = StepRecord::new(1, Do, true, &done);
        for epoch in [2, 3] {
            assert!(matches!(record.rule(Undo, epoch), Ruling::Run));
            record = StepRecord::new(epoch, Undo, false, &failed).after(Some(record));
        }
        assert!(matches!(record.rule(Do, 4), Ruling::Repeat(repeated) if repeated == done));
        let record = record.repeated(Do, 4);
        assert!(matches!(record.rule(Undo, 3), Ruling::Refuse(_)), "the undo that comes late");
        assert!(matches!(record.rule(Undo, 5), Ruling::Run));
        let undone = StepRecord::new(5, Undo, true, &reply("stock.released")).after(Some(record));
        assert!(matches!(undone.rule(Do, 6), Ruling::Run), "what was undone is done anew");
    }
}
