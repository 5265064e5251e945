//! Rows of the old system, one after the other.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use serde_json::{Map, Number, Value};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, Connection, PgConnection, Row as _, SqliteConnection, TypeInfo as _, ValueRef as _,
};
use tokio::sync::mpsc;

use super::mapping::Mapping;
use crate::failure::Failure;

/// A row: columns by name.
pub type Row = Map<String, Value>;

/// Rows read ahead of what becomes of them.
const AHEAD: usize = 1_000;
/// How long the old system may take to let us in.
const CONNECT: Duration = Duration::from_secs(10);

/// The rows of a mapping's source, in their order, each with its place in it.
pub struct Rows {
    receiver: mpsc::Receiver<Result<(Value, Row), Failure>>,
    /// How many there are in all, where that can be known.
    pub total: Option<u64>,
}

impl Rows {
    /// Opens the source and begins to read after a place (null: from the beginning). Nothing is written there: databases
    /// are read in one transaction that may not write.
    pub async fn open(mapping: &Mapping, after: &Value) -> Result<Self, Failure> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let shown = mapping.shown();
        let failed = move |error: sqlx::Error| super::source(format!("{shown}: {error}"));
        let total = match mapping.from.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Some(postgres(mapping, after, sender, failed).await?),
            Some(("sqlite", path)) => {
                Some(sqlite(Path::new(path.trim_start_matches("//")), mapping, after, sender, failed).await?)
            }
            Some(("csv", path)) => csv(Path::new(path), after, sender)?,
            _ => {
                return Err(super::mapping(format!(
                    "from = \"{}\": expected postgres://…, sqlite:FILE or csv:FILE",
                    mapping.shown()
                )));
            }
        };
        Ok(Self { receiver, total })
    }

    /// The next row, and its place; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<(Value, Row), Failure>> {
        self.receiver.recv().await
    }
}

type Sender = mpsc::Sender<Result<(Value, Row), Failure>>;

/// The query as a table, and the column that orders it. The query is the operator's own, run with his own rights.
fn asked(mapping: &Mapping) -> (&str, &str) {
    let query = mapping.query.as_deref().unwrap_or_default();
    (query.trim().trim_end_matches(';'), mapping.order.as_deref().unwrap_or_default())
}

async fn postgres(
    mapping: &Mapping,
    after: &Value,
    sender: Sender,
    failed: impl Fn(sqlx::Error) -> Failure + Send + 'static,
) -> Result<u64, Failure> {
    let (query, order) = asked(mapping);
    let connecting = tokio::time::timeout(CONNECT, PgConnection::connect(&mapping.from)).await;
    let mut link =
        connecting.map_err(|_| super::source(format!("{} does not answer", mapping.shown())))?.map_err(&failed)?;
    sqlx::raw_sql("begin transaction isolation level repeatable read, read only")
        .execute(&mut link)
        .await
        .map_err(&failed)?;
    let count = format!("select count(*) from ({query}) as legacy");
    let total: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut link).await.map_err(&failed)?;
    // Compared as JSON: the same order for numbers, texts and times, without knowing which it is.
    let select = format!(
        "select to_jsonb(legacy) from ({query}) as legacy where $1::jsonb is null or to_jsonb(legacy.\"{order}\") > $1::jsonb \
         order by to_jsonb(legacy.\"{order}\")"
    );
    let (order, after) = (order.to_owned(), (!after.is_null()).then(|| after.clone()));
    tokio::spawn(async move {
        let mut rows = sqlx::query_scalar::<_, Value>(AssertSqlSafe(select)).bind(after).fetch(&mut link);
        loop {
            let next = match rows.try_next().await {
                Ok(None) => return,
                Ok(Some(Value::Object(row))) => placed(row, &order),
                Ok(Some(other)) => Err(super::source(format!("a row is no object: {other}"))),
                Err(error) => Err(failed(error)),
            };
            if !passed_on(&sender, next).await {
                return;
            }
        }
    });
    Ok(u64::try_from(total).unwrap_or_default())
}

async fn sqlite(
    path: &Path,
    mapping: &Mapping,
    after: &Value,
    sender: Sender,
    failed: impl Fn(sqlx::Error) -> Failure + Send + 'static,
) -> Result<u64, Failure> {
    let (query, order) = asked(mapping);
    let options = SqliteConnectOptions::new().filename(path).read_only(true).create_if_missing(false);
    let mut link = SqliteConnection::connect_with(&options).await.map_err(&failed)?;
    let count = format!("select count(*) from ({query}) as legacy");
    let total: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut link).await.map_err(&failed)?;
    let place = if after.is_null() { "1".to_owned() } else { format!("\"{order}\" > ?1") };
    let select = format!("select * from ({query}) as legacy where {place} order by \"{order}\"");
    let (order, after) = (order.to_owned(), after.clone());
    tokio::spawn(async move {
        let asked = sqlx::query(AssertSqlSafe(select));
        let asked = match &after {
            Value::Null => asked,
            Value::Number(number) if number.is_i64() => asked.bind(number.as_i64()),
            Value::Number(number) => asked.bind(number.as_f64()),
            other => asked.bind(other.as_str().map(str::to_owned)),
        };
        let mut rows = asked.fetch(&mut link);
        loop {
            let next = match rows.try_next().await {
                Ok(None) => return,
                Ok(Some(row)) => as_json(&row).map_err(&failed).and_then(|row| placed(row, &order)),
                Err(error) => Err(failed(error)),
            };
            if !passed_on(&sender, next).await {
                return;
            }
        }
    });
    Ok(u64::try_from(total).unwrap_or_default())
}

/// By what is stored, not by what is declared: SQLite takes anything anywhere. Bytes that are no text become base64.
fn as_json(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let mut object = Row::new();
    for column in row.columns() {
        let at = column.ordinal();
        let raw = row.try_get_raw(at)?;
        let value = match raw.type_info().name() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(at)?.into(),
            "REAL" => Number::from_f64(row.try_get_unchecked::<f64, _>(at)?).map_or(Value::Null, Value::Number),
            "BLOB" => {
                let bytes = row.try_get_unchecked::<Vec<u8>, _>(at)?;
                String::from_utf8(bytes).unwrap_or_else(|error| base64(error.as_bytes())).into()
            }
            _ => row.try_get_unchecked::<String, _>(at)?.into(),
        };
        object.insert(column.name().to_owned(), value);
    }
    Ok(object)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn placed(row: Row, order: &str) -> Result<(Value, Row), Failure> {
    match row.get(order) {
        Some(Value::Null) => {
            Err(super::source(format!("a row has nothing in `{order}`, so it has no place among the others")))
        }
        Some(place) => Ok((place.clone(), row)),
        None => Err(super::mapping(format!("order = \"{order}\": the query has no such column"))),
    }
}

/// Whether somebody still wants rows. After an error there are none.
async fn passed_on(sender: &Sender, next: Result<(Value, Row), Failure>) -> bool {
    let is_last = next.is_err();
    sender.send(next).await.is_ok() && !is_last
}

/// Rows of a file have their number as their place.
fn csv(path: &Path, after: &Value, sender: Sender) -> Result<Option<u64>, Failure> {
    let failed = |error: csv::Error| super::source(error.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .from_path(path)
        .map_err(|error| super::source(format!("{}: {error}", path.display())))?;
    let headers = reader.headers().map_err(failed)?.clone();
    let done = after.as_u64().unwrap_or_default();
    tokio::task::spawn_blocking(move || {
        for (at, record) in reader.into_records().enumerate() {
            let number = at as u64 + 1;
            if number <= done {
                continue;
            }
            let next = match record {
                Ok(record) => {
                    let row = headers.iter().zip(record.iter());
                    // An empty field is nothing: files have no other way to say so.
                    let value = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
                    Ok((number.into(), row.map(|(name, text)| (name.to_owned(), value(text))).collect()))
                }
                Err(error) => Err(failed(error)),
            };
            let is_last = next.is_err();
            if sender.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    Ok(None)
}
