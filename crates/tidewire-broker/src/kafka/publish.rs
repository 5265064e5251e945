//! Publishing: in order per key through failures, bounded in events and bytes.
//!
//! A producer stores what it was given in order and skips nothing: nothing expires in it, and a batch that can never be
//! stored ends it. After any failure it is given up with all that is in it, and the next publish makes another. What it
//! had on its way may still be stored: that was answered as a failure, is published again in order, and is a duplicate
//! then.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use tidewire_core::broker::Published;
use tidewire_core::{BrokerError, Envelope, Key};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::options::KafkaOptions;
use super::{binding, context, error, unpoisoned};

/// How long a producer that is given up may take to hand back what it has.
const LETTING_GO: Duration = Duration::from_secs(5);

type Answer = Result<Published, BrokerError>;

/// Publishes for one broker.
pub(super) struct Publisher {
    options: KafkaOptions,
    topic: String,
    current: Mutex<Option<Arc<Instance>>>,
    /// In bytes; every event takes at least its share of the window.
    window: Arc<Semaphore>,
    closed: AtomicBool,
    /// The cluster said that there is no such topic.
    topic_lost: Arc<AtomicBool>,
}

/// One producer, until its first failure.
struct Instance {
    /// Taken out only when it is dropped.
    producer: Option<ThreadedProducer<Reports>>,
    fate: Arc<Fate>,
}

/// Whether a producer may still be used.
#[derive(Default)]
struct Fate {
    failed: AtomicBool,
    reason: Mutex<Option<BrokerError>>,
    changed: Notify,
}

impl Fate {
    fn fail(&self, reason: BrokerError) {
        unpoisoned(&self.reason).get_or_insert(reason);
        self.failed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn reason(&self) -> BrokerError {
        let reason = unpoisoned(&self.reason).clone();
        reason.unwrap_or_else(|| BrokerError::Unavailable("the producer was given up".into()))
    }
}

/// The answers of one call.
struct Call {
    answers: Mutex<Answers>,
    all: Notify,
}

struct Answers {
    given: Vec<Option<Answer>>,
    open: usize,
}

impl Call {
    fn answer(&self, index: usize, answer: Answer) {
        let mut answers = unpoisoned(&self.answers);
        if let Some(place @ None) = answers.given.get_mut(index) {
            *place = Some(answer);
            answers.open -= 1;
            if answers.open == 0 {
                self.all.notify_waiters();
            }
        }
    }

    /// Waits until every event has its answer.
    async fn complete(&self) {
        loop {
            let all = self.all.notified();
            tokio::pin!(all);
            all.as_mut().enable();
            if unpoisoned(&self.answers).open == 0 {
                return;
            }
            all.await;
        }
    }
}

/// What goes along with a record, and comes back with its report.
struct Ticket {
    call: Arc<Call>,
    index: usize,
    size: usize,
    _room: OwnedSemaphorePermit,
}

struct Reports {
    fate: Arc<Fate>,
    topic_lost: Arc<AtomicBool>,
    limit: usize,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        context::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::error(&error, reason);
        let Some(code) = error.rdkafka_error_code() else { return };
        // A cluster that was away as a whole may come back as another one, without its record: what is on its way must
        // not be stored there before the relay has looked.
        let is_away = code == RDKafkaErrorCode::AllBrokersDown;
        if error::is_denied(code) || code == RDKafkaErrorCode::Fatal || is_away {
            self.fate.fail(error::from_code(reason, code));
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let answer = match result {
            Ok(_) => Ok(Published { duplicate: false }),
            Err((failure, _)) => Err(self.failure(failure, ticket.size)),
        };
        ticket.call.answer(ticket.index, answer);
    }
}

impl Reports {
    fn failure(&self, failure: &KafkaError, size: usize) -> BrokerError {
        use RDKafkaErrorCode::*;
        let code = failure.rdkafka_error_code().unwrap_or(Fail);
        if error::is_unknown_topic(code) {
            self.topic_lost.store(true, Ordering::Release);
        }
        let error = match code {
            MessageSizeTooLarge => BrokerError::TooLarge { size, limit: self.limit },
            InvalidRecord | InvalidTimestamp | PolicyViolation => BrokerError::Invalid(code.to_string()),
            // Given up with its producer: for the reason that ended that.
            PurgeQueue | PurgeInflight | Fatal | GaplessGuarantee if self.fate.has_failed() => match self.fate.reason()
            {
                denied @ BrokerError::Denied(_) => denied,
                reason => BrokerError::Unavailable(reason.to_string()),
            },
            code => error::from_code("publishing", code),
        };
        self.fate.fail(error.clone());
        error
    }
}

impl Publisher {
    pub(super) fn new(options: &KafkaOptions) -> Self {
        Self {
            topic: options.topic(),
            window: Arc::new(Semaphore::new(options.publish_window_bytes.min(Semaphore::MAX_PERMITS))),
            options: options.clone(),
            current: Mutex::default(),
            closed: AtomicBool::new(false),
            topic_lost: Arc::default(),
        }
    }

    /// Whether the topic was found to be gone since this was last asked.
    pub(super) fn lost_its_topic(&self) -> bool {
        self.topic_lost.swap(false, Ordering::AcqRel)
    }

    pub(super) async fn publish(&self, batch: Vec<Envelope>) -> Vec<Answer> {
        let count = batch.len();
        let answers = Answers { given: vec![None; count], open: count };
        let call = Arc::new(Call { answers: Mutex::new(answers), all: Notify::new() });
        let keys: Vec<Key> = batch.iter().map(|envelope| envelope.key.clone()).collect();
        let deadline = tokio::time::Instant::now() + self.options.publish_timeout;
        match self.instance() {
            Ok(instance) => {
                let sending = self.send_all(&instance, batch, &call);
                if tokio::time::timeout_at(deadline, sending).await.is_err() {
                    instance.fate.fail(BrokerError::Unavailable("the publish window stayed full".into()));
                }
                self.await_answers(&instance, &call, deadline).await;
            }
            Err(error) => (0..count).for_each(|index| call.answer(index, Err(error.clone()))),
        }
        let given = std::mem::take(&mut unpoisoned(&call.answers).given);
        in_order(keys, given)
    }

    /// The producer to use now.
    fn instance(&self) -> Result<Arc<Instance>, BrokerError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(BrokerError::Closed);
        }
        let mut current = unpoisoned(&self.current);
        if let Some(instance) = current.as_ref().filter(|instance| !instance.fate.has_failed()) {
            return Ok(instance.clone());
        }
        let fate = Arc::new(Fate::default());
        let (topic_lost, limit) = (self.topic_lost.clone(), self.options.max_event_bytes);
        let reports = Reports { fate: fate.clone(), topic_lost, limit };
        let producer = ThreadedProducer::from_config_and_context(&self.options.producer(), reports);
        let producer = producer.map_err(|failure| error::from_kafka("publishing", &failure))?;
        let instance = Arc::new(Instance { producer: Some(producer), fate });
        *current = Some(instance.clone());
        Ok(instance)
    }

    /// Gives everything to the producer, as the window allows; what cannot be given is answered.
    async fn send_all(&self, instance: &Instance, batch: Vec<Envelope>, call: &Arc<Call>) {
        let mut failed = HashSet::new();
        for (index, envelope) in batch.into_iter().enumerate() {
            let sent = match failed.contains(&envelope.key) {
                true => Err(BrokerError::Behind),
                false => self.send(instance, &envelope, call, index).await,
            };
            if let Err(error) = sent {
                call.answer(index, Err(error));
                failed.insert(envelope.key);
            }
        }
    }

    async fn send(
        &self,
        instance: &Instance,
        envelope: &Envelope,
        call: &Arc<Call>,
        index: usize,
    ) -> Result<(), BrokerError> {
        let limit = self.options.max_event_bytes;
        // Data is the only part that can be large: an absurd one is refused before it is copied.
        let data = envelope.data.as_ref().map_or(0, |data| data.len());
        if data > limit {
            return Err(BrokerError::TooLarge { size: data, limit });
        }
        let binding::Record { headers, size } = binding::encode(envelope);
        if size > limit {
            return Err(BrokerError::TooLarge { size, limit });
        }
        let share = self.options.publish_window_bytes / self.options.publish_window;
        let room = size.max(share).min(self.options.publish_window_bytes);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let room = self.window.clone().acquire_many_owned(room).await.map_err(|_| BrokerError::Closed)?;
        if instance.fate.has_failed() {
            return Err(instance.fate.reason());
        }
        let ticket = Box::new(Ticket { call: call.clone(), index, size, _room: room });
        let partition = i32::try_from(u32::from(envelope.key.bucket()) % self.options.partitions).unwrap_or(0);
        let mut record = BaseRecord::with_opaque_to(&self.topic, ticket)
            .key(envelope.key.as_str())
            .partition(partition)
            .timestamp(envelope.time.timestamp_millis().max(0))
            .headers(headers);
        if let Some(data) = &envelope.data {
            record = record.payload(data.as_ref());
        }
        let Some(producer) = &instance.producer else { return Err(BrokerError::Closed) };
        producer.send(record).map_err(|(failure, _)| {
            let error = error::from_kafka("publishing", &failure);
            instance.fate.fail(error.clone());
            error
        })
    }

    /// Waits for the answers; after a failure, or when they take too long, the producer is given up.
    async fn await_answers(&self, instance: &Arc<Instance>, call: &Call, deadline: tokio::time::Instant) {
        let failed = instance.fate.changed.notified();
        tokio::pin!(failed);
        failed.as_mut().enable();
        if !instance.fate.has_failed() {
            tokio::select! {
                () = call.complete() => return,
                () = failed => {}
                () = tokio::time::sleep_until(deadline) => {
                    instance.fate.fail(BrokerError::Unavailable("the cluster did not answer in time".into()));
                }
            }
        }
        if let Some(producer) = &instance.producer {
            producer.purge(PurgeConfig::default().queue().inflight());
        }
        let _ = tokio::time::timeout(LETTING_GO, call.complete()).await;
        let mut current = unpoisoned(&self.current);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, instance)) {
            current.take();
        }
    }

    /// Waits for what is on its way, then lets go of the producer.
    pub(super) async fn close(&self, patience: Duration) {
        self.closed.store(true, Ordering::Release);
        let Some(instance) = unpoisoned(&self.current).take() else { return };
        let closing = move || {
            if let Some(Err(failure)) = instance.producer.as_ref().map(|producer| producer.flush(patience)) {
                tracing::warn!(error = %failure, "events were still on their way to the cluster; they stay with the relay");
            }
        };
        let _ = tokio::task::spawn_blocking(closing).await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The producer joins its thread and waits for what was purged: not here, where a runtime may be waiting.
        let producer = self.producer.take();
        let ending = std::thread::Builder::new().name("kafka-producer-end".into()).spawn(move || drop(producer));
        if let Err(error) = ending {
            tracing::warn!(%error, "a producer is ended in place");
        }
    }
}

/// The answers as the port has them: after a failure the later ones of its key are behind it, stored or not, because they
/// must be published again after it.
fn in_order(keys: Vec<Key>, given: Vec<Option<Answer>>) -> Vec<Answer> {
    let unknown = || Err(BrokerError::Unavailable("the cluster did not answer in time".into()));
    let mut failed = HashSet::new();
    let answer = |(key, answer): (Key, Option<Answer>)| {
        if failed.contains(&key) {
            return Err(BrokerError::Behind);
        }
        let answer = answer.unwrap_or_else(unknown);
        if answer.is_err() {
            failed.insert(key);
        }
        answer
    };
    keys.into_iter().zip(given).map(answer).collect()
}
