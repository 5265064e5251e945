"""The CloudEvents SDK for Python, and nothing of Tidewire.

Reads orders as lines of JSON and answers each with a line:

    {"do": "read", "binding": "http" | "kafka", "headers": {...}, "body": "<base64>", "key": ...}  ->  {"attributes": ..., "data": ...}
    {"do": "write", "binding": ..., "mode": "binary" | "structured", "attributes": ..., "data": ...}  ->  {"headers": ..., "body": "<base64>"}

Data is {"json": ...}, {"text": ...}, {"base64": ...} or null.
"""

import json
import sys
from base64 import b64decode, b64encode
from datetime import datetime

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

FORMAT = JSONFormat()


def shown(data):
    if data is None:
        return None
    if isinstance(data, bytes):
        return {"base64": b64encode(data).decode()}
    return {"text": data} if isinstance(data, str) else {"json": data}


def taken(data):
    if data is None:
        return None
    return b64decode(data["base64"]) if "base64" in data else data.get("text", data.get("json"))


def said(value):
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def read(order):
    body = b64decode(order["body"])
    if order["binding"] == "http":
        event = http.from_http(http.HTTPMessage(headers=order["headers"], body=body), FORMAT)
    else:
        headers = {name: value.encode() for name, value in order["headers"].items()}
        event = kafka.from_kafka(kafka.KafkaMessage(headers=headers, key=order["key"], value=body), FORMAT)
    attributes = {name: said(value) for name, value in event.get_attributes().items()}
    return {"attributes": attributes, "data": shown(event.get_data())}


def write(order):
    attributes = dict(order["attributes"])
    if "time" in attributes:
        attributes["time"] = datetime.fromisoformat(attributes["time"].replace("Z", "+00:00"))
    event = CloudEvent(attributes, taken(order["data"]))
    binding = http if order["binding"] == "http" else kafka
    written = getattr(binding, "to_" + order["mode"])(event, FORMAT)
    text = lambda value: value.decode() if isinstance(value, bytes) else value
    body = written.body if order["binding"] == "http" else written.value
    headers = {name: text(value) for name, value in written.headers.items()}
    return {"headers": headers, "body": b64encode(body).decode()}


for line in sys.stdin:
    order = json.loads(line)
    try:
        print(json.dumps({"read": read, "write": write}[order["do"]](order)))
    except Exception as error:  # what it refuses is an answer too
        print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
