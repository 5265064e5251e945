//! The AsyncAPI document of a catalogue: what can be received, where, and how it looks.

use serde_json::{Map, Value, json};

/// One event type for the document.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    /// Name and version, such as `user.followed.v1`.
    pub ty: String,
    /// Its name without the version.
    pub name: &'a str,
    /// What happened.
    pub description: &'a str,
    /// The JSON Schema of its data.
    pub schema: Value,
    /// Data that follows it, where there is some.
    pub example: Option<&'a Value>,
}

/// The document, in AsyncAPI 3.0. The same input gives the same bytes, so that it can be kept in a repository.
pub fn document<'a>(title: &str, version: &str, types: impl IntoIterator<Item = Described<'a>>) -> Value {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for described in types {
        let id = identifier(&described.ty);
        let reference = json!({ "$ref": format!("#/components/messages/{id}") });
        channels.insert(
            id.clone(),
            json!({
                "address": format!("tw.{{domain}}.{{bucket}}.{}", described.ty),
                "title": described.ty,
                "description": "On NATS JetStream this is the subject. On Apache Kafka all types share the topic `tidewire.{domain}` and `ce_type` tells them apart.",
                "parameters": {
                    "domain": { "description": "The installation's name (`broker.domain`).", "default": "main" },
                    "bucket": { "description": "00 to 63: the first byte of the SHA-256 of `partitionkey`, modulo 64. Subscribe with `*` for all." },
                },
                "messages": { "event": reference },
            }),
        );
        operations.insert(
            format!("receive_{id}"),
            json!({
                "action": "receive",
                "channel": { "$ref": format!("#/channels/{id}") },
                "summary": described.description,
                "messages": [{ "$ref": format!("#/channels/{id}/messages/event") }],
            }),
        );
        messages.insert(id, message(&described));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Domain events as CloudEvents 1.0 in binary mode: attributes in headers, `data` as it is. Delivery is at least once, in order per `partitionkey`; `source` and `id` together identify an event for ever.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": { "attributes": attributes() } },
    })
}

fn message(described: &Described<'_>) -> Value {
    let mut schema = described.schema.clone();
    if let Some(keywords) = schema.as_object_mut() {
        // Within this document the schema has no address of its own.
        keywords.remove("$id");
        keywords.remove("$schema");
    }
    let mut message = json!({
        "name": described.ty,
        "title": described.name,
        "summary": described.description,
        "contentType": "application/json",
        "headers": { "$ref": "#/components/schemas/attributes" },
        "payload": { "schemaFormat": "application/schema+json;version=draft-07", "schema": schema },
    });
    if let Some(example) = described.example {
        message["examples"] = json!([{ "name": "example", "payload": example }]);
    }
    message
}

/// The CloudEvents attributes, by their names on NATS; Kafka writes `ce_` for `ce-`.
fn attributes() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "required": ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "ce-partitionkey"],
        "properties": {
            "ce-specversion": { "type": "string", "const": "1.0" },
            "ce-id": text("Unique within its source; a UUIDv7 when made by Tidewire."),
            "ce-source": text("The service that emitted the event."),
            "ce-type": text("Name and schema version, such as `user.followed.v1`."),
            "ce-time": text("When it happened, by the emitter's clock."),
            "ce-partitionkey": text("The key: the ordering unit."),
            "ce-sequence": text("Its version in the key's stream, from 1 without gaps."),
            "ce-recordedtime": text("When the log took it."),
            "ce-dataschema": text("Where the schema of the data is published."),
            "ce-correlationid": text("The flow it belongs to."),
            "ce-causationid": text("The id of the event that caused it."),
            "ce-traceparent": text("The W3C trace context it was emitted in."),
            "content-type": text("The media type of the data."),
        },
    })
}

/// A type as an AsyncAPI identifier.
fn identifier(ty: &str) -> String {
    ty.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
