//! Publishing events once more, where no consumer of this installation reads.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tidewire_core::commit::ExpectDocument;
use tidewire_core::{Broker, BrokerError, Commit, Envelope};

use super::driver::{Driver, Halt};
use super::job::{Job, State, Trouble};
use super::plan::Target;

/// Opens the broker under another domain: the same server, other subjects or topics.
#[async_trait]
pub trait Domains: Send + Sync {
    /// The broker under `<domain>-<name>`, made if need be. The same one while it is open.
    async fn open(&self, name: &str) -> Result<Arc<dyn Broker>, BrokerError>;
}

impl Driver {
    /// One batch to another domain. What was published and not noted is published again after a crash, under the same
    /// ids: brokers recognise it within their dedupe window.
    pub(super) async fn publish_batch(&mut self, mut job: Job, expect: ExpectDocument) -> Result<bool, Halt> {
        let begun = Instant::now();
        let broker = self.domain(&job.terms.target).await?;
        let page = self.page(&job.terms.source, job.position, false).await?;
        let batch: Vec<Envelope> = page.events.into_iter().map(|recorded| recorded.envelope).collect();
        let events = batch.len();
        let ids: Vec<String> = batch.iter().map(|envelope| envelope.id.clone()).collect();
        let answers = if events == 0 { Vec::new() } else { broker.publish(batch).await };
        for (id, answer) in ids.into_iter().zip(answers) {
            match answer {
                Ok(published) => job.counts.already += u64::from(published.duplicate),
                Err(error) => return Err(self.refused(id, error).await),
            }
        }
        job.counts.read += events as u64;
        job.counts.handled += events as u64;
        job.counts.batches += 1;
        job.position = page.position;
        if page.last {
            job.state = State::Done;
        }
        let rate = job.terms.rate;
        self.commit(Commit::default(), job, expect, begun).await?;
        if page.last {
            broker.close().await;
            self.broker = None;
        }
        self.pace(events, rate, begun).await;
        Ok(!page.last)
    }

    async fn domain(&mut self, target: &Target) -> Result<Arc<dyn Broker>, Halt> {
        if let Some(broker) = &self.broker {
            return Ok(broker.clone());
        }
        let trouble = |code: &str, reason: String| Halt::Trouble(Trouble { code: code.into(), reason, event: None });
        let (Target::Domain { name }, Some(domains)) = (target, self.desk.domains.clone()) else {
            let reason = "this process has no broker to open under another domain";
            return Err(trouble("replay.no_domains", reason.into()));
        };
        match domains.open(name).await {
            Ok(broker) => {
                self.broker = Some(broker.clone());
                Ok(broker)
            }
            Err(error) if error.is_transient() => Err(self.away(&error).await),
            Err(error) => Err(trouble(error.code(), error.to_string())),
        }
    }

    async fn refused(&self, event: String, error: BrokerError) -> Halt {
        match error.is_transient() {
            true => self.away(&error).await,
            false => {
                Halt::Trouble(Trouble { code: error.code().into(), reason: error.to_string(), event: Some(event) })
            }
        }
    }

    async fn away(&self, error: &BrokerError) -> Halt {
        tracing::warn!(replay = self.id, code = error.code(), %error, "a replay waits for the broker");
        self.pause(std::time::Duration::from_millis(500)).await;
        Halt::Again
    }
}
