"""python manage.py migrate | subscribe | runserver"""

import json
import os
import sys
import urllib.error
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

import shop
from tidewire import HANDLERS, Refused, read, reply, request

DATABASE = os.environ.get("DATABASE_URL", "postgres://localhost/tidewire")
PORT = int(os.environ.get("PORT", "8000"))
SINK = os.environ.get("SINK", f"http://127.0.0.1:{PORT}/events")
SECRET = Path(os.environ.get("SECRET_FILE", "webhook.secret"))
MAX_BODY = 1 << 20


def migrate() -> None:
    with psycopg.connect(DATABASE) as connection:
        connection.execute(shop.TABLES)


def subscribe() -> None:
    """Makes this service a consumer of every type it has a handler of, and keeps the secret that signs."""
    wanted = {
        "id": "shop",
        "sink": SINK,
        "protocol": "HTTP",
        "types": sorted(HANDLERS),
        "config": {"reply": {"source": "/shop", "types": shop.REPLIES}},
    }
    made = request("POST", f"{shop.TIDEWIRE}/v1/subscriptions", wanted)
    SECRET.touch(mode=0o600)
    SECRET.write_text(made["secret"])
    print(f"subscribed as {made['id']}")


class Server(BaseHTTPRequestHandler):
    """What customers call (`/orders`, `/followers/NAME`), and what Tidewire calls (`/events`)."""

    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        """The handshake: whoever may call here is told so."""
        self.answer(200, {"webhook-allowed-origin": self.headers.get("webhook-request-origin", "*")})

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", "0"))
        if size > MAX_BODY:
            self.close_connection = True
            return self.answer(413)
        body = self.rfile.read(size)
        with psycopg.connect(DATABASE) as connection:
            if self.path == "/orders":
                self.order(json.loads(body), connection)
            elif self.path == "/events":
                self.react(body, connection)
            else:
                self.answer(404)

    def do_GET(self) -> None:
        with psycopg.connect(DATABASE) as connection:
            name = self.path.removeprefix("/followers/")
            self.answer(200, {"content-type": "text/plain"}, str(shop.followers(connection, name)).encode())

    def order(self, wanted: dict, connection) -> None:
        try:
            order = shop.place_order(connection, wanted["customer"], wanted["total_cents"])
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("TW"):
                raise
            # What `tidewire.emit` refused says why, and the order was not placed either.
            return self.answer(422, {"content-type": "text/plain"}, error.diag.message_primary.encode())
        self.answer(201, {"content-type": "application/json"}, json.dumps({"order": order}).encode())

    def react(self, body: bytes, connection) -> None:
        """2xx: handled. 4xx and 5xx: tried again, in the order of the key, and parked at last."""
        try:
            event = read(self.headers, body, SECRET.read_text())
        except Refused as refused:
            return self.answer(401, {}, str(refused).encode())
        answer = HANDLERS[event.type](event, connection)
        connection.commit()
        print(f"handled {event.type} of {event.key}", flush=True)
        if answer is None:
            self.answer(204)
        else:
            self.answer(200, *reply(*answer))

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """One line per event is enough."""


def runserver() -> None:
    print(f"listening on 127.0.0.1:{PORT}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", PORT), Server).serve_forever()


if __name__ == "__main__":
    commands = {"migrate": migrate, "subscribe": subscribe, "runserver": runserver}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    try:
        commands[sys.argv[1]]()
    except urllib.error.HTTPError as refused:
        sys.exit(f"refused: {refused.read().decode()}")
