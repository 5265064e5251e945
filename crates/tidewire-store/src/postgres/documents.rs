//! The documents port.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tidewire_core::StoreError;
use tidewire_core::store::{Document, DocumentQuery, Documents};

use super::codec::count;
use super::error::classify;
use super::store::{MAX_READ, PostgresStore, Query};
use crate::group::successor;

#[async_trait]
impl Documents for PostgresStore {
    async fn documents(&self, collection: &str, ids: &[String]) -> Result<Vec<Option<Document>>, StoreError> {
        let query = Query::new("select d.id, d.revision, d.value from (select distinct v.id from unnest(")
            .value(ids)
            .then("::text[]) v (id)) v join tidewire.document d on d.id = v.id and d.collection = ")
            .value(collection);
        let rows = self.rows(query).await?;
        let found = rows.iter().map(|row| document(row).map(|found| (found.id.clone(), found)));
        let found: HashMap<String, Document> = found.collect::<Result<_, _>>()?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn list(&self, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        let mut text = range("id, revision, value", &query.collection, &query.prefix);
        if let Some(after) = &query.after {
            text = text.then(if query.backwards { " and id < " } else { " and id > " }).value(after.as_str());
        }
        let order = if query.backwards { " order by id desc limit " } else { " order by id limit " };
        let text = text.then(order).value(query.limit.min(MAX_READ) as i64);
        self.rows(text).await?.iter().map(document).collect()
    }

    async fn count(&self, collection: &str, prefix: &str) -> Result<u64, StoreError> {
        self.rows(range("count(*)", collection, prefix)).await?.first().map_or(Ok(0), |row| count(row, 0))
    }
}

fn document(row: &PgRow) -> Result<Document, StoreError> {
    let value: Vec<u8> = row.try_get(2).map_err(classify)?;
    Ok(Document { id: row.try_get(0).map_err(classify)?, revision: count(row, 1)?, value: Bytes::from(value) })
}

/// The documents whose ids start with `prefix`, as a range of the key.
fn range(columns: &str, collection: &str, prefix: &str) -> Query {
    let text = Query::new(format!("select {columns} from tidewire.document where collection = "))
        .value(collection)
        .then(" and id >= ")
        .value(prefix);
    match successor(prefix) {
        Some(end) => text.then(" and id < ").value(end),
        None => text,
    }
}
