//! Pages of lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::json::Json;
use super::problem::Problem;

/// How many items a page has when the client does not say.
pub const DEFAULT_PAGE: usize = 50;
/// The most items of one page: keeps an answer within a megabyte or so.
pub const MAX_PAGE: usize = 500;
/// The longest place a cursor may hold, in bytes: the longest document id and then some.
pub const MAX_CURSOR_BYTES: usize = 2_048;

/// One page, in JSON `{"items":[…],"cursor":…}`. `cursor` is the place to go on from, in whatever form the
/// route wants (mostly the id of the last item); it is made opaque on its way out and comes back readable as
/// [`PageQuery::cursor`]. `None`: this was the last page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T: Serialize> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page starts.
    pub cursor: Option<String>,
}

impl<T: Serialize> Page<T> {
    /// A page made from up to `limit + 1` items: the one too many is dropped, and shows that there is a
    /// next page, which starts after the `place` of the last one kept.
    pub fn cut(mut items: Vec<T>, limit: usize, place: impl FnOnce(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let cursor = if more { items.last().map(place) } else { None };
        Self { items, cursor }
    }
}

impl<T: Serialize> Serialize for Page<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut page = serializer.serialize_struct("Page", 2)?;
        page.serialize_field("items", &self.items)?;
        page.serialize_field("cursor", &self.cursor.as_deref().map(seal))?;
        page.end()
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Which page: `?limit=&cursor=`. A limit outside 1 to [`MAX_PAGE`] is 400 `http.invalid_limit`, a cursor
/// that no page gave 400 `http.invalid_cursor`. A cursor is a place, not a promise: given to another list it
/// starts that list there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// How many items at most.
    pub limit: usize,
    /// The place to go on from, as the last page gave it.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Reads the page from a query string, ignoring all else in it.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Raw {
            limit: Option<String>,
            cursor: Option<String>,
        }
        let raw: axum::extract::Query<Raw> = axum::extract::Query::try_from_uri(uri).map_err(Problem::invalid)?;
        let limit = match raw.limit.as_deref() {
            None => DEFAULT_PAGE,
            Some(text) => text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit)).ok_or_else(|| {
                let detail = format!("`limit` must be a number from 1 to {MAX_PAGE}");
                Problem::new(StatusCode::BAD_REQUEST, "http.invalid_limit", detail)
            })?,
        };
        let open_cursor = |text: &str| {
            open(text).ok_or_else(|| {
                let detail = "`cursor` is not one that a page gave; start without one";
                Problem::new(StatusCode::BAD_REQUEST, "http.invalid_cursor", detail)
            })
        };
        Ok(Self { limit, cursor: raw.cursor.as_deref().map(open_cursor).transpose()? })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PageQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

/// Tells a cursor from a text somebody made up or cut off. Not a secret: a forged cursor is only a place.
fn checksum(place: &str) -> [u8; 4] {
    let digest = Sha256::digest(format!("tidewire cursor 1 {place}"));
    [digest[0], digest[1], digest[2], digest[3]]
}

fn seal(place: &str) -> String {
    BASE64.encode([&checksum(place)[..], place.as_bytes()].concat())
}

fn open(cursor: &str) -> Option<String> {
    if cursor.len() > MAX_CURSOR_BYTES * 2 {
        return None;
    }
    let mut bytes = BASE64.decode(cursor).ok()?;
    let place = String::from_utf8(bytes.split_off_checked(4)?).ok()?;
    (bytes == checksum(&place) && place.len() <= MAX_CURSOR_BYTES).then_some(place)
}

/// [`Vec::split_off`] without its panic.
trait SplitOffChecked: Sized {
    fn split_off_checked(&mut self, at: usize) -> Option<Self>;
}

impl SplitOffChecked for Vec<u8> {
    fn split_off_checked(&mut self, at: usize) -> Option<Self> {
        (at <= self.len()).then(|| self.split_off(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<PageQuery, String> {
        PageQuery::of(&format!("/x?{text}").parse().unwrap()).map_err(|problem| problem.code)
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given() {
        for place in ["", "42/7", "ü/\u{10ffff}"] {
            let page = serde_json::to_value(Page { items: vec![1], cursor: Some(place.into()) }).unwrap();
            let cursor = page["cursor"].as_str().unwrap();
            assert_eq!(query(&format!("limit=7&other=1&cursor={cursor}")).unwrap().cursor.as_deref(), Some(place));
        }
    }

    #[test]
    fn the_item_too_many_makes_the_cursor() {
        assert_eq!(Page::cut(vec![1, 2, 3], 2, i32::to_string).cursor.as_deref(), Some("2"));
        assert_eq!(Page::cut(vec![1, 2], 2, i32::to_string).cursor, None);
        assert_eq!(Page::cut(vec![], 2, i32::to_string).cursor, None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(query(""), Ok(PageQuery { limit: DEFAULT_PAGE, cursor: None }));
        for bad in
            ["limit=0", "limit=-1", "limit=501", "limit=1e9", "limit=abc", "limit=", "limit=99999999999999999999"]
        {
            assert_eq!(query(bad), Err("http.invalid_limit".into()), "{bad}");
        }
        let future = seal("x").replace(|c: char| c.is_ascii_lowercase(), "Z");
        for bad in ["cursor=", "cursor=abc", "cursor=%00", "cursor=NDIvNw", &format!("cursor={future}")] {
            assert_eq!(query(bad), Err("http.invalid_cursor".into()), "{bad}");
        }
        assert_eq!(query("limit=1&limit=2"), Err("http.invalid".into()));
    }
}
