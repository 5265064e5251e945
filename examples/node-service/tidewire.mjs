// All a Node service needs of Tidewire: a request out to emit, a request in to react. Nothing to install.
import { createHmac, timingSafeEqual } from "node:crypto";

export const TIDEWIRE = process.env.TIDEWIRE_URL ?? "http://127.0.0.1:4500";
const TOLERANCE_SECONDS = 300;

/// Emits an event. The same `idempotencyKey` with the same event is taken once, however often it is sent: use one that
/// belongs to the cause, and try again whenever the answer did not come.
/// The event belongs to the flow of its `cause`.
export async function emit({ id, type, key, data, idempotencyKey, cause }) {
  const flow = { correlationid: cause.correlationid, causationid: cause.id };
  const event = { specversion: "1.0", id, source: "/shipping", type, partitionkey: key, ...flow, data };
  const headers = { "content-type": "application/cloudevents+json", "idempotency-key": idempotencyKey };
  if (process.env.TIDEWIRE_KEY) headers.authorization = `Bearer ${process.env.TIDEWIRE_KEY}`;
  const answer = await fetch(`${TIDEWIRE}/v1/events`, { method: "POST", headers, body: JSON.stringify(event) });
  if (!answer.ok) throw new Error(`${type} was refused: ${await answer.text()}`);
  return answer.json();
}

/// Whether a request is Tidewire's: Standard Webhooks, `v1,<HMAC-SHA256 of "id.timestamp.body">`. While a secret is
/// rotated there are several signatures; one that fits will do.
export function isSigned(headers, body, secret, now = Date.now()) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": given } = headers;
  if (!id || !given || !(Math.abs(now / 1000 - Number(timestamp)) <= TOLERANCE_SECONDS)) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return given.split(" ").some((one) => {
    const signature = Buffer.from(one.replace(/^v1,/, ""), "base64");
    return signature.length === expected.length && timingSafeEqual(signature, expected);
  });
}

/// The CloudEvent of a request in HTTP binary mode: attributes in `ce-` headers, the data as the body.
export function event(headers, body) {
  const attributes = Object.entries(headers).filter(([name]) => name.startsWith("ce-"));
  const decoded = attributes.map(([name, value]) => [name.slice(3), decodeURIComponent(value)]);
  return { ...Object.fromEntries(decoded), data: body.length ? JSON.parse(body) : undefined };
}
