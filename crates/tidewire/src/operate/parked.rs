//! Parked events as an operator looks at them: which ones, grouped by cause, and what was tried.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tidewire_core::cesql::Expression;
use tidewire_core::store::{Parked, ParkedQuery, Selection};
use tidewire_core::{Envelope, Key};

use super::acted::OPERATOR_ACTED;
use super::{OperateError, Operator};

/// Parked events read at once.
const PAGE: usize = 500;
/// The most parked events looked at for one answer: as many as one consumer may park by default.
const MAX_SCANNED: usize = 100_000;
/// The most that operators did to one event, and is shown.
const MAX_HISTORY: usize = 100;
/// The code of an event that is parked only because an earlier one of its key is.
pub(super) const BEHIND: &str = "parked.behind";

/// Which parked events. Every part that is there must hold; without any, all are meant.
#[derive(Clone, Debug, Default)]
pub struct ParkedSelection {
    /// Only of this consumer.
    pub consumer: Option<String>,
    /// Only of this key.
    pub key: Option<Key>,
    /// Only these numbers, if there are any here.
    pub ordinals: Vec<u64>,
    /// Only those parked for this reason, as a stable code.
    pub code: Option<String>,
    /// Only events of this name, of any version.
    pub ty: Option<String>,
    /// Only events for which this is true.
    pub filter: Option<Expression>,
}

impl ParkedSelection {
    /// Whether `parked` is meant.
    pub fn selects(&self, parked: &Parked) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        is(&self.consumer, &parked.consumer)
            && is(&self.code, &parked.code)
            && is(&self.ty, parked.envelope.ty.name())
            && self.key.as_ref().is_none_or(|key| *key == parked.envelope.key)
            && (self.ordinals.is_empty() || self.ordinals.contains(&parked.ordinal))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(&parked.envelope))
    }

    /// The part of it that the store can look for.
    pub(super) fn query(&self, after: u64) -> ParkedQuery {
        ParkedQuery { consumer: self.consumer.clone(), key: self.key.clone(), after, limit: PAGE }
    }
}

/// Parked events with the same cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParkedGroup {
    /// Who parked them.
    pub consumer: String,
    /// Why, as a stable code.
    pub code: String,
    /// Their name and version.
    #[serde(rename = "type")]
    pub ty: String,
    /// How many.
    pub events: u64,
    /// On so many keys.
    pub keys: u64,
    /// Since when the first of them is parked.
    pub first: DateTime<Utc>,
    /// Since when the last of them is.
    pub last: DateTime<Utc>,
    /// The number of the first, to be looked at.
    pub ordinal: u64,
    /// Why the first is, for people.
    pub reason: String,
}

/// Parked events by cause.
#[derive(Clone, Debug, Serialize)]
pub struct ParkedGroups {
    /// The groups, largest first.
    pub items: Vec<ParkedGroup>,
    /// Whether all that is parked was counted; `false` beyond 100,000 events.
    pub complete: bool,
}

/// What an operator did to a parked event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// When.
    pub time: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What, such as `parked redrive`.
    pub verb: String,
    /// Why, in his words.
    pub reason: String,
    /// What the handler said, where it failed again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Operator {
    /// Parked events grouped by consumer, code and type, the largest group first.
    pub async fn parked_groups(&self, selection: &ParkedSelection) -> Result<ParkedGroups, OperateError> {
        let mut groups: BTreeMap<(String, String, String), (ParkedGroup, HashSet<Key>)> = BTreeMap::new();
        let mut query = selection.query(0);
        let mut scanned = 0;
        let complete = loop {
            let page = self.ports.store.parked(&query).await?;
            scanned += page.len();
            let is_last = page.len() < PAGE;
            for parked in page {
                query.after = parked.ordinal;
                if selection.selects(&parked) {
                    count(&mut groups, parked);
                }
            }
            if is_last || scanned >= MAX_SCANNED {
                break is_last;
            }
        };
        let counted = groups.into_values().map(|(group, keys)| ParkedGroup { keys: keys.len() as u64, ..group });
        let mut items: Vec<ParkedGroup> = counted.collect();
        items.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.ordinal.cmp(&b.ordinal)));
        Ok(ParkedGroups { items, complete })
    }

    /// The parked event with this number.
    pub async fn parked_one(&self, ordinal: u64) -> Result<Parked, OperateError> {
        let query = ParkedQuery { after: ordinal.saturating_sub(1), limit: 1, ..Default::default() };
        let found = self.ports.store.parked(&query).await?.pop().filter(|parked| parked.ordinal == ordinal);
        found.ok_or(OperateError::NotParked { ordinal })
    }

    /// What operators did to a parked event so far, oldest first; at most a hundred things.
    pub async fn parked_history(&self, envelope: &Envelope) -> Result<Vec<Tried>, OperateError> {
        let flow = envelope.correlationid.clone().unwrap_or_else(|| envelope.id.clone());
        let names = vec![OPERATOR_ACTED.name().to_owned()];
        let selection = Selection { correlationid: Some(flow), names, limit: MAX_HISTORY, ..Default::default() };
        let acted = self.ports.store.read(&selection).await?;
        Ok(acted.into_iter().filter_map(|recorded| tried(&recorded.envelope, &envelope.id)).collect())
    }
}

fn count(groups: &mut BTreeMap<(String, String, String), (ParkedGroup, HashSet<Key>)>, parked: Parked) {
    let Parked { ordinal, consumer, envelope, code, reason, since, .. } = parked;
    let ty = envelope.ty.to_string();
    let (group, keys) = groups.entry((consumer.clone(), code.clone(), ty.clone())).or_insert_with(|| {
        let group = ParkedGroup { consumer, code, ty, events: 0, keys: 0, first: since, last: since, ordinal, reason };
        (group, HashSet::new())
    });
    group.events += 1;
    group.first = group.first.min(since);
    group.last = group.last.max(since);
    keys.insert(envelope.key);
}

fn tried(acted: &Envelope, event: &str) -> Option<Tried> {
    let data: Value = serde_json::from_slice(acted.data.as_deref()?).ok()?;
    let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned);
    let is_about = |pointer: &str| text(pointer).as_deref() == Some(event);
    if !is_about("/details/event") && !is_about("/details/edited_as") {
        return None;
    }
    Some(Tried {
        time: acted.time,
        actor: text("/actor")?,
        verb: text("/verb")?,
        reason: text("/reason")?,
        error: text("/details/error"),
    })
}
