//! The documents port.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tidewire_core::StoreError;
use tidewire_core::store::{Document, DocumentQuery, Documents};

use super::codec::count;
use super::error::classify;
use super::sql::{Args, Rows};
use super::store::{MAX_READ, SqliteStore};

const BY_ID: Rows = Rows {
    head: "select d.id, d.revision, d.value from (values ",
    columns: 2,
    tail: ") as v cross join document d on d.collection = v.column1 and d.id = v.column2",
};

#[async_trait]
impl Documents for SqliteStore {
    async fn documents(&self, collection: &str, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let mut reader = self.reader().await?;
        let bind = |id: &String, args: &mut Args| {
            args.add(collection).add(id.as_str());
        };
        let rows = BY_ID.fetch(&mut reader, ids, bind).await.map_err(classify)?;
        let found = rows.iter().map(|row| document(row).map(|found| (found.id.clone(), found)));
        let found: HashMap<String, Document> = found.collect::<Result<_, _>>()?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        let (mut text, mut args) = range("id, revision, value", &query.collection, &query.prefix);
        if let Some(after) = &query.after {
            args.add(after.as_str());
            text += if query.backwards { " and id < ?" } else { " and id > ?" };
        }
        text += if query.backwards { " order by id desc limit ?" } else { " order by id limit ?" };
        args.count(query.limit.min(MAX_READ) as u64);
        self.rows(text, args).await?.iter().map(document).collect()
    }

    async fn count(&self, collection: &str, prefix: &str) -> Result<u64, StoreError> {
        let (text, args) = range("count(*)", collection, prefix);
        self.rows(text, args).await?.first().map_or(Ok(0), |row| count(row, 0))
    }
}

fn document(row: &SqliteRow) -> Result<Document, StoreError> {
    let value: Vec<u8> = row.try_get(2).map_err(classify)?;
    Ok(Document { id: row.try_get(0).map_err(classify)?, revision: count(row, 1)?, value: Bytes::from(value) })
}

/// The documents whose ids start with `prefix`, as a range of the key.
fn range(columns: &str, collection: &str, prefix: &str) -> (String, Args) {
    let mut args = Args::default();
    args.add(collection).add(prefix);
    let mut text = format!("select {columns} from document where collection = ? and id >= ?");
    if let Some(end) = successor(prefix) {
        args.add(end);
        text += " and id < ?";
    }
    (text, args)
}

/// The first text after everything that starts with `prefix`; none, if nothing comes after.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Ranges over `char` step over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn the_successor_bounds_the_prefix() {
        assert_eq!(successor(""), None);
        assert_eq!(successor("ab").as_deref(), Some("ac"));
        assert_eq!(successor("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{10ffff}"), None);
    }
}
