//! What is done to a subscription besides changing it: pause, resume, rotate, test.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidewire::chrono::TimeDelta;
use tidewire::http::{Idempotency, Json, Problem};
use tidewire::operate::{Acted, Actor};
use tidewire::push::{Endpoint, Register, State as Delivers, Subscription, test_event};

use super::rights::may;
use super::{MaybeCaller, change, find, keep, whoever, with_secret};

/// How long an old secret goes on signing when nobody says: a day to hand the new one out.
const OVERLAP_SECONDS: i64 = 24 * 60 * 60;
/// The longest.
pub(super) const MAX_OVERLAP_SECONDS: i64 = 30 * 24 * 60 * 60;
/// The longest reason that is kept, in characters.
pub(super) const MAX_REASON: usize = 500;

/// Why something is done, for those who look later.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: Option<String>,
}

impl Why {
    fn text(&self) -> String {
        self.reason.as_deref().unwrap_or_default().chars().take(MAX_REASON).collect()
    }
}

/// Stops delivering. What is under way ends; what comes waits.
pub(super) async fn pause(
    State(register): State<Register>,
    Path(id): Path<String>,
    caller: MaybeCaller,
    actor: Actor,
    idempotency: Idempotency,
    why: Option<Json<Why>>,
) -> Result<Response, Problem> {
    let (before, revision) = find(&register, &id).await?;
    may(&whoever(caller), &before.wanted, &register)?;
    let state = match before.state.clone() {
        // It stays told why.
        disabled @ Delivers::Disabled { .. } => disabled,
        _ => Delivers::Paused,
    };
    let acted = Acted::new(&actor, "subscriptions pause", &id, &reason(why));
    let after = Subscription { state, changed: register.ports().clock.now(), ..before };
    change(&register, &after, revision, idempotency, &acted).await
}

/// Goes on delivering, also after it was disabled.
pub(super) async fn resume(
    State(register): State<Register>,
    Path(id): Path<String>,
    caller: MaybeCaller,
    actor: Actor,
    idempotency: Idempotency,
    why: Option<Json<Why>>,
) -> Result<Response, Problem> {
    let (before, revision) = find(&register, &id).await?;
    may(&whoever(caller), &before.wanted, &register)?;
    let acted = Acted::new(&actor, "subscriptions resume", &id, &reason(why));
    let after = Subscription { state: Delivers::Active, changed: register.ports().clock.now(), ..before };
    change(&register, &after, revision, idempotency, &acted).await
}

fn reason(why: Option<Json<Why>>) -> String {
    why.map(|Json(why)| why.text()).unwrap_or_default()
}

/// How a secret is replaced.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    overlap_seconds: Option<i64>,
    reason: Option<String>,
}

/// 200 with the new secret, shown this once. Until the overlap is over every request carries both signatures.
pub(super) async fn rotate(
    State(register): State<Register>,
    Path(id): Path<String>,
    caller: MaybeCaller,
    actor: Actor,
    idempotency: Idempotency,
    rotation: Option<Json<Rotation>>,
) -> Result<Response, Problem> {
    let Rotation { overlap_seconds, reason } = rotation.map(|Json(rotation)| rotation).unwrap_or_default();
    let overlap = overlap_seconds.unwrap_or(OVERLAP_SECONDS);
    if !(0..=MAX_OVERLAP_SECONDS).contains(&overlap) {
        return Err(Problem::invalid(format!("`overlap_seconds` is a number from 0 to {MAX_OVERLAP_SECONDS}")));
    }
    let (mut subscription, revision) = find(&register, &id).await?;
    may(&whoever(caller), &subscription.wanted, &register)?;
    if !subscription.rotate(register.ports().clock.now(), TimeDelta::seconds(overlap)) {
        return Err(Problem::internal("the system gives no random numbers"));
    }
    let acted = Acted::new(&actor, "subscriptions rotate", &id, &Why { reason }.text());
    let answer = with_secret(&register, &subscription).await?;
    keep(&register, &subscription, revision, (idempotency, &answer), &acted).await?;
    Ok(Json(answer).into_response())
}

/// Sends an event that only the endpoint sees, and tells what it made of it. Nothing is counted, and an event in the
/// answer is not emitted.
pub(super) async fn test(
    State(register): State<Register>,
    Path(id): Path<String>,
    caller: MaybeCaller,
) -> Result<Json<Value>, Problem> {
    let (subscription, _) = find(&register, &id).await?;
    may(&whoever(caller), &subscription.wanted, &register)?;
    let clock = register.ports().clock.as_ref();
    let event = test_event(&subscription.id, clock);
    let endpoint = Endpoint::new(&subscription, register.options());
    let outcome = endpoint.send(&event, clock).await;
    let (code, reason) = outcome.failure().unzip();
    Ok(Json(json!({ "outcome": outcome.word(), "event": event.id, "code": code, "reason": reason })))
}
