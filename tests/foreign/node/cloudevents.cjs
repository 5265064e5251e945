// The CloudEvents SDK for Node, and nothing of Tidewire. Orders and answers as in cloudevents_sdk.py.
const { CloudEvent, HTTP, Kafka } = require("cloudevents");
const lines = require("node:readline").createInterface({ input: process.stdin });

const ATTRIBUTES = ["data", "data_base64"];

function shown(event) {
  if (event.data_base64) return { base64: event.data_base64 };
  const data = event.data;
  if (data === undefined || data === null || data === "") return null;
  if (data instanceof Uint8Array) return { base64: Buffer.from(data).toString("base64") };
  return typeof data === "string" ? { text: data } : { json: data };
}

function taken(data) {
  if (!data) return undefined;
  if ("base64" in data) return Uint8Array.from(Buffer.from(data.base64, "base64"));
  return "text" in data ? data.text : data.json;
}

// A body is text unless it is no UTF-8.
function body(order) {
  const bytes = Buffer.from(order.body, "base64");
  const text = bytes.toString("utf8");
  return Buffer.from(text, "utf8").equals(bytes) ? text : bytes;
}

function read(order) {
  const event =
    order.binding === "http"
      ? HTTP.toEvent({ headers: order.headers, body: body(order) })
      : Kafka.toEvent({ headers: order.headers, key: order.key, value: body(order), body: body(order) });
  const attributes = {};
  for (const [name, value] of Object.entries(event)) {
    if (!ATTRIBUTES.includes(name) && value !== undefined && value !== null) attributes[name] = value;
  }
  return { attributes, data: shown(event) };
}

function write(order) {
  const event = new CloudEvent({ ...order.attributes, data: taken(order.data) });
  const written = (order.binding === "http" ? HTTP : Kafka)[order.mode](event);
  const value = order.binding === "http" ? written.body : written.value;
  const text = value === undefined || value === null ? "" : value;
  const bytes = typeof text === "string" || text instanceof Uint8Array ? Buffer.from(text) : Buffer.from(JSON.stringify(text));
  const headers = Object.fromEntries(
    Object.entries(written.headers).filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)]),
  );
  return { headers, body: bytes.toString("base64") };
}

lines.on("line", (line) => {
  const order = JSON.parse(line);
  let answer;
  try {
    answer = order.do === "read" ? read(order) : write(order);
  } catch (error) {
    answer = { refused: `${error.name}: ${error.message}` };
  }
  console.log(JSON.stringify(answer));
});
