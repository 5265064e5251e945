//! Which events are replayed: a part of the log with both ends fixed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_core::cesql::Expression;
use tidewire_core::store::Selection;
use tidewire_core::{Envelope, EventType, Key, Position, Recorded, Store, StoreError};

use super::error::ReplayError;
use crate::ports::Ports;
use crate::reconcile::Since;

/// The most types in one request.
const MAX_TYPES: usize = 50;

/// Which events, as an operator asks for them. What is absent selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// Begin with this position, with the first event recorded at this time, or so long ago.
    pub from: Option<String>,
    /// End with this position, before the first event recorded at this time, or so long ago. Otherwise the head of the
    /// log at the time of the plan.
    pub to: Option<String>,
    /// Names of types without their versions, or prefixes of names that end in `.*`.
    pub types: Vec<String>,
    /// Only this key.
    pub key: Option<String>,
    /// Only this flow.
    pub correlation: Option<String>,
    /// Only where this CloudEvents SQL is true.
    pub filter: Option<String>,
}

/// A part of the log that never changes: both ends are positions, and what is in between was appended before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Only events after this position.
    pub after: Position,
    /// Only events up to this one.
    pub until: Position,
    /// Only of these names; of all when empty.
    pub names: Vec<String>,
    /// Only this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only this flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// Only where this CloudEvents SQL is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

impl Wanted {
    /// The part of the log that is meant now, as far as somebody who reads `names` (all types when empty) is concerned.
    pub(super) async fn resolve(&self, ports: &Ports, names: &[String]) -> Result<Source, ReplayError> {
        let store = ports.store.as_ref();
        let head = store.head().await?;
        let now = ports.clock.now();
        let since = |text: &String| text.parse::<Since>().map_err(|error| ReplayError::Invalid(error.to_string()));
        let from = self.from.as_ref().map(since).transpose()?.unwrap_or(Since::Position(Position(1)));
        let after = from.after(store, now).await?;
        let until = match self.to.as_ref().map(since).transpose()? {
            None => head,
            Some(Since::Position(position)) => position.min(head),
            // The position before the first event of that moment.
            Some(to) => to.after(store, now).await?,
        };
        let key = self.key.as_deref().map(key).transpose()?;
        if let Some(filter) = &self.filter {
            Expression::filter(filter).map_err(ReplayError::Filter)?;
        }
        Ok(Source {
            after,
            until,
            names: self.names(store, names).await?,
            key: key.map(|key| key.to_string()),
            correlation: self.correlation.clone(),
            filter: self.filter.clone(),
        })
    }

    /// The names asked for among those that are in the log, or that somebody reads.
    async fn names(&self, store: &dyn Store, read: &[String]) -> Result<Vec<String>, ReplayError> {
        if self.types.len() > MAX_TYPES {
            return Err(ReplayError::Invalid(format!("at most {MAX_TYPES} types are taken at once")));
        }
        let mut names = read.to_vec();
        if !self.types.is_empty() {
            let known: Vec<EventType> = store.types().await?.into_iter().map(|(ty, _)| ty).collect();
            if names.is_empty() {
                names = known.iter().map(|ty| ty.name().to_owned()).collect();
            }
            if let Some(unknown) = self.types.iter().find(|pattern| !known.iter().any(|ty| matches(pattern, ty.name())))
            {
                return Err(ReplayError::Invalid(format!("no event in the log is of type `{unknown}`")));
            }
            names.retain(|name| self.types.iter().any(|pattern| matches(pattern, name)));
            if names.is_empty() {
                return Err(ReplayError::Invalid("the consumer reads none of these types".into()));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Whether `name` is what `pattern` names: itself, or what begins like it where it ends in `.*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => prefix.is_empty() || (prefix.ends_with('.') && name.starts_with(prefix)),
        None => pattern == name,
    }
}

fn key(text: &str) -> Result<Key, ReplayError> {
    Key::new(Arc::<str>::from(text)).map_err(|error| ReplayError::Invalid(error.to_string()))
}

/// Reads a [`Source`], page by page.
pub(super) struct Pages {
    selection: Selection,
    filter: Option<Expression>,
}

/// What one look at the log found.
pub(super) struct Page {
    /// Everything up to here was looked at.
    pub position: Position,
    /// What was wanted of it, in the order of the log.
    pub events: Vec<Recorded>,
    /// There is nothing after it.
    pub last: bool,
}

impl Pages {
    /// The pages of `source` after `after`, each of at most `limit` events looked at.
    pub fn new(source: &Source, after: Position, limit: usize) -> Result<Self, StoreError> {
        let broken = |reason: String| StoreError::Corrupt(format!("a stored plan: {reason}"));
        let key = source.key.as_deref().map(|key| Key::new(Arc::<str>::from(key))).transpose();
        let filter = source.filter.as_deref().map(Expression::filter).transpose();
        Ok(Self {
            selection: Selection {
                after: after.max(source.after),
                until: Some(source.until),
                names: source.names.clone(),
                key: key.map_err(|error| broken(error.to_string()))?,
                correlationid: source.correlation.clone(),
                limit,
                ..Selection::default()
            },
            filter: filter.map_err(|error| broken(error.to_string()))?,
        })
    }

    /// The next page.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Page, StoreError> {
        let mut events = store.read(&self.selection).await?;
        let last = events.len() < self.selection.limit;
        let until = self.selection.until.unwrap_or_default();
        let position = match events.last() {
            Some(recorded) if !last => recorded.position,
            _ => until.max(self.selection.after),
        };
        self.selection.after = position;
        if let Some(filter) = &self.filter {
            events.retain(|recorded| filter.matches(&recorded.envelope));
        }
        Ok(Page { position, events, last })
    }
}

/// How many bytes an event is, roughly: what travels, without the names of its attributes.
pub(super) fn bytes_of(envelope: &Envelope) -> u64 {
    let texts = envelope.id.len() + envelope.source.len() + envelope.key.as_str().len() + envelope.ty.name().len();
    let extensions: usize = envelope.extensions.keys().map(|name| name.len() + 16).sum();
    (texts + extensions + envelope.data.as_ref().map_or(0, |data| data.len()) + 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_prefix_that_ends_at_a_dot() {
        for (pattern, name, expected) in [
            ("user.followed", "user.followed", true),
            ("user.followed", "user.followed.twice", false),
            ("user.*", "user.followed", true),
            ("user.*", "username.changed", false),
            ("user*", "user.followed", false),
            ("*", "user.followed", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
