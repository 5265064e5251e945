//! Shapes of JSON for [`RouteDoc`](super::RouteDoc): JSON Schema 2020-12, in fewer words.

use serde_json::{Map, Value, json};

/// What a value looks like, perhaps with an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    schema: Value,
    example: Option<Value>,
}

impl Shape {
    /// A shape by its schema. For what the functions here cannot say.
    pub fn of(schema: Value) -> Self {
        Self { schema, example: None }
    }

    /// With an example; of a body, it is the one documentation shows.
    pub fn example(mut self, example: Value) -> Self {
        self.example = Some(example);
        self
    }

    /// With a sentence on what it means.
    pub fn described(self, description: &str) -> Self {
        self.with("description", json!(description))
    }

    /// With what stands where nothing is said.
    pub fn default(self, value: Value) -> Self {
        self.with("default", value)
    }

    /// With a regular expression (ECMA-262, anchored by itself) that a text follows.
    pub fn pattern(self, pattern: &str) -> Self {
        self.with("pattern", json!(format!("^(?:{pattern})$")))
    }

    /// With one more member, of an object; a name that ends in `?` may be absent.
    pub fn member(mut self, name: &str, shape: Shape) -> Self {
        let plain = name.trim_end_matches('?');
        self.schema["properties"][plain] = shape.schema;
        if plain == name {
            match &mut self.schema["required"] {
                Value::Array(required) => required.push(json!(plain)),
                other => *other = json!([plain]),
            }
        }
        self
    }

    /// An object that holds nothing else: unknown members are refused.
    pub fn closed(self) -> Self {
        self.with("additionalProperties", json!(false))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.schema[name] = value;
        self
    }

    /// The schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The example, if one was given.
    pub fn given_example(&self) -> Option<&Value> {
        self.example.as_ref()
    }

    /// As the content of one media type.
    pub fn media(&self) -> Value {
        match &self.example {
            Some(example) => json!({ "schema": self.schema, "example": example }),
            None => json!({ "schema": self.schema }),
        }
    }
}

/// Anything.
pub fn any() -> Shape {
    Shape::of(json!({}))
}

/// A text.
pub fn text() -> Shape {
    Shape::of(json!({ "type": "string" }))
}

/// A text of at least one and at most `limit` characters.
pub fn text_up_to(limit: usize) -> Shape {
    Shape::of(json!({ "type": "string", "minLength": 1, "maxLength": limit }))
}

/// A text of at most `limit` characters, which may be empty.
pub fn text_at_most(limit: usize) -> Shape {
    Shape::of(json!({ "type": "string", "maxLength": limit }))
}

/// Bytes that are not JSON.
pub fn bytes() -> Shape {
    Shape::of(json!({ "type": "string", "format": "binary" }))
}

/// One of these words.
pub fn word<const N: usize>(words: [&str; N]) -> Shape {
    Shape::of(json!({ "type": "string", "enum": words.as_slice() }))
}

/// `true` or `false`.
pub fn boolean() -> Shape {
    Shape::of(json!({ "type": "boolean" }))
}

/// A whole number within limits.
pub fn number(least: i64, most: i64) -> Shape {
    Shape::of(json!({ "type": "integer", "minimum": least, "maximum": most }))
}

/// A whole number from 0 on: counts, positions, versions.
pub fn count() -> Shape {
    Shape::of(json!({ "type": "integer", "minimum": 0 }))
}

/// Any number.
pub fn decimal() -> Shape {
    Shape::of(json!({ "type": "number" }))
}

/// A time in RFC 3339.
pub fn time() -> Shape {
    Shape::of(json!({ "type": "string", "format": "date-time" }))
}

/// A UUID.
pub fn uuid() -> Shape {
    Shape::of(json!({ "type": "string", "format": "uuid" }))
}

/// The name of an event type with its version, such as `user.followed.v1`.
pub fn event_type() -> Shape {
    text().described("An event type, such as `user.followed.v1`.")
}

/// A list.
pub fn list(item: Shape) -> Shape {
    Shape::of(json!({ "type": "array", "items": item.schema }))
}

/// A list of at most so many.
pub fn list_up_to(limit: usize, item: Shape) -> Shape {
    Shape::of(json!({ "type": "array", "items": item.schema, "maxItems": limit }))
}

/// An object with these members; names that end in `?` may be absent. Further members may come with time.
pub fn object<const N: usize>(members: [(&str, Shape); N]) -> Shape {
    let empty = Shape::of(json!({ "type": "object", "properties": {} }));
    members.into_iter().fold(empty, |object, (name, shape)| object.member(name, shape))
}

/// An object whose member names are data.
pub fn map(value: Shape) -> Shape {
    Shape::of(json!({ "type": "object", "additionalProperties": value.schema }))
}

/// This, or null.
pub fn nullable(shape: Shape) -> Shape {
    Shape::of(json!({ "anyOf": [shape.schema, { "type": "null" }] }))
}

/// One of these shapes.
pub fn either<const N: usize>(shapes: [Shape; N]) -> Shape {
    Shape::of(json!({ "anyOf": shapes.into_iter().map(|shape| shape.schema).collect::<Vec<_>>() }))
}

/// A CloudEvent in JSON.
pub fn event() -> Shape {
    named("Event")
}

/// One of the document's own components: `Event`, `Problem`.
pub fn named(name: &str) -> Shape {
    Shape::of(json!({ "$ref": format!("#/components/schemas/{name}") }))
}

/// The components that [`named`] knows.
pub fn components() -> Map<String, Value> {
    let event = object([
        ("specversion", Shape::of(json!({ "type": "string", "const": "1.0" }))),
        ("id", text_up_to(256)),
        ("source", text_up_to(1_024).described("A URI reference: who says so, such as `/billing`.")),
        ("type", text_up_to(128).described("What happened, with its version, such as `user.followed.v1`.")),
        ("time?", time()),
        ("subject?", text_up_to(1_024)),
        ("datacontenttype?", text()),
        ("dataschema?", text()),
        ("partitionkey?", text().described("The key, within which order is kept; follows from the data.")),
        ("data?", any()),
        ("data_base64?", text()),
    ]);
    let event = event.described("A CloudEvent 1.0 in the JSON format.").example(json!({
        "specversion": "1.0", "id": "0198c2f0-1", "source": "/billing", "type": "user.followed.v1",
        "data": { "follower_id": "7", "followed_id": "42" },
    }));
    let problem = object([
        ("type", text().described("`urn:tidewire:problem:` and the code.")),
        ("title", text()),
        ("status", number(400, 599)),
        ("detail", text().described("What is wrong with this request, and what would be right.")),
        ("code", text().pattern(r"[a-z][a-z0-9_]*\.[a-z0-9_.]+").described("Stable; branch on this.")),
        ("instance", text()),
        ("trace_id", text().described("The id of the request, for those who read the logs.")),
    ]);
    let problem = problem.described("RFC 9457. `tidewire explain CODE` says what to do about a code.").example(json!({
        "type": "urn:tidewire:problem:http.not_found", "title": "Not found", "status": 404,
        "detail": "there is no user `7`", "code": "http.not_found", "instance": "/v1/users/7", "trace_id": "0198c2f0",
    }));
    [("Event", event), ("Problem", problem)]
        .into_iter()
        .map(|(name, shape)| {
            let mut schema = shape.schema;
            if let Some(example) = shape.example {
                schema["examples"] = json!([example]);
            }
            (name.to_owned(), schema)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_with_a_question_mark_may_be_absent() {
        let shape = object([("id", text()), ("name?", text_up_to(3))]).closed();
        let expected = json!({
            "type": "object",
            "properties": { "id": { "type": "string" }, "name": { "type": "string", "minLength": 1, "maxLength": 3 } },
            "required": ["id"],
            "additionalProperties": false,
        });
        assert_eq!(shape.schema(), &expected);
    }

    #[test]
    fn every_component_is_an_object_with_an_example() {
        for (name, component) in components() {
            assert_eq!((&component["type"], component["examples"].is_array()), (&json!("object"), true), "{name}");
        }
    }
}
