"""All a Python service needs of Tidewire: one SQL function to emit, one HTTP request in to react."""

import base64
import hashlib
import hmac
import json
import time
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import unquote

TOLERANCE = 300  # seconds that a signature may be old


def emit(connection, type: str, key: str, data: dict) -> str:
    """Emits an event in the transaction of `connection`: it exists if and only if that commits."""
    row = connection.execute(
        "select id from tidewire.emit(type => %s, key => %s, data => %s::jsonb)",
        (type, key, json.dumps(data)),
    ).fetchone()
    return row[0]


@dataclass(frozen=True)
class Event:
    """A CloudEvent as it was pushed, in HTTP binary mode: attributes in `ce-` headers, the data as the body."""

    id: str
    type: str
    key: str
    attributes: dict[str, str]
    data: Any


class Refused(Exception):
    """The request is not one of Tidewire's."""


def read(headers, body: bytes, secret: str, now: float | None = None) -> Event:
    """Checks the signature (Standard Webhooks) and reads the event."""
    id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs((now or time.time()) - int(stamp)) > TOLERANCE:
        raise Refused("the timestamp is missing, or too old")
    signed = f"{id}.{stamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(expected, one) for one in given):
        raise Refused("the signature is wrong")
    attributes = {
        name.lower().removeprefix("ce-"): unquote(value)
        for name, value in headers.items()
        if name.lower().startswith("ce-")
    }
    data = json.loads(body) if body else None
    return Event(attributes["id"], attributes["type"], attributes["partitionkey"], attributes, data)


HANDLERS: dict[str, Callable] = {}


def on(type: str):
    """Registers a handler of one type of event. What it returns, `(type, data)`, is emitted as the reply."""

    def register(handler):
        HANDLERS[type] = handler
        return handler

    return register


def reply(type: str, data: dict) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer that holds an event. Its key and its saga are those of what it answers."""
    headers = {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": str(uuid.uuid4()),
        "ce-source": "/shop",
        "ce-type": type,
    }
    return headers, json.dumps(data).encode()


def request(method: str, url: str, body: Any = None) -> Any:
    """A request to Tidewire's HTTP surface."""
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()
