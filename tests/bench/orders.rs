//! The load: orders of 1 KiB, for keys of which few are many.

use bytes::Bytes;
use serde_json::{Value, json};
use tidewire_core::{Clock, Draft, Envelope, EventType, Key};

use crate::harness::stats::Random;

/// The size of every payload.
pub const PAYLOAD_BYTES: usize = 1_024;
/// How many keys there are.
pub const KEYS: usize = 1_000;
/// The exponent of their popularity: the first is drawn about 13 % of the time.
const ZIPF: f64 = 0.99;
/// Payloads prepared ahead, so that making them is no part of what is measured.
const PAYLOADS: usize = 256;

/// What happens in every benchmark but the sagas.
pub const ORDER_PLACED: EventType = EventType::new("order.placed", 1);
/// Who says so.
pub const SOURCE: &str = "/bench";

/// An endless, repeatable sequence of orders.
#[derive(Clone)]
pub struct Orders {
    random: Random,
    keys: Vec<Key>,
    popularity: Vec<f64>,
    payloads: Vec<Bytes>,
}

impl Orders {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut sum = 0.0;
        let mut popularity: Vec<f64> = (1..=KEYS)
            .map(|rank| {
                sum += 1.0 / (rank as f64).powf(ZIPF);
                sum
            })
            .collect();
        popularity.iter_mut().for_each(|share| *share /= sum);
        let payloads = (0..PAYLOADS).map(|_| payload(&mut random)).collect();
        Self { random, keys: (0..KEYS).map(|n| Key::of("order", n)).collect(), popularity, payloads }
    }

    /// The same orders in a sequence of their own.
    pub fn fork(&self, seed: u64) -> Self {
        Self { random: Random::new(seed), ..self.clone() }
    }

    /// Every key there is.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The next key and payload.
    pub fn draw(&mut self) -> (Key, Bytes) {
        let place = self.random.fraction();
        let key = self.popularity.partition_point(|share| *share < place).min(KEYS - 1);
        let payload = self.random.below(PAYLOADS);
        (self.keys[key].clone(), self.payloads[payload].clone())
    }

    /// The next order, decided and not yet emitted.
    pub fn draft(&mut self) -> Draft {
        let (key, payload) = self.draw();
        draft(key, payload)
    }

    /// The next order as an event about to be emitted.
    pub fn envelope(&mut self, clock: &dyn Clock) -> Envelope {
        self.draft().seal(clock, SOURCE, None)
    }
}

fn draft(key: Key, data: Bytes) -> Draft {
    Draft {
        ty: ORDER_PLACED,
        key,
        data: Some(data),
        datacontenttype: None,
        subject: None,
        id: None,
        correlationid: None,
        expirytime: None,
        dataref: None,
        extensions: Default::default(),
    }
}

/// What every payload follows: its twelve properties, and no others.
pub fn schema() -> Value {
    let text = json!({ "type": "string", "maxLength": 1_024 });
    let number = json!({ "type": "number", "minimum": 0 });
    json!({
        "type": "object",
        "required": ["order_id", "customer_id", "currency", "total", "placed_at", "items"],
        "additionalProperties": false,
        "properties": {
            "order_id": { "type": "string", "pattern": "^[0-9a-f]{16}$" },
            "customer_id": { "type": "integer", "minimum": 0 },
            "currency": { "enum": ["EUR", "USD", "JPY"] },
            "total": number,
            "placed_at": text,
            "channel": { "enum": ["web", "app", "shop"] },
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["sku", "quantity"],
                    "properties": { "sku": text, "quantity": { "type": "integer", "minimum": 1 } },
                },
            },
            "address": { "type": "object", "properties": { "street": text, "city": text, "country": text } },
            "gift": { "type": "boolean" },
            "discount": { "type": ["number", "null"] },
            "tags": { "type": "array", "items": text },
            "note": text,
        },
    })
}

/// Twelve properties; the last fills up to the size.
fn payload(random: &mut Random) -> Bytes {
    let currency = ["EUR", "USD", "JPY"][random.below(3)];
    let channel = ["web", "app", "shop"][random.below(3)];
    let mut item = || json!({ "sku": format!("{:08x}", random.next() as u32), "quantity": 1 + random.below(5) });
    let items: Vec<_> = (0..4).map(|_| item()).collect();
    let mut order = json!({
        "order_id": format!("{:016x}", random.next()),
        "customer_id": random.below(100_000),
        "currency": currency,
        "total": random.below(100_000) as f64 / 100.0,
        "placed_at": "2026-01-02T03:04:05Z",
        "channel": channel,
        "items": items,
        "address": {"street": "Quay 12", "city": "Harbour", "country": "NL"},
        "gift": random.below(10) == 0,
        "discount": null,
        "tags": ["first", "priority"],
        "note": "",
    });
    let missing = PAYLOAD_BYTES - order.to_string().len();
    order["note"] = "x".repeat(missing).into();
    Bytes::from(order.to_string())
}
