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
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StepRecord {
    epoch: u32,
    direction: Direction,
    done: bool,
    reply: Reply,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    #[serde(rename = "type")]
    ty: EventType,
    key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
}

/// What is to be done about a request.
#[derive(Debug)]
pub(super) enum Ruling {
    /// Carry it out.
    Run,
    /// It was carried out: reply the same.
    Repeat(Draft),
    /// The saga has moved on.
    Refuse(Failure),
}

impl StepRecord {
    pub(super) fn new(epoch: u32, direction: Direction, done: bool, reply: &Draft) -> Self {
        // Data made by `Draft::of` is JSON.
        let data = reply.data.as_deref().and_then(|data| serde_json::from_slice(data).ok());
        Self { epoch, direction, done, reply: Reply { ty: reply.ty.clone(), key: reply.key.clone(), data } }
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
    pub(super) fn rule(self, direction: Direction, epoch: u32) -> Ruling {
        let same = direction == self.direction;
        let overtaken = epoch < self.epoch || (epoch == self.epoch && !same && direction == Direction::Do);
        if overtaken {
            let reason = match self.direction {
                Direction::Undo => "the step was undone before this request for it arrived",
                Direction::Do => "the saga has moved on since it sent this request",
            };
            return Ruling::Refuse(Failure::new("saga.superseded", reason));
        }
        if same && (self.done || epoch == self.epoch) { Ruling::Repeat(self.reply.into_draft()) } else { Ruling::Run }
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
}
