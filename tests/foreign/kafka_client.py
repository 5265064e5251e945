"""A client of Kafka that has never heard of Tidewire: confluent-kafka, and the CloudEvents binding to Kafka (binary mode).

    kafka_client.py read BROKERS TOPIC      prints every event there is on TOPIC, as lines of JSON
    kafka_client.py write BROKERS TOPIC     produces what comes in as lines of JSON: {"attributes": ..., "data": ...},
                                            or {"raw": "..."} for what is no event
"""

import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

PATIENCE_SECONDS = 60


def understood(record):
    headers = {name.lower(): value.decode() for name, value in record.headers() or []}
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce_")}
    media_type = attributes.setdefault("datacontenttype", headers.get("content-type", "application/json"))
    text = (record.value() or b"").decode()
    data = json.loads(text) if media_type == "application/json" and text else text or None
    return {"place": [record.partition(), record.key().decode()], "attributes": attributes, "data": data}


def read(brokers, topic):
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "foreign",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    unfinished = set(partitions)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while unfinished:
        if time.monotonic() > deadline:
            sys.exit(f"the end of partitions {unfinished} does not come")
        record = consumer.poll(1)
        if record is None:
            continue
        if record.error() is None:
            print(json.dumps(understood(record)))
        elif record.error().code() == KafkaError._PARTITION_EOF:
            unfinished.discard(record.partition())
        elif record.error().fatal():
            sys.exit(str(record.error()))
    consumer.close()


def write(brokers, topic):
    refused = []
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True})
    for line in sys.stdin:
        order = json.loads(line)
        if "raw" in order:
            key, headers, value = None, [], order["raw"]
        else:
            key, value = order["attributes"]["partitionkey"], json.dumps(order["data"])
            headers = [(f"ce_{name}", text.encode()) for name, text in order["attributes"].items()]
            headers.append(("content-type", b"application/json"))
        producer.produce(topic, value, key, headers=headers, on_delivery=lambda error, _: error and refused.append(error))
    if producer.flush(PATIENCE_SECONDS) or refused:
        sys.exit(f"not everything was taken: {refused}")


{"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
