//! The topic as others may have left it, and as foreign clients see it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidewire_core::{Broker, BrokerError, SystemClock};

use super::{fresh, open};
use crate::conformance::{PATIENCE, consume, event, group, join, publish, within};
use crate::kafka::{KafkaBroker, KafkaOptions};

fn client(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers);
    config
}

async fn reopen(options: KafkaOptions) -> Result<(), BrokerError> {
    KafkaBroker::open(options, Arc::new(SystemClock)).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_not_as_it_must_be_is_refused_with_every_difference() {
    let Some(options) = fresh(4).await else { return };
    open(&options).await.close().await;
    let wanted = KafkaOptions {
        partitions: 8,
        replicas: Some(3),
        min_insync: Some(2),
        retention_age: Duration::from_secs(30 * 24 * 60 * 60),
        ..options.clone()
    };
    let Err(BrokerError::Misconfigured(reason)) = reopen(wanted).await else { panic!("it was opened") };
    for difference in
        ["4 partitions, expected 8", "1 replicas, expected 3", "min.insync.replicas is 1", "retention.ms is"]
    {
        assert!(reason.contains(difference), "{difference}: {reason}");
    }
    assert_eq!(reopen(options).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_cannot_be_reached_is_unavailable() {
    let options = KafkaOptions { brokers: "127.0.0.1:1".into(), ..KafkaOptions::default() };
    assert!(matches!(within("an answer", reopen(options)).await, Err(BrokerError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_no_events_are_passed_over() {
    let Some(options) = fresh(1).await else { return };
    let broker = open(&options).await;
    publish(&*broker, vec![event("a", "a-0")]).await;
    let (topic, config) = (options.topic(), client(&options));
    let foreign = move || {
        let producer: BaseProducer = config.create().expect("a producer");
        for _ in 0..3 {
            producer.send(BaseRecord::to(&topic).key("x").payload("no event").partition(0)).expect("it is taken");
        }
        producer.flush(PATIENCE).expect("it is stored");
    };
    tokio::task::spawn_blocking(foreign).await.expect("no panic");
    publish(&*broker, vec![event("a", "a-1")]).await;
    let mut seat = join(&*broker, group("all")).await;
    assert_eq!(consume(&mut *seat, 2).await, ["a-0", "a-1"]);
    let (page, _) = broker.scan(None, 10).await.expect("scan succeeds");
    assert_eq!(page.len(), 2);
    crate::conformance::until_lag(&*broker, "all", |lag| lag.pending == 0).await;
    drop(seat);
    broker.close().await;
}

/// What a client sees that knows nothing of Tidewire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_client_reads_cloud_events() {
    let Some(options) = fresh(4).await else { return };
    let broker = open(&options).await;
    let sent = event("ü", "e-0");
    publish(&*broker, vec![sent.clone()]).await;
    let partition = i32::from(sent.key.bucket()) % 4;
    let (topic, mut config) = (options.topic(), client(&options));
    let read = move || {
        let consumer: BaseConsumer = config.set("group.id", "foreign").create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Beginning).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let started = tokio::time::Instant::now();
        while started.elapsed() < PATIENCE {
            let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let headers = record.headers().expect("headers");
            let header = |name: &str| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            assert_eq!(record.key(), Some(sent.key.as_str().as_bytes()));
            assert_eq!(record.payload(), sent.data.as_deref());
            assert_eq!(header("content-type"), Some(&b"application/json"[..]));
            assert_eq!(header("ce_specversion"), Some(&b"1.0"[..]));
            assert_eq!(header("ce_id"), Some(&b"e-0"[..]));
            assert_eq!(header("ce_type"), Some(&b"conformance.happened.v1"[..]));
            assert_eq!(header("ce_partitionkey"), Some(sent.key.as_str().as_bytes()));
            return;
        }
        panic!("nothing came");
    };
    tokio::task::spawn_blocking(read).await.expect("the record is as the binding says");
    broker.close().await;
}

/// What was acknowledged and is gone must show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_is_another_record() {
    let Some(options) = fresh(2).await else { return };
    let broker = open(&options).await;
    let empty = broker.extent().await.expect("extent succeeds");
    publish(&*broker, (0..10).map(|n| event(&format!("k{n}"), &format!("e{n}"))).collect()).await;
    let full = broker.extent().await.expect("extent succeeds");
    assert_eq!((empty.last, full.last), (0, 10));
    let other = open(&options).await;
    assert_eq!(other.extent().await.expect("extent succeeds"), full, "whoever asks");
    other.close().await;

    let admin: AdminClient<DefaultClientContext> = client(&options).create().expect("an admin client");
    let topic = options.topic();
    admin.delete_topics(&[&topic], &AdminOptions::new()).await.expect("a request").remove(0).expect("it is deleted");
    // The cluster needs a moment to forget it.
    let anew = within("another record", async {
        loop {
            if let Ok(extent) = broker.extent().await
                && extent.incarnation != full.incarnation
            {
                return extent;
            }
        }
    });
    let anew = anew.await;
    assert_eq!(anew.last, 0);
    assert_eq!(broker.extent().await.expect("extent succeeds"), anew);
    // The same broker goes on, on the new one.
    let stored = within("a publish", async { while broker.publish(vec![event("a", "a-0")]).await[0].is_err() {} });
    stored.await;
    assert!(broker.extent().await.expect("extent succeeds").last >= 1);
    broker.close().await;
}
