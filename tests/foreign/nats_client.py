"""A client of JetStream that has never heard of Tidewire: nats-py, and the CloudEvents binding to NATS (binary mode).

    nats_client.py read URL SUBJECT     prints every event there is under SUBJECT, as lines of JSON
    nats_client.py write URL            publishes what comes in as lines of JSON: {"subject": ..., "attributes": ...,
                                        "data": ...}, or {"subject": ..., "raw": "..."} for what is no event
"""

import asyncio
import json
import sys
from urllib.parse import quote, unquote

import nats

PATIENCE_SECONDS = 60
# What the binding leaves as it is: every visible character but the quotation mark and the percent sign.
VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def understood(msg):
    headers = {name.lower(): value for name, value in (msg.headers or {}).items()}
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    media_type = attributes.setdefault("datacontenttype", unquote(headers.get("content-type", "application/json")))
    text = msg.data.decode()
    data = json.loads(text) if media_type == "application/json" and text else text or None
    return {"place": msg.subject, "attributes": attributes, "data": data}


async def read(url, subject):
    client = await nats.connect(url)
    # Which stream it is, the server knows.
    events = await client.jetstream().subscribe(subject, ordered_consumer=True)
    while True:
        msg = await events.next_msg(timeout=PATIENCE_SECONDS)
        print(json.dumps(understood(msg)))
        if msg.metadata.num_pending == 0:
            break
    await client.close()


async def write(url):
    client = await nats.connect(url)
    stream = client.jetstream()
    for line in sys.stdin:
        order = json.loads(line)
        if "raw" in order:
            await stream.publish(order["subject"], order["raw"].encode(), timeout=PATIENCE_SECONDS)
            continue
        headers = {f"ce-{name}": quote(value, safe=VISIBLE) for name, value in order["attributes"].items()}
        headers["content-type"] = "application/json"
        payload = json.dumps(order["data"]).encode()
        await stream.publish(order["subject"], payload, headers=headers, timeout=PATIENCE_SECONDS)
    await client.close()


asyncio.run({"read": read, "write": write}[sys.argv[1]](*sys.argv[2:]))
