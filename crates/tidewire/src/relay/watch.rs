//! Watching the record: noticing what the broker lost, and publishing it again.

use std::time::{Duration, Instant};

use tidewire_core::broker::Extent;
use tidewire_core::store::Recorded;
use tidewire_core::{BrokerError, Envelope, Position, StoreError};
use tokio_util::sync::CancellationToken;

use super::request::Request;
use super::tenure::Tenure;
use super::witness::Verdict;
use crate::reconcile::{Absence, CompareError, Comparison, Reconciled, Scope, Step};

/// How often the record is looked at, and requests of operators are looked for, while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// A record that seems to have shrunk is asked once more after this long: the answer of a server that has just come
/// back may lag behind.
const LOOK_TWICE_AFTER: Duration = Duration::from_secs(1);

/// When the record was looked at.
#[derive(Default)]
pub(super) struct Watch {
    looked: Option<Instant>,
}

impl Watch {
    /// To be looked at before anything else is published.
    pub(super) fn soon(&mut self) {
        self.looked = None;
    }

    fn is_due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY)
    }
}

/// What became of one try to publish events again.
enum Again {
    All,
    /// These are left, in order: the first was not taken.
    Left(Vec<Recorded>, BrokerError),
}

impl Tenure<'_> {
    /// Whether the record was looked at since anything cast doubt on it.
    pub(super) fn has_looked(&self) -> bool {
        self.watch.looked.is_some()
    }

    /// When that is due, looks at the record and puts right what it has lost, and does what operators asked for. A
    /// broker that is away is looked at again after a pause.
    pub(super) async fn watch(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        if !self.watch.is_due() {
            return Ok(());
        }
        self.watch.soon();
        match self.look(stop).await {
            Ok(()) => {
                if stop.is_cancelled() {
                    return Ok(());
                }
                self.answer_request(stop).await?;
                // While batches are read ahead nobody else asks how far the log is.
                self.gauge(self.relay.ports.store.head().await?);
                self.watch.looked = Some(Instant::now());
                Ok(())
            }
            Err(CompareError::Store(error)) => Err(error),
            Err(CompareError::Broker(error)) => {
                self.gauge(self.relay.ports.store.head().await?);
                let wait = self.next_wait();
                tracing::warn!(code = error.code(), %error, again_in = ?wait, "the broker's record cannot be looked at");
                self.pause(wait, stop).await
            }
        }
    }

    async fn look(&mut self, stop: &CancellationToken) -> Result<(), CompareError> {
        let mut now = self.relay.ports.broker.extent().await?;
        let mut verdict = self.cursor.witness.judge(&now, self.cursor.position);
        if verdict != Verdict::Whole && self.cursor.witness.knows_a_record() {
            self.pause(LOOK_TWICE_AFTER, stop).await?;
            now = self.relay.ports.broker.extent().await?;
            verdict = self.cursor.witness.judge(&now, self.cursor.position);
        }
        match verdict {
            Verdict::Whole => self.cursor.witness.accept(&now, self.cursor.position),
            Verdict::Shrunk(intact) => self.go_back(&now, intact).await?,
            Verdict::Another => {
                tracing::error!(
                    incarnation = now.incarnation,
                    last = now.last,
                    "the broker's record is not the one that was published to: comparing it with the log"
                );
                let found = self.reconcile(None, false, stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
                tracing::warn!(found.missing, found.published, found.outside_retention, "compared log and broker");
                // Not `now`: what was published again is in the record as well, and nobody else changes which it is.
                let after = self.relay.ports.broker.extent().await?;
                if after.incarnation == now.incarnation {
                    self.cursor.witness.start_over(&after, self.cursor.position);
                    self.must_save();
                    self.save(true).await?;
                }
            }
        }
        Ok(())
    }

    /// The record has lost its newest events: they are published again, in the order of the log, before anything
    /// newer is.
    async fn go_back(&mut self, now: &Extent, intact: Position) -> Result<(), StoreError> {
        tracing::error!(
            last = now.last,
            from = %intact,
            to = %self.cursor.position,
            "the broker has lost events that it had acknowledged: publishing them again"
        );
        // A save of the old place must not come after this one.
        self.save(true).await?;
        self.cursor.position = intact;
        self.cursor.witness.accept(now, intact);
        self.must_save();
        self.save(true).await
    }

    /// Does what an operator asked for. A request that cannot be carried out is answered with the reason.
    async fn answer_request(&mut self, stop: &CancellationToken) -> Result<(), StoreError> {
        let (store, shard) = (self.relay.ports.store.clone(), self.relay.shard());
        let Some((revision, mut request)) =
            Request::load(store.as_ref(), &shard).await?.filter(|(_, request)| request.is_open())
        else {
            return Ok(());
        };
        tracing::info!(request = request.id, after = ?request.after, "comparing log and broker, as asked");
        match self.reconcile(request.after, request.after.is_none(), stop).await {
            Ok(_) if stop.is_cancelled() => return Ok(()),
            Ok(found) => {
                tracing::info!(request = request.id, found.missing, found.published, "compared log and broker");
                request.answer = Some(found);
            }
            Err(CompareError::Broker(error)) => {
                tracing::warn!(request = request.id, code = error.code(), %error, "could not compare log and broker");
                request.error = Some((error.code().to_owned(), error.to_string()));
            }
            Err(CompareError::Store(error)) => return Err(error),
        }
        request.answer(store.as_ref(), &shard, revision, self.fence.clone()).await
    }

    /// Compares what is up to the cursor with the broker, and publishes again what is missing. Without a position to
    /// begin after, it is what the broker may be expected to hold.
    async fn reconcile(
        &mut self,
        after: Option<Position>,
        trusts_oldest: bool,
        stop: &CancellationToken,
    ) -> Result<Reconciled, CompareError> {
        let relay = self.relay;
        let (readers, retention) = (&relay.options.readers, relay.options.retention);
        let until = self.cursor.position;
        let scope = match after {
            Some(after) => Scope { after: after.min(until), until, buckets: None, trusts_oldest },
            None => {
                let mut scope = Scope::retained(&relay.ports, retention, until).await?;
                for reader in readers {
                    self.renew().await?;
                    scope.reach_back(&relay.ports, reader).await?;
                }
                scope
            }
        };
        let scope = Scope { buckets: relay.buckets(), trusts_oldest, ..scope };
        let mut comparison = Comparison::new(&relay.ports, readers, retention, scope);
        let (mut published, mut recognised, mut refused) = (0, 0, 0);
        while !stop.is_cancelled() {
            self.renew().await?;
            let absent = match comparison.step().await {
                Ok(Step::Working) => continue,
                Ok(Step::Done) => break,
                Ok(Step::Absent(absent)) => absent,
                Err(CompareError::Broker(error)) if error.is_transient() => {
                    let wait = self.next_wait();
                    tracing::warn!(code = error.code(), %error, again_in = ?wait, "comparing log and broker pauses");
                    self.pause(wait, stop).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let wanted = absent.into_iter().filter(|(_, why)| *why != Absence::Outside);
            let mut left: Vec<Recorded> = wanted.map(|(recorded, _)| recorded).collect();
            while !left.is_empty() && !stop.is_cancelled() {
                let counts = (&mut published, &mut recognised, &mut refused);
                match self.publish_again(left, counts).await {
                    Again::All => break,
                    Again::Left(rest, error) => {
                        let position = rest.first().map_or(until, |recorded| recorded.position);
                        left = rest;
                        self.fail(position, &error, stop).await?;
                    }
                }
            }
        }
        Ok(Reconciled { published, recognised, refused, ..comparison.report().clone() })
    }

    /// Offers events once more. What the broker does not take now is left, in order; what it will never take is told
    /// and passed over, since newer events of its key went their way long ago.
    async fn publish_again(&mut self, events: Vec<Recorded>, counts: (&mut u64, &mut u64, &mut u64)) -> Again {
        let envelopes: Vec<Envelope> = events.iter().map(|recorded| recorded.envelope.clone()).collect();
        let answers = self.offer(envelopes).await;
        let (mut left, mut failed) = (Vec::new(), None);
        for (recorded, answer) in events.into_iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    *counts.0 += 1;
                    *counts.1 += u64::from(answer.duplicate);
                }
                Err(error @ BrokerError::TooLarge { .. }) => {
                    tracing::error!(position = %recorded.position, code = error.code(), %error, "an event that the broker lost cannot be published again");
                    *counts.2 += 1;
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    left.push(recorded);
                }
            }
        }
        match failed {
            Some(error) => Again::Left(left, error),
            None => Again::All,
        }
    }
}
