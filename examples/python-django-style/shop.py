"""The service itself: its tables, what it decides, and what it does when something happened elsewhere."""

import os
from collections import Counter
from urllib.parse import quote

from tidewire import Event, emit, on, request

TIDEWIRE = os.environ.get("TIDEWIRE_URL", "http://127.0.0.1:4500")

# What it may answer with.
REPLIES = ["document.enriched", "document.enrichment.failed", "document.enrichment.removed"]

TABLES = """
create table if not exists shop_order (
  id integer generated always as identity primary key,
  customer text not null,
  total_cents integer not null
);
create table if not exists shop_follower_count (name text primary key, followers integer not null);
create table if not exists shop_seen (event_id text primary key);
"""


def place_order(connection, customer: str, total_cents: int) -> int:
    """An order and the event that tells of it, in one transaction: both exist, or neither does."""
    with connection.transaction():
        row = connection.execute(
            "insert into shop_order (customer, total_cents) values (%s, %s) returning id", (customer, total_cents)
        ).fetchone()
        data = {"order_id": row[0], "customer": customer, "total_cents": total_cents}
        emit(connection, "order.placed.v1", f"order/{row[0]}", data)
        return row[0]


def followers(connection, name: str) -> int:
    row = connection.execute("select followers from shop_follower_count where name = %s", (name,)).fetchone()
    return row[0] if row else 0


@on("user.followed.v1")
def count_follower(event: Event, connection) -> None:
    """A consumer. Events come at least once, so the id is kept in the transaction that counts."""
    with connection.transaction():
        fresh = connection.execute(
            "insert into shop_seen (event_id) values (%s) on conflict do nothing", (event.id,)
        ).rowcount
        if fresh:
            connection.execute(
                "insert into shop_follower_count as c (name, followers) values (%s, 1) "
                "on conflict (name) do update set followers = c.followers + 1",
                (event.data["followed_id"],),
            )


@on("document.enrichment.requested.v1")
def enrich(event: Event, connection):
    """A step of the ingestion saga. What is returned is the reply that the saga waits for."""
    document = event.data["document_id"]
    try:
        text = request("GET", f"{TIDEWIRE}/v1/documents/{quote(document)}/text")
    except OSError as error:
        reason = f"the text cannot be read: {error}"
        return "document.enrichment.failed.v1", {"document_id": document, "code": "shop.no_text", "reason": reason}
    words = [word.strip(".,;:!?()\"'").lower() for word in str(text).split()]
    telling = Counter(word for word in words if 6 <= len(word) <= 30)
    return "document.enriched.v1", {
        "document_id": document,
        "words": len(words),
        "reading_seconds": len(words) * 60 // 230,
        "keywords": [word for word, _ in telling.most_common(5)],
    }


@on("document.enrichment.removal_requested.v1")
def forget(event: Event, connection):
    """The undo of that step. Nothing was kept, so nothing is to be done, and that is a success."""
    return "document.enrichment.removed.v1", {"document_id": event.data["document_id"]}
