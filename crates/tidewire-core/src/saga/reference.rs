//! How requests and replies find their saga.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::draft::Draft;
use crate::envelope::{Attribute, Envelope};

/// The extension attribute that names the saga.
pub const SAGA_ID: &str = "sagaid";
/// The extension attribute that names the step.
pub const SAGA_STEP: &str = "sagastep";
/// The extension attribute that holds the epoch.
pub const SAGA_EPOCH: &str = "sagaepoch";

/// Every uuid made here is a version 5 one under this name space. Fixed for ever: ids would change.
const NAMESPACE: Uuid = Uuid::from_u128(0x5e0f_6a0e_6c1b_5d0a_9b57_7469_6465_7769);

/// The id of the saga `name` that the event `event_id` starts: whoever knows the event knows the saga.
pub fn saga_id(name: &str, event_id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{name}\u{0}{event_id}").as_bytes())
}

/// The id of the saga `name` that the step of another saga starts: the same however often the step asks for it.
pub(super) fn child_id(name: &str, parent: &SagaRef) -> Uuid {
    saga_id(name, &format!("{}\u{0}{}", parent.id, parent.step))
}

/// Forward, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The step itself.
    Do,
    /// Its undo.
    Undo,
}

impl Direction {
    /// `do` or `undo`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
        }
    }
}

/// The id of a request: the same however often the decision to send it is taken.
pub(super) fn request_id(saga: Uuid, step: &str, direction: Direction, attempt: u32) -> Uuid {
    Uuid::new_v5(&saga, format!("{step}\u{0}{}\u{0}{attempt}", direction.as_str()).as_bytes())
}

/// The id of what is replied when a saga is to be undone that never began.
pub(super) fn never_id(saga: Uuid, request: &str, ordinal: usize) -> Uuid {
    Uuid::new_v5(&saga, format!("never\u{0}{request}\u{0}{ordinal}").as_bytes())
}

/// The id of the `ordinal`-th event a saga emits about itself.
pub(super) fn emitted_id(saga: Uuid, ordinal: u32) -> Uuid {
    Uuid::new_v5(&saga, format!("emit\u{0}{ordinal}").as_bytes())
}

/// What a request says about the saga it comes from, and a reply repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaRef {
    /// The saga.
    pub id: Uuid,
    /// The step.
    pub step: String,
    /// Raised whenever the saga changes its mind: turns back, or tries again what failed. A participant
    /// refuses requests of an epoch older than the newest it has seen for the step.
    pub epoch: u32,
}

/// The epoch of a signal: who signals from outside knows of none.
const ANY_EPOCH: u32 = 0;

impl SagaRef {
    /// What a signal carries to reach the step called `step` of the saga `id`.
    pub fn signal(id: Uuid, step: impl Into<String>) -> Self {
        Self { id, step: step.into(), epoch: ANY_EPOCH }
    }

    /// What `envelope` says, or `None` when it belongs to no saga.
    pub fn of(envelope: &Envelope) -> Option<Self> {
        let id = Uuid::parse_str(&envelope.extensions.get(SAGA_ID)?.to_text()).ok()?;
        let step = envelope.extensions.get(SAGA_STEP)?.to_text();
        // Through another party's hands a number may have become text.
        let epoch = envelope.extensions.get(SAGA_EPOCH)?.to_text().parse().ok()?;
        Some(Self { id, step, epoch })
    }

    /// Writes the reference onto a request or a reply.
    pub fn stamp(&self, draft: Draft) -> Draft {
        draft
            .with(SAGA_ID, self.id.to_string())
            .with(SAGA_STEP, self.step.as_str())
            .with(SAGA_EPOCH, Attribute::Integer(i32::try_from(self.epoch).unwrap_or(i32::MAX)))
    }
}

/// The longest reason kept, in characters: it comes from participants, travels in events, and is read by people.
const MAX_REASON: usize = 1_000;
/// The longest code kept, in characters, as the schemas of events have it.
const MAX_CODE: usize = 64;

fn clip(text: String, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some(_) => text.chars().take(limit - 1).chain(['…']).collect(),
        None => text,
    }
}

/// Why a step or an undo did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code, such as `document.encrypted`.
    pub code: String,
    /// For people.
    pub reason: String,
}

impl Failure {
    /// A failure. What is longer than a code (64 characters) or a reason (1,000) is cut.
    pub fn new(code: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { code: clip(code.into(), MAX_CODE), reason: clip(reason.into(), MAX_REASON) }
    }
}
