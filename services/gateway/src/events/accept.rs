//! `POST /v1/events`.

use std::collections::{BTreeMap, HashSet};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewire::failpoint::{self, Asked};
use tidewire::http::{Idempotency, Json, Problem, position_header, read_body};
use tidewire::identity::{Caller, Operation};
use tidewire::store::{Conflict, Selection};
use tidewire::{Append, Commit, Committed, DocumentWrite, Envelope, Expect, Key, Mark, Position, Seen, StoreError};

use crate::auth::{self, Owned};

use super::check::is_traceparent;
use super::parse::{Came, Content, Defaults, parse};
use super::{CONSUMER, Events};

/// How often a batch is put together again because some of its events were taken meanwhile.
const MAX_RACES: usize = 8;
/// The refused events named in one answer.
const MAX_NAMED: usize = 100;
/// Events looked at under one id: emitters rarely share ids.
const MAX_SAME_ID: usize = 20;

/// Takes events: one (binary or structured), or a batch of which all are taken or none. 202 `{ids, duplicates}`
/// once they are in the log. An event whose source and id were taken before is not taken again, and counts as a
/// duplicate; with other content it is refused (409 `event.id_conflict`).
pub(super) async fn accept(
    State(events): State<Events>,
    idempotency: Idempotency,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let emitter = Emitter { caller: auth::caller(request.extensions()), owned: request.extensions().get().cloned() };
    let body = read_body(request, &()).await?;
    let defaults = Defaults { now: events.ports.clock.now(), traceparent: traceparent(&headers) };
    let envelopes = match parse(&headers, body, &defaults)? {
        Content::One(came) => vec![events.admit(*came, &defaults, &emitter)?],
        Content::Batch(batch) => {
            let admitted = batch.into_iter().map(|came| events.admit(came, &defaults, &emitter)).collect();
            whole_batch(admitted)?
        }
    };
    let ids: Vec<String> = envelopes.iter().map(|envelope| envelope.id.clone()).collect();
    for race in 0..=MAX_RACES {
        // Mostly all are new, and the commit itself finds out if they are not: looking first would cost every event.
        let fresh = if race == 0 { envelopes.clone() } else { events.fresh(&envelopes).await? };
        let answer = json!({ "ids": ids, "duplicates": envelopes.len() - fresh.len() });
        let documents = idempotency.record(StatusCode::ACCEPTED, &answer);
        if let Some(position) = events.commit(&fresh, documents, race > 0).await? {
            return Ok((StatusCode::ACCEPTED, [position_header(position)], Json(answer)).into_response());
        }
    }
    let detail = "others are sending the same events at this moment";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "commit.conflict", detail).retry_after(Default::default()))
}

fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    is_traceparent(text).then(|| text.to_owned())
}

/// All of a batch, or a problem that names what is wrong with each bad one.
fn whole_batch(admitted: Vec<Result<Envelope, Problem>>) -> Result<Vec<Envelope>, Problem> {
    let mut marks = HashSet::new();
    let total = admitted.len();
    let (mut good, mut refused) = (Vec::with_capacity(total), Vec::new());
    for (index, event) in admitted.into_iter().enumerate() {
        let event = event.and_then(|envelope| match marks.insert(Mark::of(&envelope)) {
            true => Ok(envelope),
            false => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "event.id_conflict",
                format!("the batch holds two events with the id `{}` of one source", envelope.id),
            )),
        });
        match event {
            Ok(envelope) => good.push(envelope),
            Err(problem) => refused.push(entry(index, &problem)),
        }
    }
    if refused.is_empty() {
        return Ok(good);
    }
    let detail = format!("{} of {total} events are refused, so none was taken", refused.len());
    refused.truncate(MAX_NAMED);
    Err(Problem::new(StatusCode::BAD_REQUEST, "event.batch_refused", detail).with("errors", refused))
}

fn entry(index: usize, problem: &Problem) -> Value {
    let mut entry = json!({ "index": index, "code": problem.code, "detail": problem.detail });
    for (name, value) in &problem.extra {
        entry[name] = value.clone();
    }
    entry
}

impl Events {
    fn admit(&self, came: Result<Came, Problem>, defaults: &Defaults, emitter: &Emitter) -> Result<Envelope, Problem> {
        let max_bytes = self.ports.broker.features().max_event_bytes;
        let envelope = self.contracts.admit(came?, defaults.now, max_bytes)?;
        emitter.may_emit(&envelope)?;
        Ok(envelope)
    }

    /// The events that were not taken yet. Fails when one was taken with other content.
    async fn fresh(&self, envelopes: &[Envelope]) -> Result<Vec<Envelope>, Problem> {
        let marks: Vec<Mark> = envelopes.iter().map(Mark::of).collect();
        let seen = self.ports.store.seen(CONSUMER, &marks).await?;
        let mut fresh = Vec::with_capacity(envelopes.len());
        for (envelope, seen) in envelopes.iter().zip(seen) {
            match seen {
                false => fresh.push(envelope.clone()),
                true => self.same_as_before(envelope).await?,
            }
        }
        Ok(fresh)
    }

    async fn same_as_before(&self, envelope: &Envelope) -> Result<(), Problem> {
        let selection = Selection { id: Some(envelope.id.clone()), limit: MAX_SAME_ID, ..Default::default() };
        let found = self.ports.store.read(&selection).await?;
        let before = found.into_iter().map(|recorded| recorded.envelope).find(|e| e.source == envelope.source);
        // What is no longer in the log cannot be compared.
        let same = before.is_none_or(|before| {
            before.ty == envelope.ty && before.data == envelope.data && before.subject == envelope.subject
        });
        if same { Ok(()) } else { Err(id_conflict(&envelope.id)) }
    }

    /// Writes events, their marks and `documents` in one commit. `None`: one of them was taken before; `looked` says
    /// whether that was looked at already.
    async fn commit(
        &self,
        fresh: &[Envelope],
        documents: Vec<DocumentWrite>,
        looked: bool,
    ) -> Result<Option<Position>, Problem> {
        if fresh.is_empty() && documents.is_empty() {
            return Ok(Some(self.ports.store.head().await?));
        }
        let seen = fresh.iter().map(|envelope| Seen { consumer: CONSUMER.into(), mark: Mark::of(envelope) }).collect();
        let commit = Commit { append: per_key(fresh), seen, documents, ..Default::default() };
        if failpoint::reach("gateway.before_commit") == Asked::Fail {
            return Err(StoreError::Unavailable("failpoint".into()).into());
        }
        let committed = match self.ports.store.commit(commit).await {
            Ok(Committed::Applied { last }) => last,
            Ok(Committed::Duplicate) => return Ok(None),
            Err(StoreError::Conflict(Conflict::Event { .. })) if !looked => return Ok(None),
            Err(StoreError::Conflict(Conflict::Event { id })) => return Err(id_conflict(&id)),
            Err(error) => return Err(error.into()),
        };
        if failpoint::reach("gateway.after_commit") == Asked::Fail {
            return Err(StoreError::Unknown("failpoint".into()).into());
        }
        Ok(Some(committed))
    }
}

/// Who emits.
struct Emitter {
    caller: Caller,
    /// The sources of others, where the caller has none of his own.
    owned: Option<Owned>,
}

impl Emitter {
    /// Its type must be among what the caller may emit, and its source his own, or at least nobody else's: who could
    /// write another's source could also make another's events pass for duplicates.
    fn may_emit(&self, envelope: &Envelope) -> Result<(), Problem> {
        let name = envelope.ty.name();
        if !self.caller.scopes.allow(Operation::Emit, Some(name)) {
            return Err(auth::forbidden(&format!("emit:{name}")));
        }
        let source = &envelope.source;
        let detail = match (&self.caller.source, &self.owned) {
            (Some(own), _) if own != source => format!("these credentials emit as `{own}`, the event says `{source}`"),
            (None, Some(Owned(owned))) if owned.contains(source) => {
                format!("`{source}` belongs to somebody; emit with credentials that were made for it")
            }
            _ => return Ok(()),
        };
        Err(Problem::new(StatusCode::FORBIDDEN, "auth.source", detail))
    }
}

fn id_conflict(id: &str) -> Problem {
    Problem::conflict(
        "event.id_conflict",
        format!("an event with the id `{id}` of this source exists and is another one"),
    )
}

/// The events by key, in the order they came.
fn per_key(envelopes: &[Envelope]) -> Vec<Append> {
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    let mut appends: Vec<Append> = Vec::new();
    for envelope in envelopes {
        let place = *places.entry(envelope.key.clone()).or_insert(appends.len());
        match appends.get_mut(place) {
            Some(append) => append.events.push(envelope.clone()),
            None => {
                appends.push(Append { key: envelope.key.clone(), expect: Expect::Any, events: vec![envelope.clone()] });
            }
        }
    }
    appends
}
