//! The subscriptions there are, as documents of the store.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use serde::de::DeserializeOwned;
use tidewire_core::store::DocumentQuery;
use tidewire_core::{Document, DocumentWrite, ExpectDocument, StoreError};

use super::status::Report;
use super::subscription::{Start, State, Subscription, Wanted};
use super::{Admission, DeliveryStatus, PushHandler, PushOptions, Secret};
use crate::ports::Ports;
use crate::roster::{Directory, Enrolled};

/// The collection of subscriptions.
pub const SUBSCRIPTIONS: &str = "push_subscription";
/// The collection of what processes report of them, `<id>/<process>`.
const REPORTS: &str = "push_report";
/// The collection of subscriptions that ended and left something.
const ENDED: &str = "push_ended";
/// Documents read at once.
const PAGE: usize = 200;
/// A report this old is of a process that has ended.
const MAX_REPORT_AGE: TimeDelta = TimeDelta::minutes(10);

/// The subscriptions there are: reads them, and says what to write so that they change. Cheap to clone.
#[derive(Clone)]
pub struct Register {
    ports: Ports,
    options: PushOptions,
    admission: Arc<dyn Admission>,
}

impl Register {
    /// The register on these ports; `admission` knows the types, and admits replies.
    pub fn new(ports: &Ports, options: PushOptions, admission: Arc<dyn Admission>) -> Self {
        Self { ports: ports.clone(), options, admission }
    }

    /// The ports it is on.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// How subscriptions behave.
    pub fn options(&self) -> &PushOptions {
        &self.options
    }

    /// The gate of the log.
    pub fn admission(&self) -> &Arc<dyn Admission> {
        &self.admission
    }

    /// All of them with their revisions, in the order of ids. What a newer build wrote and this one cannot read is
    /// left out, and logged.
    pub async fn all(&self) -> Result<Vec<(Subscription, u64)>, StoreError> {
        let mut all = Vec::new();
        let mut query = DocumentQuery { collection: SUBSCRIPTIONS.into(), limit: PAGE, ..Default::default() };
        loop {
            let page = self.ports.store.list(&query).await?;
            let Some(last) = page.last() else { return Ok(all) };
            query.after = Some(last.id.clone());
            let is_last = page.len() < PAGE;
            all.extend(page.iter().filter_map(|document| Some((read(document)?, document.revision))));
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The one of this id, and its revision.
    pub async fn find(&self, id: &str) -> Result<Option<(Subscription, u64)>, StoreError> {
        let found = self.ports.store.documents(SUBSCRIPTIONS, &[id.to_owned()]).await?.pop().flatten();
        Ok(found.and_then(|document| Some((read(&document)?, document.revision))))
    }

    /// Whether there are as many as there may be.
    pub async fn is_full(&self) -> Result<bool, StoreError> {
        let count = self.ports.store.count(SUBSCRIPTIONS, "").await?;
        Ok(count >= self.options.max_subscriptions as u64)
    }

    /// A new subscription, not yet kept. `None` only where the system has no randomness for its secret.
    pub async fn made(
        &self,
        mut wanted: Wanted,
        owner: &str,
        rate: Option<u32>,
    ) -> Result<Option<Subscription>, StoreError> {
        let now = self.ports.clock.now();
        let start = *wanted.config.start.get_or_insert_default();
        let since = match start {
            Start::Now => self.ports.store.head().await?,
            Start::Earliest => Default::default(),
        };
        let Some(secret) = Secret::make(now) else { return Ok(None) };
        // Time-ordered ids share their beginning; their end is what tells them apart.
        let id =
            wanted.id.clone().unwrap_or_else(|| format!("s-{}", &self.ports.clock.id().simple().to_string()[12..]));
        wanted.id = Some(id.clone());
        Ok(Some(Subscription {
            id,
            wanted,
            owner: owner.to_owned(),
            created: now,
            changed: now,
            since,
            state: State::Active,
            rate,
            secrets: vec![secret],
        }))
    }

    /// What keeps it. `revision` is the one it was read at; `None` for a new one, which may follow one of the same id.
    pub fn keep(&self, subscription: &Subscription, revision: Option<u64>) -> Vec<DocumentWrite> {
        // Texts, numbers and times are always JSON.
        let value = serde_json::to_vec(subscription).unwrap_or_default();
        let expect = revision.map_or(ExpectDocument::Absent, ExpectDocument::Revision);
        let id = subscription.id.as_str();
        let mut writes = vec![write(SUBSCRIPTIONS, id, expect, Some(value))];
        if revision.is_none() {
            writes.push(write(ENDED, id, ExpectDocument::Any, None));
        }
        writes
    }

    /// What ends it. Its keepers clear away what it leaves: its parked events, and its place on the broker.
    pub fn remove(&self, id: &str, revision: u64) -> Vec<DocumentWrite> {
        let ended = write(ENDED, id, ExpectDocument::Any, Some(b"true".to_vec()));
        vec![write(SUBSCRIPTIONS, id, ExpectDocument::Revision(revision), None), ended]
    }

    /// Subscriptions that ended and left something.
    pub(super) async fn ended(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let query = DocumentQuery { collection: ENDED.into(), limit: PAGE, ..Default::default() };
        let ended = self.ports.store.list(&query).await?;
        Ok(ended.into_iter().map(|document| (document.id, document.revision)).collect())
    }

    /// What says that one of them has left nothing any more.
    pub(super) fn cleared(&self, id: &str, revision: u64) -> DocumentWrite {
        write(ENDED, id, ExpectDocument::Revision(revision), None)
    }

    /// How its deliveries go, as the processes that carry them out reported within the last seconds.
    pub async fn status(&self, id: &str) -> Result<DeliveryStatus, StoreError> {
        let prefix = format!("{id}/");
        let query = DocumentQuery { collection: REPORTS.into(), prefix, limit: PAGE, ..Default::default() };
        let reports = self.ports.store.list(&query).await?;
        Ok(DeliveryStatus::of(reports.iter().filter_map(read::<Report>)))
    }

    /// What keeps the report of a process.
    pub(super) fn report(&self, id: &str, process: &str, report: &Report) -> DocumentWrite {
        let value = serde_json::to_vec(report).unwrap_or_default();
        write(REPORTS, &format!("{id}/{process}"), ExpectDocument::Any, Some(value))
    }

    /// What removes reports of processes that ended, and of subscriptions that are gone.
    pub(super) async fn outdated(&self, ids: &[&str]) -> Result<Vec<DocumentWrite>, StoreError> {
        let oldest = self.ports.clock.now() - MAX_REPORT_AGE;
        let query = DocumentQuery { collection: REPORTS.into(), limit: PAGE, ..Default::default() };
        let reports = self.ports.store.list(&query).await?;
        let is_outdated = |document: &&Document| {
            let of = document.id.split('/').next().unwrap_or_default();
            !ids.contains(&of) || read::<Report>(document).is_none_or(|report| report.at < oldest)
        };
        let remove =
            |document: &Document| write(REPORTS, &document.id, ExpectDocument::Revision(document.revision), None);
        Ok(reports.iter().filter(is_outdated).map(remove).collect())
    }
}

fn write(collection: &str, id: &str, expect: ExpectDocument, value: Option<Vec<u8>>) -> DocumentWrite {
    DocumentWrite { collection: collection.into(), id: id.to_owned(), expect, value: value.map(Into::into) }
}

fn read<T: DeserializeOwned>(document: &Document) -> Option<T> {
    serde_json::from_slice(&document.value)
        .inspect_err(|error| tracing::error!(id = document.id, %error, "a subscription cannot be read; a newer build may have written it"))
        .ok()
}

#[async_trait]
impl Directory for Register {
    async fn enrolled(&self) -> Result<Vec<Enrolled>, StoreError> {
        let handler = |subscription: &Subscription| -> Option<Enrolled> {
            let handler = PushHandler::new(self, subscription).ok()?;
            Some((Arc::new(handler), subscription.reply_source()))
        };
        Ok(self.all().await?.iter().filter_map(|(subscription, _)| handler(subscription)).collect())
    }
}
