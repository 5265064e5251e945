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
use crate::group::successor;

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
        text += if query.backwards { " order by id desc limit +?" } else { " order by id limit +?" };
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
