//! The HTTP routes of tracking and statistics.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, TimeDelta, Utc};
use events::UserId;
use serde::Deserialize;
use serde_json::{Value, json};
use tidewire::http::{Idempotency, Json, Page, PageQuery, Problem, position_header};
use tidewire::store::DocumentQuery;
use tidewire::{Commit, Committed, Ports, Projection};

use crate::history::{Entry, History, prefix};
use crate::hourly::{self, MAX_HOURS, start_of};
use crate::track;

/// What is told when nobody says from when: a day.
const DEFAULT_HOURS: i64 = 24;

/// What the routes work on.
pub(crate) struct Analytics {
    pub ports: Ports,
}

pub(crate) fn router(analytics: Arc<Analytics>) -> Router {
    Router::new()
        .route("/v1/track", post(track))
        .route("/v1/users/{id}/activity", get(activity))
        .route("/v1/stats/hourly", get(hourly))
        .with_state(analytics)
}

/// 202 `{ids}`: every activity is in the log, or none is.
async fn track(
    State(analytics): State<Arc<Analytics>>,
    idempotency: Idempotency,
    Json(body): Json<Value>,
) -> Result<Response, Problem> {
    let activities = track::read(body)?;
    let (append, ids) = track::appends(&activities, analytics.ports.clock.as_ref())?;
    let body = json!({ "ids": ids });
    let documents = idempotency.record(StatusCode::ACCEPTED, &body);
    match analytics.ports.store.commit(Commit { append, documents, ..Commit::default() }).await? {
        Committed::Applied { last } => Ok((StatusCode::ACCEPTED, [position_header(last)], Json(body)).into_response()),
        // It carries neither marks nor timers.
        Committed::Duplicate => Err(Problem::internal("tracking was taken for a duplicate")),
    }
}

/// What a user did, newest first.
async fn activity(
    State(analytics): State<Arc<Analytics>>,
    Path(id): Path<String>,
    page: PageQuery,
) -> Result<Page<Entry>, Problem> {
    let user = UserId::new(id).map_err(Problem::invalid)?;
    let prefix = prefix(&user);
    let query = DocumentQuery {
        collection: History::COLLECTION.into(),
        after: page.cursor.map(|place| format!("{prefix}{place}")),
        prefix: prefix.clone(),
        backwards: true,
        limit: page.limit + 1,
    };
    let mut rows = analytics.ports.store.list(&query).await?;
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let cursor = rows.last().filter(|_| more).map(|row| row.id[prefix.len()..].to_owned());
    let entry = |row: tidewire::Document| serde_json::from_slice(&row.value).map_err(Problem::internal);
    Ok(Page { items: rows.into_iter().map(entry).collect::<Result<_, _>>()?, cursor })
}

#[derive(Deserialize)]
struct Range {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    #[serde(rename = "type")]
    ty: Option<String>,
}

/// How often each type happened in each hour from `from` (by default a day before `to`) up to and without `to`
/// (by default the end of the current hour). Hours without an event are left out.
async fn hourly(
    State(analytics): State<Arc<Analytics>>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let wrong =
        |_| Problem::invalid("`from` and `to` must be times such as `2026-11-20T13:00:00Z` (a `+` is written `%2B`)");
    let Query(Range { from, to, ty }) = range.map_err(wrong)?;
    let (from, to) = hours(from, to, analytics.ports.clock.now())?;
    if let Some(ty) = &ty
        && events::entry(ty).is_none()
    {
        return Err(Problem::invalid("`type` must be the name of an event, such as `user.followed`"));
    }
    let counts = hourly::counts(analytics.ports.store.as_ref(), from, to, ty.as_deref()).await?;
    let totals = hourly::totals(&counts);
    Ok(Json(json!({ "from": from, "to": to, "items": counts, "totals": totals })))
}

/// The whole hours that were asked for.
fn hours(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
    let wrong = || Problem::invalid(format!("`from` must be before `to`, by at most {MAX_HOURS} hours"));
    let last = to.unwrap_or(now);
    // The hour that has begun belongs to the answer.
    let mut end = start_of(last);
    if end < last {
        end = end.checked_add_signed(TimeDelta::hours(1)).ok_or_else(wrong)?;
    }
    let start = match from {
        Some(from) => start_of(from),
        None => end.checked_sub_signed(TimeDelta::hours(DEFAULT_HOURS)).ok_or_else(wrong)?,
    };
    let length = (end - start).num_hours();
    if (1..=MAX_HOURS).contains(&length) { Ok((start, end)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_hours() {
        let at = |text: &str| -> Option<DateTime<Utc>> { Some(text.parse().unwrap()) };
        let now = at("2026-11-20T13:14:15Z").unwrap();
        let told = |from, to| hours(from, to, now).map(|(from, to)| (from.to_rfc3339(), to.to_rfc3339()));
        let expect = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        assert_eq!(told(None, None), expect("2026-11-19T14:00:00+00:00", "2026-11-20T14:00:00+00:00"));
        assert_eq!(
            told(at("2026-11-20T12:30:00Z"), at("2026-11-20T12:45:00Z")),
            expect("2026-11-20T12:00:00+00:00", "2026-11-20T13:00:00+00:00")
        );
        assert_eq!(
            told(at("2026-11-20T12:00:00Z"), at("2026-11-20T13:00:00Z")),
            expect("2026-11-20T12:00:00+00:00", "2026-11-20T13:00:00+00:00")
        );
        for (from, to) in [
            (at("2026-11-20T13:00:00Z"), at("2026-11-20T12:00:00Z")),
            (at("2026-11-20T13:00:00Z"), at("2026-11-20T13:00:00Z")),
            (at("2026-01-01T00:00:00Z"), None),
            (Some(DateTime::<Utc>::MIN_UTC), Some(DateTime::<Utc>::MAX_UTC)),
            (None, Some(DateTime::<Utc>::MIN_UTC)),
        ] {
            assert!(told(from, to).is_err(), "{from:?} {to:?}");
        }
    }
}
