//! Who did what by hand, and why: an event in the same commit as what he changed.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use serde::Serialize;
use serde_json::{Map, Value};
use tidewire_core::{Append, Clock, Draft, Envelope, EventType, Expect, Key};

use crate::identity::Caller;

/// What operators' own commands call whoever typed them; believed only of those who are not asked who they are.
pub const TIDEWIRE_ACTOR: HeaderName = HeaderName::from_static("tidewire-actor");
/// The source of these events.
const SOURCE: &str = "/operator";
/// Their type. Its schema is in the catalogue; a test of the gateway holds the two together.
pub const OPERATOR_ACTED: EventType = EventType::new("operator.acted", 1);

/// The longest name of an actor, verb, target and reason, in characters, as the schema has them.
const MAX_ACTOR: usize = 256;
const MAX_VERB: usize = 64;
const MAX_TARGET: usize = 512;
const MAX_REASON: usize = 2_000;
/// The most details, as the schema has it.
const MAX_DETAILS: usize = 64;
/// The largest detail, in bytes of JSON: with all of them the event stays below what every broker takes.
const MAX_DETAIL_BYTES: usize = 2_048;
/// The longest name somebody gives himself, in characters.
const MAX_OWN_NAME: usize = 64;

/// Who acts: an extractor for routes that change something by hand.
///
/// `key:<id>` or `jwt:<subject>` of whoever was recognised at the edge. Where nobody is asked he is `local`, or
/// `local:<user>` by the header [`TIDEWIRE_ACTOR`], which is his own word and no proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(String);

impl Actor {
    /// By who was recognised and what he calls himself.
    pub fn of(caller: Option<&Caller>, headers: &HeaderMap) -> Self {
        let local = Caller::local().name;
        match caller {
            Some(caller) if caller.name != local => Self(cut(&caller.name, MAX_ACTOR)),
            _ => Self(match own_name(headers) {
                Some(name) => format!("{local}:{name}"),
                None => local,
            }),
        }
    }

    /// The process itself, for what it does without being asked.
    pub fn house() -> Self {
        Self("house".into())
    }

    /// His name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts.extensions.get::<Caller>(), &parts.headers))
    }
}

fn own_name(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(TIDEWIRE_ACTOR)?.to_str().ok()?;
    let name: String = text.chars().filter(|c| c.is_ascii_graphic()).take(MAX_OWN_NAME).collect();
    (!name.is_empty()).then_some(name)
}

/// Something an operator did: the event `operator.acted`. It belongs into the same commit as what he changed, so that
/// neither is there without the other.
///
/// ```
/// # use tidewire::operate::{Acted, Actor};
/// # use tidewire::{Commit, SystemClock};
/// let mut commit = Commit::default(); // with what he changed
/// let acted = Acted::new(&Actor::house(), "parked drop", "social.feed#17", "the user is gone").with("event", "0198");
/// commit.append.push(acted.append(&SystemClock));
/// ```
#[derive(Clone, Debug)]
pub struct Acted {
    actor: String,
    verb: &'static str,
    target: String,
    reason: String,
    details: Map<String, Value>,
    cause: Option<Envelope>,
    id: Option<String>,
}

#[derive(Serialize)]
struct Data<'a> {
    actor: &'a str,
    verb: &'a str,
    target: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: &'a Map<String, Value>,
}

impl Acted {
    /// `actor` did `verb` (as the command line calls it, such as `parked redrive`) to `target`, because of `reason`. What
    /// is too long is cut.
    pub fn new(actor: &Actor, verb: &'static str, target: impl Into<String>, reason: &str) -> Self {
        debug_assert!(!verb.is_empty() && verb.len() <= MAX_VERB, "{verb}");
        let target = cut(&target.into(), MAX_TARGET);
        Self {
            actor: actor.0.clone(),
            verb,
            target: if target.is_empty() { "-".into() } else { target },
            reason: cut(reason.trim(), MAX_REASON),
            details: Map::new(),
            cause: None,
            id: None,
        }
    }

    /// With something else that tells what was done. At most 64; a value of more than 2 KiB is left out, its size named.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let bytes = value.to_string().len();
        let value = if bytes > MAX_DETAIL_BYTES { format!("({bytes} bytes)").into() } else { value };
        if self.details.len() < MAX_DETAILS {
            self.details.insert(name.to_owned(), value);
        }
        self
    }

    /// As part of the flow of an event: it shows among what followed from it.
    pub fn about(mut self, event: &Envelope) -> Self {
        self.cause = Some(event.clone());
        self
    }

    /// With a fixed id, where doing it again must not be told twice.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The event, for whoever puts it into a commit himself.
    pub fn draft(&self) -> Draft {
        let Self { actor, verb, target, reason, details, .. } = self;
        let data = Data { actor, verb, target, reason, details };
        Draft {
            ty: OPERATOR_ACTED,
            key: Key::of("operator", actor),
            // A struct of texts and JSON has no way to fail; were there one, the event would say so by being empty.
            data: Some(serde_json::to_vec(&data).unwrap_or_default().into()),
            datacontenttype: None,
            subject: Some(target.clone()),
            id: self.id.clone(),
            correlationid: None,
            expirytime: None,
            dataref: None,
            extensions: Default::default(),
        }
    }

    /// The event as a part of a commit. Also logged: whoever watches the log sees it without asking.
    pub fn append(&self, clock: &dyn Clock) -> Append {
        tracing::info!(
            actor = self.actor,
            verb = self.verb,
            target = self.target,
            reason = self.reason,
            "an operator acts"
        );
        let event = self.draft().seal(clock, SOURCE, self.cause.as_ref());
        Append { key: event.key.clone(), expect: Expect::Any, events: vec![event] }
    }
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use tidewire_core::SystemClock;

    use super::*;
    use crate::identity::Scopes;

    #[test]
    fn who_was_recognised_cannot_call_himself_otherwise() {
        let mut headers = HeaderMap::new();
        assert_eq!(Actor::of(None, &headers).name(), "local");
        headers.insert(TIDEWIRE_ACTOR, HeaderValue::from_static("ana smith"));
        assert_eq!(Actor::of(Some(&Caller::local()), &headers).name(), "local:anasmith");
        let known = Caller { name: "key:7".into(), scopes: Scopes::all(), source: None };
        assert_eq!(Actor::of(Some(&known), &headers).name(), "key:7");
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_too_large_is_named() {
        let long = "x".repeat(5_000);
        let mut acted = Acted::new(&Actor::house(), "parked drop", long.clone(), &long).with("before", long.clone());
        for n in 0..100 {
            acted = acted.with(&format!("n{n}"), n);
        }
        let event = acted.append(&SystemClock).events.remove(0);
        let data: Value = serde_json::from_slice(event.data.as_deref().unwrap()).unwrap();
        assert_eq!(data["target"].as_str().unwrap().chars().count(), MAX_TARGET);
        assert_eq!(data["reason"].as_str().unwrap().chars().count(), MAX_REASON);
        assert_eq!(data["details"]["before"], "(5002 bytes)");
        assert_eq!(data["details"].as_object().unwrap().len(), MAX_DETAILS);
        assert_eq!(event.key.as_str(), "operator/house");
    }
}
