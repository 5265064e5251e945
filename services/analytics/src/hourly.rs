//! `analytics.hourly`: how often each type of event happened in each hour.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Serialize};
use tidewire::handler::{Consumer, Kind, Run};
use tidewire::store::DocumentQuery;
use tidewire::{Context, Envelope, Handler, HandlerError, Store, StoreError, async_trait};

/// The collection of counts: `<hour>/<type>`, such as `2026-11-20T13:00:00Z/user.followed`.
pub const HOURLY: &str = "hourly";
/// The longest stretch that is told at once, in hours: a month.
pub const MAX_HOURS: i64 = 31 * 24;
/// Counts read from the store at once.
const PAGE: usize = 1_000;

/// Counts every type of the catalogue. A whole batch is one commit, so an hour's row is written once for
/// thousands of events, and a count goes up with the inbox mark of the event it counts, or not at all.
pub struct Hourly;

/// One count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub count: u64,
}

/// The hour an event counts for: when the log took it. Emitters' clocks may be anywhere.
fn hour_of(envelope: &Envelope) -> DateTime<Utc> {
    start_of(envelope.recordedtime.unwrap_or(envelope.time))
}

/// The hour `time` is in.
pub(crate) fn start_of(time: DateTime<Utc>) -> DateTime<Utc> {
    let into = TimeDelta::new(i64::from(time.num_seconds_from_midnight() % 3_600), time.nanosecond() % 1_000_000_000);
    into.and_then(|into| time.checked_sub_signed(into)).unwrap_or(time)
}

fn name_of(hour: DateTime<Utc>) -> String {
    hour.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn row_id(envelope: &Envelope) -> String {
    format!("{}/{}", name_of(hour_of(envelope)), envelope.ty.name())
}

#[async_trait]
impl Handler for Hourly {
    fn consumer(&self) -> Consumer {
        let types: Vec<_> = events::catalogue().iter().map(|entry| entry.ty.clone()).collect();
        let names: Vec<_> = types.iter().map(|ty| ty.name().to_owned()).collect();
        let consumer = Consumer::new("analytics.hourly", types).keeping([HOURLY]);
        // It counts, whatever the data says.
        let consumer = names.iter().fold(consumer, |consumer, name| consumer.looking_at(name, [""; 0]));
        Consumer { kind: Kind::Projection, run: Run::Batch, ..consumer }
    }

    async fn prepare(&self, events: &[&Envelope], cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let mut ids: Vec<String> = events.iter().map(|envelope| row_id(envelope)).collect();
        ids.sort_unstable();
        ids.dedup();
        cx.prefetch(HOURLY, &ids).await
    }

    async fn handle(&self, envelope: &Envelope, cx: &mut Context<'_>) -> Result<(), HandlerError> {
        let id = row_id(envelope);
        let before: Count = cx.get(HOURLY, &id).await?.unwrap_or_default();
        cx.put(HOURLY, &id, &Count { count: before.count + 1 })
    }
}

/// The counts of one type in one hour, as they are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct HourCount {
    pub hour: String,
    #[serde(rename = "type")]
    pub ty: String,
    pub count: u64,
}

/// The counts of the hours from `from` up to and without `to`, by hour and type; of one type if asked for.
pub(crate) async fn counts(
    store: &dyn Store,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    ty: Option<&str>,
) -> Result<Vec<HourCount>, StoreError> {
    let (mut after, end) = (name_of(from), name_of(to));
    let mut counts = Vec::new();
    loop {
        let query = DocumentQuery {
            collection: HOURLY.into(),
            after: Some(after.clone()),
            limit: PAGE,
            ..DocumentQuery::default()
        };
        let page = store.list(&query).await?;
        let last_page = page.len() < PAGE;
        for document in page {
            // `<hour>/…` sorts after `<hour>`, so the scan begins with the first hour and ends with the last.
            if document.id >= end {
                return Ok(counts);
            }
            if let Some((hour, name)) = document.id.split_once('/')
                && ty.is_none_or(|ty| ty == name)
            {
                let Count { count } = serde_json::from_slice(&document.value)
                    .map_err(|error| StoreError::Corrupt(format!("document `{HOURLY}/{}`: {error}", document.id)))?;
                counts.push(HourCount { hour: hour.to_owned(), ty: name.to_owned(), count });
            }
            after = document.id;
        }
        if last_page {
            return Ok(counts);
        }
    }
}

/// The sums by type.
pub(crate) fn totals(counts: &[HourCount]) -> BTreeMap<&str, u64> {
    let mut totals = BTreeMap::new();
    for count in counts {
        *totals.entry(count.ty.as_str()).or_default() += count.count;
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_starts_on_the_hour() {
        for (time, hour) in [
            ("2026-11-20T13:59:59.999999999Z", "2026-11-20T13:00:00Z"),
            ("2026-11-20T13:00:00Z", "2026-11-20T13:00:00Z"),
            ("2026-11-20T01:30:00+02:30", "2026-11-19T23:00:00Z"),
        ] {
            let time: DateTime<Utc> = time.parse().unwrap();
            assert_eq!(name_of(start_of(time)), hour);
        }
    }

    #[test]
    fn every_type_of_the_catalogue_is_counted() {
        assert_eq!(Hourly.consumer().types.len(), events::catalogue().len());
    }
}
