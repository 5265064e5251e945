//! The log as a list, and one event of it.

use axum::extract::{Path, Query, State};
use axum::http::{Extensions, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidewire::http::{Page, PageQuery, Problem, position_header};
use tidewire::identity::Operation;
use tidewire::store::Selection;
use tidewire::{Position, Recorded, Store};

use crate::auth;

use super::filter::Filter;
use super::{Events, Shown};

/// A page ends early once its events take so many bytes.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// Events read at once: what a page may exceed its bytes by is less than this many events.
const CHUNK: usize = 25;
/// Events read at once where a filter may leave few of them.
const FILTERED_CHUNK: usize = 250;
/// Events a filter is tried on for one page: a filter that matches little must not hold a request for minutes.
const MAX_LOOKED_AT: usize = 20_000;
/// Events looked at under one id.
const MAX_SAME_ID: usize = 100;

#[derive(Deserialize)]
pub(super) struct Order {
    order: Option<String>,
}

/// `GET /v1/events`: events by position, oldest first or, with `order=newest`, newest first.
pub(super) async fn list(
    State(events): State<Events>,
    Query(order): Query<Order>,
    page: PageQuery,
    extensions: Extensions,
    uri: Uri,
) -> Result<Page<Shown>, Problem> {
    let backwards = match order.order.as_deref() {
        None | Some("oldest") => false,
        Some("newest") => true,
        Some(_) => return Err(Problem::invalid("`order` is `oldest` or `newest`")),
    };
    let filter = Filter::of(&uri, &auth::caller(&extensions), &events.contracts)?;
    let place = Place { backwards, filter: filter.canonical() };
    let mut selection = Selection { backwards, ..filter.selection() };
    if let Some(cursor) = &page.cursor {
        place.resume(&mut selection, cursor)?;
    }
    let (found, more) = read_page(events.ports.store.as_ref(), selection, &filter, page.limit).await?;
    let cursor = more.map(|last| place.after(last));
    Ok(Page { items: found.into_iter().map(Shown::from).collect(), cursor })
}

/// Reads up to `limit` events or [`MAX_PAGE_BYTES`]; whether there are more is found out, not guessed. With a filter
/// a page may also be short, or empty, and still have a successor: after [`MAX_LOOKED_AT`] events. Returns where to go
/// on, if there may be more.
async fn read_page(
    store: &dyn Store,
    mut selection: Selection,
    filter: &Filter,
    limit: usize,
) -> Result<(Vec<Recorded>, Option<Position>), Problem> {
    let (mut page, mut bytes, mut looked_at, mut last) = (Vec::new(), 0, 0, None);
    let is_filtered = filter.is_picky();
    loop {
        selection.limit = if is_filtered { FILTERED_CHUNK } else { CHUNK.min(limit + 1 - page.len()) };
        let chunk = store.read(&selection).await?;
        let is_last = chunk.len() < selection.limit;
        for recorded in chunk {
            if page.len() == limit || bytes > MAX_PAGE_BYTES || looked_at == MAX_LOOKED_AT {
                return Ok((page, last));
            }
            looked_at += usize::from(is_filtered);
            beyond(&mut selection, recorded.position);
            last = Some(recorded.position);
            if filter.wants(&recorded.envelope) {
                bytes += recorded.envelope.size();
                page.push(recorded);
            }
        }
        if is_last {
            return Ok((page, None));
        }
    }
}

/// Goes on past `position`, in the direction of the selection.
fn beyond(selection: &mut Selection, position: Position) {
    if selection.backwards {
        selection.until = Some(Position(position.0.saturating_sub(1)));
    } else {
        selection.after = position;
    }
}

/// Where a list goes on; only ever the list it came from.
struct Place {
    backwards: bool,
    filter: String,
}

impl Place {
    fn after(&self, position: Position) -> String {
        format!("{position} {} {}", if self.backwards { "newest" } else { "oldest" }, self.filter)
    }

    fn resume(&self, selection: &mut Selection, cursor: &str) -> Result<(), Problem> {
        let position = cursor.split(' ').next().and_then(|number| number.parse().ok()).map(Position);
        match position.filter(|position| self.after(*position) == cursor) {
            Some(position) => {
                beyond(selection, position);
                Ok(())
            }
            None => {
                let detail = "the cursor is of another list; go on with the same order and filters";
                Err(Problem::new(StatusCode::BAD_REQUEST, "http.invalid_cursor", detail))
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Source {
    source: Option<String>,
}

/// `GET /v1/events/{id}`: one event as a CloudEvent in JSON. Ids are unique per source: where two share one,
/// `?source=` tells them apart, and without it the older one is shown.
pub(super) async fn show(
    State(events): State<Events>,
    Path(id): Path<String>,
    Query(query): Query<Source>,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let recorded = find(events.ports.store.as_ref(), &id, query.source.as_deref()).await?;
    may_see(&recorded, &extensions)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json")),
        position_header(recorded.position),
    ];
    Ok((headers, recorded.envelope.to_json()).into_response())
}

/// Whether whoever asks may see events of this type.
pub(super) fn may_see(recorded: &Recorded, extensions: &Extensions) -> Result<(), Problem> {
    let name = recorded.envelope.ty.name();
    match auth::caller(extensions).scopes.allow(Operation::Events, Some(name)) {
        true => Ok(()),
        false => Err(auth::forbidden(&format!("events:{name}"))),
    }
}

/// The event with this id: 404 `http.not_found` without one.
pub(super) async fn find(store: &dyn Store, id: &str, source: Option<&str>) -> Result<Recorded, Problem> {
    let selection = Selection { id: Some(id.to_owned()), limit: MAX_SAME_ID, ..Default::default() };
    let found = store.read(&selection).await?;
    let mut found = found.into_iter().filter(|recorded| source.is_none_or(|source| recorded.envelope.source == source));
    found.next().ok_or_else(|| {
        let shown: String = id.chars().take(80).flat_map(char::escape_default).collect();
        Problem::not_found(format!("there is no event with the id `{shown}`"))
    })
}
