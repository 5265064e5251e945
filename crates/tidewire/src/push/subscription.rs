//! A subscription: who wants which events, and where they go.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tidewire_core::{Envelope, EventType, Position};

use super::PushOptions;
use super::filter::{Filter, Sieve};
use super::secret::{MAX_SECRETS, Secret};
use crate::http::nearest;

/// The longest id, in characters: it becomes part of a consumer's name.
const MAX_ID: usize = 40;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 300;
/// The most type patterns.
const MAX_TYPES: usize = 100;
/// The longest source, in bytes.
const MAX_SOURCE_BYTES: usize = 256;
/// The longest wait for an answer. A worker that takes longer takes the event, answers, and emits what came of it later.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// The most requests to one endpoint at once, per process.
const MAX_CONCURRENCY: usize = 256;
/// The most starts of a delivery.
const MAX_ATTEMPTS: u32 = 100;

/// What a subscriber asks for: the resource of the CloudEvents Subscriptions API, with what is ours in `config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The name it is wanted under; otherwise one is made up. Part of the consumer's name, `push.<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where events go.
    pub sink: String,
    /// How: `HTTP` is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Only events of this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Only these types: `user.followed` in any version, `user.followed.v1` in this one, `user.*` all that begin so.
    /// All types, when empty.
    #[serde(default)]
    pub types: Vec<String>,
    /// Only events that pass all of these. Others are acknowledged without being sent.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// How it is delivered.
    #[serde(default)]
    pub config: Config,
}

/// How events are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What a request looks like.
    #[serde(default)]
    pub mode: Mode,
    /// From which events on. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Requests at once, per process; each is of another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// The longest wait for an answer, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Starts of a delivery before its event is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// What the endpoint may answer with. Without it, an event in an answer is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
}

/// What a request looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Attributes in `ce-` headers, the data as the body.
    #[default]
    Binary,
    /// The whole event as the body, which the signature then covers.
    Structured,
}

/// From which events on a subscription delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Those that are recorded after it was made.
    #[default]
    Now,
    /// All that the broker still holds.
    Earliest,
}

/// What an endpoint may answer with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The `source` its events are emitted as, whatever they claim; `/push/<id>` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The types it may emit, written as in [`Wanted::types`].
    pub types: Vec<String>,
}

/// Whether a subscription delivers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum State {
    /// It does.
    #[default]
    Active,
    /// Somebody paused it. Its events wait.
    Paused,
    /// The endpoint said that it is gone for good. Its events wait until it is resumed, or deleted.
    Disabled {
        /// A stable code.
        code: String,
        /// Why, for people.
        reason: String,
        /// Since when.
        at: DateTime<Utc>,
    },
}

/// A subscription as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub wanted: Wanted,
    /// Who made it.
    pub owner: String,
    /// When.
    pub created: DateTime<Utc>,
    /// When it was last changed.
    pub changed: DateTime<Utc>,
    /// The head of the log when it was made, where it begins there.
    #[serde(default)]
    pub since: Position,
    /// Whether it delivers.
    pub state: State,
    /// Deliveries a minute that the endpoint agreed to, per process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// What signs, the newest first.
    pub secrets: Vec<Secret>,
}

/// What is wrong with what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {reason}")]
pub struct WantedError {
    /// The field.
    pub field: &'static str,
    /// What was expected.
    pub reason: String,
}

fn wrong<T>(field: &'static str, reason: impl Into<String>) -> Result<T, WantedError> {
    Err(WantedError { field, reason: reason.into() })
}

impl Wanted {
    /// Checks everything that can be checked without the network, against the types there are.
    pub fn check(&self, known: &[EventType], options: &PushOptions) -> Result<(), WantedError> {
        if self.id.as_deref().is_some_and(|id| !is_id(id)) {
            return wrong("id", format!("1 to {MAX_ID} lower-case letters, digits and hyphens, a letter first"));
        }
        let text = self.description.as_deref().unwrap_or_default();
        if text.chars().count() > MAX_DESCRIPTION || text.chars().any(char::is_control) {
            return wrong("description", format!("at most {MAX_DESCRIPTION} characters without control characters"));
        }
        match options.egress.url(&self.sink) {
            Err(error) => return wrong("sink", error.to_string()),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                return wrong("sink", "a URL with a user or a password would show both to everybody who sees it");
            }
            Ok(_) => {}
        }
        if self.protocol.as_deref().is_some_and(|protocol| protocol != "HTTP") {
            return wrong("protocol", "only `HTTP` is spoken");
        }
        check_source("source", self.source.as_deref())?;
        check_types("types", &self.types, known)?;
        Sieve::of(&self.filters).or_else(|reason| wrong("filters", reason))?;
        self.config.check(known)
    }

    /// The types it reads, of those there are.
    pub fn reads(&self, known: &[EventType]) -> Vec<EventType> {
        chosen(&self.types, known)
    }

    /// The types its endpoint may emit, of those there are.
    pub fn emits(&self, known: &[EventType]) -> Vec<EventType> {
        self.config.reply.as_ref().map_or_else(Vec::new, |reply| chosen(&reply.types, known))
    }
}

impl Config {
    fn check(&self, known: &[EventType]) -> Result<(), WantedError> {
        if self.concurrency.is_some_and(|keys| !(1..=MAX_CONCURRENCY).contains(&keys)) {
            return wrong("config.concurrency", format!("1 to {MAX_CONCURRENCY}"));
        }
        if self.timeout_seconds.is_some_and(|seconds| !(1..=MAX_TIMEOUT.as_secs()).contains(&seconds)) {
            return wrong("config.timeout_seconds", format!("1 to {}", MAX_TIMEOUT.as_secs()));
        }
        if self.max_attempts.is_some_and(|attempts| !(1..=MAX_ATTEMPTS).contains(&attempts)) {
            return wrong("config.max_attempts", format!("1 to {MAX_ATTEMPTS}"));
        }
        let Some(reply) = &self.reply else { return Ok(()) };
        check_source("config.reply.source", reply.source.as_deref())?;
        if reply.types.is_empty() {
            return wrong("config.reply.types", "at least one type; without replies leave `reply` out");
        }
        check_types("config.reply.types", &reply.types, known)
    }

    /// The longest wait for an answer.
    pub fn timeout(&self, options: &PushOptions) -> Duration {
        self.timeout_seconds.map_or(options.timeout, Duration::from_secs).min(MAX_TIMEOUT)
    }
}

impl Subscription {
    /// Its consumer's name.
    pub fn consumer_name(&self) -> String {
        consumer_name(&self.id)
    }

    /// The `source` of what its endpoint answers with.
    pub fn reply_source(&self) -> String {
        let own = self.wanted.config.reply.as_ref().and_then(|reply| reply.source.clone());
        own.unwrap_or_else(|| format!("/push/{}", self.id))
    }

    /// A new secret takes the place of the last one, which goes on signing for `overlap`. `false`, and nothing changes,
    /// only where the system has no randomness to give.
    pub fn rotate(&mut self, now: DateTime<Utc>, overlap: TimeDelta) -> bool {
        let Some(secret) = Secret::make(now) else { return false };
        let until = now + overlap;
        for old in &mut self.secrets {
            old.until = Some(old.until.map_or(until, |end| end.min(until)));
        }
        self.secrets.insert(0, secret);
        self.secrets.retain(|secret| secret.is_good(now));
        self.secrets.truncate(MAX_SECRETS);
        self.changed = now;
        true
    }
}

/// The consumer of the subscription `id`.
pub(super) fn consumer_name(id: &str) -> String {
    format!("push.{id}")
}

/// Which events a subscription sends: read once, asked for every event.
#[derive(Debug)]
pub(super) struct Choice {
    source: Option<String>,
    types: Vec<String>,
    sieve: Sieve,
}

impl Choice {
    pub(super) fn of(wanted: &Wanted) -> Result<Self, WantedError> {
        let sieve = Sieve::of(&wanted.filters).or_else(|reason| wrong("filters", reason))?;
        Ok(Self { source: wanted.source.clone(), types: wanted.types.clone(), sieve })
    }

    pub(super) fn takes(&self, event: &Envelope) -> bool {
        self.source.as_ref().is_none_or(|source| *source == event.source)
            && is_among(&event.ty, &self.types)
            && self.sieve.passes(event)
    }
}

/// Whether a type is meant by one of these patterns; by none at all every type is.
pub(super) fn is_among(ty: &EventType, patterns: &[String]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| is_meant(ty, pattern))
}

fn is_meant(ty: &EventType, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => ty.name().starts_with(prefix),
        None => ty.name() == pattern || ty.to_string() == *pattern,
    }
}

/// The newest versions of the types that patterns mean.
fn chosen(patterns: &[String], known: &[EventType]) -> Vec<EventType> {
    let is_meant = |ty: &&EventType| {
        let older = || (1..=ty.version()).any(|version| is_among(&ty.at(version), patterns));
        patterns.is_empty() || older()
    };
    known.iter().filter(is_meant).cloned().collect()
}

fn check_types(field: &'static str, patterns: &[String], known: &[EventType]) -> Result<(), WantedError> {
    if patterns.len() > MAX_TYPES {
        return wrong(field, format!("at most {MAX_TYPES} patterns"));
    }
    for pattern in patterns {
        let shown: String = pattern.chars().take(80).flat_map(char::escape_default).collect();
        if pattern.strip_suffix('*').is_some_and(|prefix| !prefix.is_empty() && !prefix.ends_with('.')) {
            return wrong(field, format!("`{shown}`: a prefix ends in `.*`, such as `user.*`"));
        }
        if chosen(std::slice::from_ref(pattern), known).is_empty() {
            let near = nearest(pattern, known.iter().map(EventType::name));
            let hint = near.map_or_else(|| "/schemas lists the types".into(), |near| format!("did you mean `{near}`?"));
            return wrong(field, format!("there is no type `{shown}`; {hint}"));
        }
    }
    Ok(())
}

fn check_source(field: &'static str, source: Option<&str>) -> Result<(), WantedError> {
    let is_source = |source: &str| {
        (1..=MAX_SOURCE_BYTES).contains(&source.len()) && source.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match source {
        Some(source) if !is_source(source) => {
            wrong(field, format!("a URI reference of at most {MAX_SOURCE_BYTES} ASCII characters, such as `/billing`"))
        }
        _ => Ok(()),
    }
}

fn is_id(id: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    id.len() <= MAX_ID && id.starts_with(|c: char| c.is_ascii_lowercase()) && id.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn known() -> Vec<EventType> {
        vec![EventType::new("user.followed", 2), EventType::new("user.unfollowed", 1), EventType::new("saga.stuck", 1)]
    }

    fn wanted(changes: Value) -> Result<Wanted, String> {
        let mut wanted = json!({"sink": "https://example.org/hook", "types": ["user.*"]});
        for (name, value) in changes.as_object().unwrap() {
            wanted[name] = value.clone();
        }
        let wanted: Wanted = serde_json::from_value(wanted).map_err(|error| error.to_string())?;
        wanted.check(&known(), &PushOptions::default()).map_err(|error| error.to_string())?;
        Ok(wanted)
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (changes, word) in [
            (json!({"id": "Häuser"}), "`id`"),
            (json!({"id": "1st"}), "`id`"),
            (json!({"id": "a".repeat(41)}), "`id`"),
            (json!({"sink": "http://example.org"}), "https"),
            (json!({"sink": "https://user:secret@example.org"}), "password"),
            (json!({"protocol": "KAFKA"}), "HTTP"),
            (json!({"types": ["user.folowed"]}), "did you mean `user.followed`?"),
            (json!({"types": ["user*"]}), "user.*"),
            (json!({"types": ["user.followed.v3"]}), "there is no type"),
            (json!({"source": "a b"}), "`source`"),
            (json!({"filters": [{"sql": "type ="}]}), "CloudEvents SQL"),
            (json!({"config": {"concurrency": 0}}), "concurrency"),
            (json!({"config": {"timeout_seconds": 61}}), "timeout_seconds"),
            (json!({"config": {"max_attempts": 0}}), "max_attempts"),
            (json!({"config": {"reply": {"types": []}}}), "reply.types"),
            (json!({"config": {"reply": {"types": ["nothing.there"]}}}), "there is no type"),
            (json!({"config": {"colour": "red"}}), "unknown field"),
            (json!({"sinks": []}), "unknown field"),
        ] {
            let error = wanted(changes.clone()).unwrap_err();
            assert!(error.contains(word), "{changes}: {error}");
        }
        assert!(wanted(json!({"id": "search-2", "config": {"reply": {"types": ["saga.*"], "source": "/s"}}})).is_ok());
    }

    #[test]
    fn types_are_names_versions_and_prefixes() {
        let reads = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            chosen(&patterns, &known()).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(reads(&[]).len(), 3);
        assert_eq!(reads(&["*"]).len(), 3);
        assert_eq!(reads(&["user.*"]), ["user.followed.v2", "user.unfollowed.v1"]);
        // It has to be read at the newest version to be told apart.
        assert_eq!(reads(&["user.followed.v1"]), ["user.followed.v2"]);
        let first = ["user.followed.v1".to_owned()];
        let followed = EventType::new("user.followed", 2);
        assert!(is_among(&followed.at(1), &first) && !is_among(&followed, &first));
        assert!(is_among(&followed, &["user.followed".into()]) && !is_among(&followed, &["user.follow".into()]));
    }
}
