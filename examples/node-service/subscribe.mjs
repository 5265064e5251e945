// npm run subscribe: makes this service a consumer of orders, and keeps the secret that signs what it is sent.
import { writeFileSync } from "node:fs";
import { TIDEWIRE } from "./tidewire.mjs";

const sink = process.env.SINK ?? `http://127.0.0.1:${process.env.PORT ?? 8100}/events`;
const wanted = { id: "shipping", sink, protocol: "HTTP", types: ["order.placed"] };
const headers = { "content-type": "application/json" };
const answer = await fetch(`${TIDEWIRE}/v1/subscriptions`, { method: "POST", headers, body: JSON.stringify(wanted) });
const made = await answer.json();
if (!answer.ok) throw new Error(`refused: ${made.detail}`);
writeFileSync(process.env.SECRET_FILE ?? "webhook.secret", made.secret, { mode: 0o600 });
console.log(`subscribed as ${made.id}`);
