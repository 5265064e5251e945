// npm start: ships what was ordered.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { emit, event, isSigned } from "./tidewire.mjs";

const PORT = Number(process.env.PORT ?? 8100);
const SECRET_FILE = process.env.SECRET_FILE ?? "webhook.secret";
const MAX_BODY = 1 << 20;

const handlers = {
  // Ships once per order: the event's own id is where the parcel and the idempotency key come from, so that an event
  // that comes twice leads to one parcel.
  async "order.placed.v1"(cause) {
    const { id, data } = cause;
    const order = String(data.order_id);
    await emit({
      id: `shipped-${id}`,
      type: "order.shipped.v1",
      key: `order/${order}`,
      data: { order_id: order, parcel: `P-${order.padStart(4, "0")}` },
      idempotencyKey: `ship-${id}`,
      cause,
    });
  },
};

async function body(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY) throw new RangeError("too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

// 2xx: handled. Anything else: tried again in the order of its key, and parked at last.
async function answer(request, response) {
  const { method, url, headers } = request;
  if (method === "OPTIONS") {
    // The handshake: whoever may call here is told so.
    return response.writeHead(200, { "webhook-allowed-origin": headers["webhook-request-origin"] ?? "*" }).end();
  }
  if (method !== "POST" || url !== "/events") return response.writeHead(404).end();
  const bytes = await body(request);
  if (!isSigned(headers, bytes, readFileSync(SECRET_FILE, "utf8"))) return response.writeHead(401).end("not signed");
  const came = event(headers, bytes);
  await handlers[came.type]?.(came);
  console.log(`handled ${came.type} of ${came.partitionkey}`);
  response.writeHead(204).end();
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error.message);
    response.writeHead(error instanceof RangeError ? 413 : 500).end(error.message);
  });
}).listen(PORT, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${PORT}`));
