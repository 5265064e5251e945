//! Reading the log from the file.
//!
//! `limit +?`: a bare `limit ?` is planned for its value, and so SQLite prepares the statement anew each time it runs.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use tidewire_core::bytes::Bytes;
use tidewire_core::{BrokerError, Envelope};

use super::error::from_sqlx;
use super::scheduler::{Fetch, Filter, Read};
use crate::wire::{self, Mark};

/// How many rows one read passes over at most: no read may hold up the checkpoint for long.
const MAX_SPAN: u64 = 8_192;
/// How many bytes one read collects at most, above one entry.
const MAX_BYTES: usize = 4 << 20;

/// An entry as it is in the file.
pub(super) struct Stored {
    pub seq: u64,
    pub name: i64,
    pub bytes: usize,
    pub envelope: Result<Arc<Envelope>, String>,
}

/// Reads what a group asked for. Returns the entries and how far they reach.
pub(super) async fn fetch(pool: &SqlitePool, fetch: &Fetch, head: u64) -> Result<(u64, Vec<Read>), BrokerError> {
    let (upto, stored) = match fetch {
        Fetch::These(these) => these_entries(pool, these).await?,
        Fetch::After { cursor, limit, filter } => after(pool, *cursor, head, *limit, filter).await?,
    };
    let read = |Stored { seq, name, bytes, envelope }| Read { seq, name, bytes, envelope };
    Ok((upto, stored.into_iter().map(read).collect()))
}

async fn these_entries(pool: &SqlitePool, these: &[u64]) -> Result<(u64, Vec<Stored>), BrokerError> {
    let query = sqlx::query(
        "select seq, name, mark, crc, envelope from entry
         where seq in (select value from json_each(?)) order by seq",
    );
    let (full, stored) = collect(pool, query.bind(json(these)), usize::MAX).await?;
    let last = stored.last().map_or(0, |stored| stored.seq);
    Ok((if full { last } else { u64::MAX }, stored))
}

/// Up to `limit` entries in (`cursor`, `head`] that pass the filter.
pub(super) async fn after(
    pool: &SqlitePool,
    cursor: u64,
    head: u64,
    limit: usize,
    filter: &Filter,
) -> Result<(u64, Vec<Stored>), BrokerError> {
    // Where the oldest entries are gone already, the span begins with the first one left.
    let first: Option<i64> = sqlx::query("select min(seq) from entry where seq > ?")
        .bind(cursor as i64)
        .fetch_one(pool)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(from_sqlx)?;
    let Some(first) = first else { return Ok((head, Vec::new())) };
    let end = head.min(first as u64 + MAX_SPAN);
    let (full, stored) = match filter {
        Filter::All => {
            let query = sqlx::query(
                "select seq, name, mark, crc, envelope from entry
                 where seq > ? and seq <= ? order by seq limit +?",
            );
            collect(pool, query.bind(cursor as i64).bind(end as i64).bind(limit as i64), limit).await?
        }
        Filter::Names(names) => {
            let query = sqlx::query(
                "select seq, name, mark, crc, envelope from entry
                 where seq > ? and seq <= ? and name in (select value from json_each(?)) order by seq limit +?",
            );
            let query = query.bind(cursor as i64).bind(end as i64).bind(json(names)).bind(limit as i64);
            collect(pool, query, limit).await?
        }
    };
    let upto = stored.last().filter(|_| full).map_or(end, |stored| stored.seq);
    Ok((upto, stored))
}

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// The rows, and whether there may be more of them.
async fn collect(pool: &SqlitePool, query: Query, limit: usize) -> Result<(bool, Vec<Stored>), BrokerError> {
    let mut rows = query.fetch(pool);
    let (mut stored, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(from_sqlx)? {
        let entry = entry(&row).map_err(from_sqlx)?;
        bytes += entry.bytes;
        stored.push(entry);
        if stored.len() >= limit || bytes >= MAX_BYTES {
            return Ok((true, stored));
        }
    }
    Ok((false, stored))
}

fn entry(row: &SqliteRow) -> Result<Stored, sqlx::Error> {
    let seq: i64 = row.try_get(0)?;
    let name: i64 = row.try_get(1)?;
    let mark: &[u8] = row.try_get(2)?;
    let crc: i64 = row.try_get(3)?;
    let json: &[u8] = row.try_get(4)?;
    let envelope = match Mark::try_from(mark) {
        Ok(mark) if i64::from(wire::checksum(json, &mark)) == crc => envelope(json).map(Arc::new),
        _ => Err("its checksum does not match its bytes".to_owned()),
    };
    Ok(Stored { seq: seq as u64, name, bytes: json.len(), envelope })
}

/// Reads what [`wire::encode`] wrote. Its data comes last, and is most of it: it is cut off rather than looked
/// through for its end. Nothing before it can look like its name, since a quote within a text is escaped.
fn envelope(json: &[u8]) -> Result<Envelope, String> {
    const DATA: &[u8] = b",\"data\":";
    let starts = |at: &usize| json[*at..].starts_with(DATA);
    let commas = json.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(at, _)| at);
    let (Some(at), Some(b'}')) = (commas.into_iter().find(starts), json.last()) else { return wire::decode(json) };
    let mut head = Vec::with_capacity(at + 1);
    head.extend_from_slice(&json[..at]);
    head.push(b'}');
    let envelope = wire::decode(&head)?;
    let data = Bytes::copy_from_slice(&json[at + DATA.len()..json.len() - 1]);
    Ok(Envelope { data: Some(data), ..envelope })
}

/// How many entries after `cursor` pass the filter.
pub(super) async fn count(
    connection: &mut sqlx::SqliteConnection,
    cursor: u64,
    filter: &Filter,
) -> Result<u64, BrokerError> {
    let row = match filter {
        Filter::All => {
            sqlx::query("select count(*) from entry where seq > ?").bind(cursor as i64).fetch_one(connection).await
        }
        Filter::Names(names) => {
            sqlx::query("select count(*) from entry where seq > ? and name in (select value from json_each(?))")
                .bind(cursor as i64)
                .bind(json(names))
                .fetch_one(connection)
                .await
        }
    };
    let count: i64 = row.and_then(|row| row.try_get(0)).map_err(from_sqlx)?;
    Ok(count.max(0) as u64)
}

/// The first `limit` entries after `cursor` that pass the filter.
pub(super) async fn first_after(
    connection: &mut sqlx::SqliteConnection,
    cursor: u64,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<u64>, BrokerError> {
    let limit = limit as i64;
    let rows = match filter {
        Filter::All => {
            sqlx::query("select seq from entry where seq > ? order by seq limit +?")
                .bind(cursor as i64)
                .bind(limit)
                .fetch_all(connection)
                .await
        }
        Filter::Names(names) => {
            sqlx::query(
                "select seq from entry where seq > ? and name in (select value from json_each(?))
                 order by seq limit +?",
            )
            .bind(cursor as i64)
            .bind(json(names))
            .bind(limit)
            .fetch_all(connection)
            .await
        }
    };
    let seq = |row: SqliteRow| row.try_get::<i64, _>(0).map(|seq| seq as u64);
    rows.map_err(from_sqlx)?.into_iter().map(seq).collect::<Result<_, _>>().map_err(from_sqlx)
}

/// Numbers as a JSON array, for `json_each`: one statement for any count.
pub(super) fn json<T: serde::Serialize + ?Sized>(numbers: &T) -> String {
    // Arrays of integers always serialise.
    serde_json::to_string(numbers).unwrap_or_else(|_| "[]".into())
}

#[cfg(test)]
mod tests {
    use tidewire_core::Attribute;

    use super::*;
    use crate::conformance::event;

    #[test]
    fn data_is_cut_off_where_it_begins_and_nowhere_else() {
        let lure = r#"","data":{"a":1},"x":"",data:"#;
        let texts: [&[u8]; 6] =
            [b"null", br#"{"data":{"data":1},"x":[{}]}"#, br#"",\"data\":}""#, b"[]", b"1e2", b"\"\xc3\xbc\""];
        for data in texts {
            let mut before = event("k", "e");
            before.data = Some(Bytes::copy_from_slice(data));
            assert_eq!(envelope(&wire::encode(&before, 4_096).unwrap().json).unwrap(), before);
            before.subject = Some(lure.into());
            before.extensions.insert("lure".into(), Attribute::Text(lure.into()));
            assert_eq!(envelope(&wire::encode(&before, 4_096).unwrap().json).unwrap(), before);
            before.datacontenttype = Some("application/octet-stream".into());
            assert_eq!(envelope(&wire::encode(&before, 4_096).unwrap().json).unwrap(), before);
            before.data = None;
            assert_eq!(envelope(&wire::encode(&before, 4_096).unwrap().json).unwrap(), before);
        }
    }
}
