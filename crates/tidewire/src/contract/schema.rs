//! A JSON Schema, resolved and flattened as far as a comparison needs it.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The deepest chain of references that is followed: a circle of nothing but references has no end.
const MAX_REFERENCES: usize = 32;

/// A schema within its document.
#[derive(Clone)]
pub(super) struct Schema<'a> {
    root: &'a Value,
    node: Cow<'a, Value>,
}

impl<'a> Schema<'a> {
    pub(super) fn root(root: &'a Value) -> Self {
        Self { root, node: Cow::Borrowed(root) }.flat()
    }

    /// A schema below this one.
    pub(super) fn below(&self, node: &Value) -> Self {
        Self { root: self.root, node: Cow::Owned(node.clone()) }.flat()
    }

    pub(super) fn node(&self) -> &Value {
        &self.node
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&Value> {
        self.node.get(keyword)
    }

    /// Accepts anything: `true`, or an object without a keyword that restricts.
    pub(super) fn is_any(&self) -> bool {
        match &*self.node {
            Value::Bool(any) => *any,
            Value::Object(keywords) => keywords.keys().all(|keyword| ANNOTATIONS.contains(&keyword.as_str())),
            _ => false,
        }
    }

    /// Accepts nothing.
    pub(super) fn is_nothing(&self) -> bool {
        *self.node == Value::Bool(false)
    }

    /// With references followed and `allOf` merged in. What cannot be merged without loss stays in `allOf`, where the
    /// comparison finds and judges it.
    fn flat(mut self) -> Self {
        for _ in 0..MAX_REFERENCES {
            let Some(target) = self.reference() else { break };
            self.node = Cow::Owned(target);
        }
        if let Some(merged) = self.merged() {
            self.node = Cow::Owned(merged);
        }
        self
    }

    /// What `$ref` points to, with the keywords beside it.
    fn reference(&self) -> Option<Value> {
        let pointer = self.node.get("$ref")?.as_str()?.strip_prefix('#')?;
        let target = if pointer.is_empty() { self.root } else { self.root.pointer(pointer)? };
        let mut beside = self.node.as_object()?.clone();
        beside.remove("$ref");
        match (target, beside.keys().all(|keyword| ANNOTATIONS.contains(&keyword.as_str()))) {
            (target, true) => Some(target.clone()),
            (target, false) => {
                beside.entry("allOf").or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?.push(target.clone());
                Some(Value::Object(beside))
            }
        }
    }

    fn merged(&self) -> Option<Value> {
        let parts = self.node.get("allOf")?.as_array()?;
        let mut whole = self.node.as_object()?.clone();
        whole.remove("allOf");
        let mut left = Vec::new();
        for part in parts {
            let part = self.below(part);
            match part.node() {
                Value::Object(part) if can_join(&whole, part) => join(&mut whole, part),
                other => left.push(other.clone()),
            }
        }
        if !left.is_empty() {
            whole.insert("allOf".into(), Value::Array(left));
        }
        Some(Value::Object(whole))
    }
}

/// Keywords that restrict nothing.
pub(super) const ANNOTATIONS: [&str; 15] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
    "contentEncoding",
];

/// Whether two sets of keywords can be one without meaning something else.
fn can_join(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter().all(|(keyword, value)| match (keyword.as_str(), whole.get(keyword)) {
        (_, None) => !(keyword == "additionalProperties" && whole.contains_key("properties")),
        ("required", Some(_)) => true,
        ("properties", Some(Value::Object(whole))) => {
            let Some(part) = value.as_object() else { return false };
            part.iter().all(|(name, schema)| whole.get(name).is_none_or(|found| found == schema))
        }
        (keyword, Some(found)) => found == value || ANNOTATIONS.contains(&keyword),
    }) && !(part.contains_key("properties") && whole.contains_key("additionalProperties"))
}

fn join(whole: &mut Map<String, Value>, part: &Map<String, Value>) {
    for (keyword, value) in part {
        match (whole.get_mut(keyword), value) {
            (Some(Value::Array(all)), Value::Array(more)) if keyword == "required" => {
                all.extend(more.iter().filter(|name| !all.contains(name)).cloned().collect::<Vec<_>>());
            }
            (Some(Value::Object(all)), Value::Object(more)) if keyword == "properties" => {
                all.extend(more.iter().map(|(name, schema)| (name.clone(), schema.clone())));
            }
            (Some(_), _) => {}
            (None, value) => {
                whole.insert(keyword.clone(), value.clone());
            }
        }
    }
}
