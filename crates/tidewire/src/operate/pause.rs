//! Pausing a consumer, in every process that runs it, until it is resumed.

use tidewire_core::{Commit, Document, DocumentWrite, ExpectDocument, StoreError};

use super::acted::{Acted, Actor};
use super::{OperateError, Operator};
use crate::consume::pauses::{COLLECTION, Paused};

/// How often a change is made again after losing a race.
const MAX_CONFLICTS: u32 = 20;

impl Operator {
    /// Pauses a consumer: within about half a second every process stops taking its events, and finishes those in hand.
    /// What arrives waits at the broker, in order. It lasts until [`Operator::resume`], also across restarts. Pausing
    /// one that is paused changes nothing.
    pub async fn pause(&self, actor: &Actor, reason: &str, consumer: &str) -> Result<Paused, OperateError> {
        self.runner(consumer).await?;
        for _ in 0..=MAX_CONFLICTS {
            if let Some((_, paused)) = self.pause_of(consumer).await? {
                return Ok(paused);
            }
            let paused =
                Paused { since: self.ports.clock.now(), actor: actor.name().to_owned(), reason: reason.to_owned() };
            let acted = Acted::new(actor, "consumers pause", consumer, reason);
            if self.write_pause(consumer, ExpectDocument::Absent, Some(&paused), &acted).await? {
                return Ok(paused);
            }
        }
        Err(OperateError::Busy { consumer: consumer.to_owned() })
    }

    /// Lets a paused consumer go on where it was. Answers what was paused, or nothing when it was not.
    pub async fn resume(&self, actor: &Actor, reason: &str, consumer: &str) -> Result<Option<Paused>, OperateError> {
        for _ in 0..=MAX_CONFLICTS {
            let Some((document, paused)) = self.pause_of(consumer).await? else {
                // One that is gone from the build can still be resumed; one that never was cannot.
                self.runner(consumer).await?;
                return Ok(None);
            };
            let seconds = (self.ports.clock.now() - paused.since).num_seconds();
            let acted = Acted::new(actor, "consumers resume", consumer, reason).with("paused_seconds", seconds);
            if self.write_pause(consumer, ExpectDocument::Revision(document.revision), None, &acted).await? {
                return Ok(Some(paused));
            }
        }
        Err(OperateError::Busy { consumer: consumer.to_owned() })
    }

    async fn pause_of(&self, consumer: &str) -> Result<Option<(Document, Paused)>, StoreError> {
        let found = self.ports.store.documents(COLLECTION, &[consumer.to_owned()]).await?.pop().flatten();
        Ok(found.map(|document| {
            let paused = Paused::read(&document);
            (document, paused)
        }))
    }

    /// `false`: somebody was faster.
    async fn write_pause(
        &self,
        consumer: &str,
        expect: ExpectDocument,
        paused: Option<&Paused>,
        acted: &Acted,
    ) -> Result<bool, OperateError> {
        let value = paused.map(|paused| paused.write());
        let write = DocumentWrite { collection: COLLECTION.into(), id: consumer.to_owned(), expect, value };
        let append = vec![acted.append(self.ports.clock.as_ref())];
        match self.ports.store.commit(Commit { documents: vec![write], append, ..Commit::default() }).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
