//! The mapping file: where the old system is, and what its rows mean.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tidewire::EventType;
use tidewire::config::redact_url;
use uuid::Uuid;

use super::rows::Row;
use super::template::Template;
use crate::failure::Failure;
use crate::session::Session;

/// The largest mapping file, in bytes: a page or two of text.
const MAX_BYTES: u64 = 1 << 20;

/// A mapping file, read and checked.
pub struct Mapping {
    /// The file.
    pub path: PathBuf,
    /// Digest of everything that decides which events come of which rows.
    pub digest: String,
    /// `postgres://…`, `sqlite:FILE` or `csv:FILE`.
    pub from: String,
    /// What to ask a database.
    pub query: Option<String>,
    /// The column that orders the rows of a database.
    pub order: Option<String>,
    /// What a row becomes.
    events: Vec<EventMapping>,
    source: String,
    /// What a row is compared with.
    pub verify: Option<Verify>,
}

struct EventMapping {
    ty: EventType,
    id: Template,
    key: Option<Template>,
    time: Option<Template>,
    when: Option<Template>,
    data: Template,
}

/// What a row is compared with.
pub struct Verify {
    /// The collection of a projection.
    pub collection: String,
    id: Template,
    row: Template,
    /// The members that are compared.
    pub members: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    from: Option<String>,
    query: Option<String>,
    order: Option<String>,
    source: Option<String>,
    #[serde(default)]
    event: Vec<EventTable>,
    verify: Option<VerifyTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventTable {
    #[serde(rename = "type")]
    ty: String,
    id: String,
    key: Option<String>,
    time: Option<String>,
    when: Option<String>,
    data: toml::Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyTable {
    collection: String,
    id: String,
    row: toml::Table,
}

impl Mapping {
    /// Reads the file. TIDEWIRE_LEGACY_URL, or the file that TIDEWIRE_LEGACY_URL_FILE names, says where the old system is
    /// instead of `from`, so that no password need be in it.
    pub fn read(path: &Path, session: &Session) -> Result<Self, Failure> {
        let bad = |why: String| super::mapping(format!("{}: {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
        if size > MAX_BYTES {
            return Err(bad(format!("{size} bytes are more than a mapping has; the limit is {MAX_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let file: File = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let from = address(&file, session)?.ok_or_else(|| {
            bad("it does not say `from`: \"postgres://…\", \"sqlite:FILE\" or \"csv:FILE\"; or set TIDEWIRE_LEGACY_URL".into())
        })?;
        let is_csv = from.starts_with("csv:");
        if !is_csv && (file.query.is_none() || file.order.is_none()) {
            return Err(bad("a database needs `query` and `order`, the column by which its rows are read".into()));
        }
        if let Some(order) = &file.order
            && !is_column(order)
        {
            return Err(bad(format!("order = \"{order}\": expected the name of one column")));
        }
        let events = file
            .event
            .into_iter()
            .enumerate()
            .map(|(at, table)| table.checked().map_err(|why| bad(format!("event {}: {why}", at + 1))));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        if !events.is_empty() && file.source.is_none() {
            return Err(bad(
                "it does not say `source`, the CloudEvents source of the imported events, such as \"/legacy\"".into(),
            ));
        }
        let verify = file.verify.map(VerifyTable::checked).transpose().map_err(|why| bad(format!("verify: {why}")))?;
        // Where the old system is may change; what its rows mean may not.
        let decides = json!([
            file.query,
            file.order,
            toml::from_str::<Value>(&text).ok().map(|value| value["event"].clone()),
            file.source
        ]);
        Ok(Self {
            path: path.to_owned(),
            digest: Uuid::new_v5(&Uuid::NAMESPACE_OID, decides.to_string().as_bytes()).to_string(),
            from,
            query: file.query,
            order: file.order,
            events,
            source: file.source.unwrap_or_default(),
            verify,
        })
    }

    /// Where the old system is, without a password.
    pub fn shown(&self) -> String {
        redact_url(&self.from)
    }

    /// Whether rows become events.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The events of a row. The same row has the same events, with the same ids, whenever it is imported.
    pub fn events(&self, row: &Row) -> Result<Vec<Value>, String> {
        let mut events = Vec::with_capacity(self.events.len());
        for mapping in &self.events {
            if let Some(event) = mapping.event(row, &self.source).map_err(|why| format!("{}: {why}", mapping.ty))? {
                events.push(event);
            }
        }
        Ok(events)
    }
}

fn address(file: &File, session: &Session) -> Result<Option<String>, Failure> {
    if let Some(url) = session.env.non_empty("TIDEWIRE_LEGACY_URL") {
        return Ok(Some(url.to_owned()));
    }
    if let Some(path) = session.env.non_empty("TIDEWIRE_LEGACY_URL_FILE") {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| super::mapping(format!("TIDEWIRE_LEGACY_URL_FILE {path}: {error}")))?;
        return Ok(Some(text.trim().to_owned()));
    }
    Ok(file.from.clone())
}

/// Names that need no thought about quoting.
fn is_column(name: &str) -> bool {
    !name.is_empty() && name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl EventTable {
    fn checked(self) -> Result<EventMapping, String> {
        let text = |name: &str, text: Option<String>| {
            text.map(|text| Template::text(&text).map_err(|why| format!("{name}: {why}"))).transpose()
        };
        Ok(EventMapping {
            ty: self.ty.parse().map_err(|error| format!("type: {error}"))?,
            id: Template::text(&self.id).map_err(|why| format!("id: {why}"))?,
            key: text("key", self.key)?,
            time: text("time", self.time)?,
            when: text("when", self.when)?,
            data: Template::of(&self.data).map_err(|why| format!("data: {why}"))?,
        })
    }
}

impl EventMapping {
    /// `None`: the row has nothing where `when` looks.
    fn event(&self, row: &Row, source: &str) -> Result<Option<Value>, String> {
        if let Some(when) = &self.when
            && matches!(when.fill(row)?, Value::Null | Value::Bool(false))
        {
            return Ok(None);
        }
        let of_row = self.id.fill_text(row).map_err(|why| format!("id: {why}"))?;
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{source} {} {of_row}", self.ty).as_bytes());
        let mut event = Map::new();
        event.insert("specversion".into(), "1.0".into());
        event.insert("id".into(), id.to_string().into());
        event.insert("source".into(), source.into());
        event.insert("type".into(), self.ty.to_string().into());
        if let Some(key) = &self.key {
            event.insert("partitionkey".into(), key.fill_text(row).map_err(|why| format!("key: {why}"))?.into());
        }
        if let Some(time) = &self.time {
            event.insert("time".into(), rfc3339(&time.fill_text(row).map_err(|why| format!("time: {why}"))?).into());
        }
        event.insert("data".into(), self.data.fill(row).map_err(|why| format!("data: {why}"))?);
        Ok(Some(event.into()))
    }
}

/// Databases write times with a blank, and without a zone where they mean UTC.
fn rfc3339(text: &str) -> String {
    let time = text.trim().replacen(' ', "T", 1);
    let has_zone = time.ends_with(['Z', 'z']) || time.get(11..).is_some_and(|clock| clock.contains(['+', '-']));
    match time.len() {
        10 => format!("{time}T00:00:00Z"),
        _ if has_zone => time,
        _ => format!("{time}Z"),
    }
}

impl VerifyTable {
    fn checked(self) -> Result<Verify, String> {
        if self.row.is_empty() {
            return Err("row: it names no member to compare".into());
        }
        Ok(Verify {
            collection: self.collection,
            id: Template::text(&self.id).map_err(|why| format!("id: {why}"))?,
            members: self.row.keys().cloned().collect(),
            row: Template::of(&toml::Value::Table(self.row)).map_err(|why| format!("row: {why}"))?,
        })
    }
}

impl Verify {
    /// The row of the projection that a row of the old system should have become.
    pub fn expected(&self, row: &Row) -> Result<(String, Value), String> {
        Ok((self.id.fill_text(row).map_err(|why| format!("id: {why}"))?, self.row.fill(row)?))
    }

    /// Of a projection's row what is compared.
    pub fn compared(&self, row: &Value) -> Value {
        let member = |name: &String| Some((name.clone(), row.get(name).filter(|value| !value.is_null())?.clone()));
        Value::Object(self.members.iter().filter_map(member).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_databases_are_times_of_events() {
        for (text, expected) in [
            ("2026-11-20 10:00:00", "2026-11-20T10:00:00Z"),
            ("2026-11-20 10:00:00.5+02:00", "2026-11-20T10:00:00.5+02:00"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(text), expected);
        }
    }

    #[test]
    fn the_same_row_is_the_same_event() {
        let table: EventTable = toml::from_str(
            "type = 'user.registered.v1'\nid = 'users/{id}'\nkey = 'user/{id}'\nwhen = '{email}'\n[data]\nuser_id = '{id:text}'\n",
        )
        .unwrap();
        let mapping = table.checked().unwrap();
        let row = |email: Value| json!({"id": 7, "email": email}).as_object().cloned().unwrap();
        let event = mapping.event(&row("a@b".into()), "/legacy").unwrap().unwrap();
        assert_eq!(event, mapping.event(&row("other@b".into()), "/legacy").unwrap().unwrap());
        assert_eq!((&event["partitionkey"], &event["data"]["user_id"]), (&json!("user/7"), &json!("7")));
        assert_ne!(event["id"], mapping.event(&row("a@b".into()), "/elsewhere").unwrap().unwrap()["id"]);
        assert_eq!(mapping.event(&row(Value::Null), "/legacy"), Ok(None));
    }
}
