//! The filters of the CloudEvents Subscriptions API: `exact`, `prefix`, `suffix`, `all`, `any`, `not`, `sql`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewire_core::Envelope;
use tidewire_core::cesql::{Attributes, Expression, Value};

/// The most filters in one subscription, those inside others included.
const MAX_FILTERS: usize = 64;
/// The deepest nesting.
const MAX_DEPTH: usize = 8;
/// The longest name of an attribute, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// The longest text compared with, in bytes.
const MAX_TEXT_BYTES: usize = 2_048;

/// A filter as subscribers write it: an object with one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Every named attribute has exactly this value.
    Exact(BTreeMap<String, String>),
    /// Every named attribute starts so.
    Prefix(BTreeMap<String, String>),
    /// Every named attribute ends so.
    Suffix(BTreeMap<String, String>),
    /// All of these pass.
    All(Vec<Filter>),
    /// At least one of these passes.
    Any(Vec<Filter>),
    /// This one does not pass.
    Not(Box<Filter>),
    /// CloudEvents SQL.
    Sql(String),
}

/// Filters, read and ready: all of them must pass.
#[derive(Clone, Debug)]
pub(super) struct Sieve(Node);

#[derive(Clone, Debug)]
enum Node {
    Exact(BTreeMap<String, String>),
    Prefix(BTreeMap<String, String>),
    Suffix(BTreeMap<String, String>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Sql(Expression),
}

impl Sieve {
    /// Reads filters. What is wrong with them is told for people.
    pub(super) fn of(filters: &[Filter]) -> Result<Self, String> {
        let mut left = MAX_FILTERS;
        let nodes = filters.iter().map(|filter| read(filter, 0, &mut left)).collect::<Result<_, _>>()?;
        Ok(Self(Node::All(nodes)))
    }

    /// Whether an event passes.
    pub(super) fn passes(&self, event: &Envelope) -> bool {
        self.0.passes(event)
    }
}

fn read(filter: &Filter, depth: usize, left: &mut usize) -> Result<Node, String> {
    *left = left.checked_sub(1).ok_or_else(|| format!("at most {MAX_FILTERS} filters are taken"))?;
    if depth >= MAX_DEPTH {
        return Err(format!("filters lie at most {MAX_DEPTH} deep inside each other"));
    }
    let mut several = |filters: &[Filter]| match filters {
        [] => Err("`all` and `any` need at least one filter".to_owned()),
        filters => filters.iter().map(|inner| read(inner, depth + 1, left)).collect::<Result<Vec<_>, _>>(),
    };
    Ok(match filter {
        Filter::Exact(texts) => Node::Exact(texts_of(texts)?),
        Filter::Prefix(texts) => Node::Prefix(texts_of(texts)?),
        Filter::Suffix(texts) => Node::Suffix(texts_of(texts)?),
        Filter::All(filters) => Node::All(several(filters)?),
        Filter::Any(filters) => Node::Any(several(filters)?),
        Filter::Not(inner) => Node::Not(Box::new(read(inner, depth + 1, left)?)),
        Filter::Sql(text) => {
            Node::Sql(Expression::filter(text).map_err(|error| format!("`sql` is no CloudEvents SQL: {error}"))?)
        }
    })
}

/// Attributes and the non-empty texts they are compared with.
fn texts_of(texts: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if texts.is_empty() {
        return Err("`exact`, `prefix` and `suffix` name at least one attribute".into());
    }
    for (name, text) in texts {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_name) {
            return Err("an attribute's name has lower-case letters and digits only".into());
        }
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            return Err(format!("`{name}` is compared with a text of 1 to {MAX_TEXT_BYTES} bytes"));
        }
    }
    Ok(texts.clone())
}

impl Node {
    fn passes(&self, event: &Envelope) -> bool {
        let each = |texts: &BTreeMap<String, String>, holds: fn(&str, &str) -> bool| {
            texts.iter().all(|(name, text)| attribute(event, name).is_some_and(|found| holds(&found, text)))
        };
        match self {
            Self::Exact(texts) => each(texts, |found, text| found == text),
            Self::Prefix(texts) => each(texts, |found, text| found.starts_with(text)),
            Self::Suffix(texts) => each(texts, |found, text| found.ends_with(text)),
            Self::All(nodes) => nodes.iter().all(|node| node.passes(event)),
            Self::Any(nodes) => nodes.iter().any(|node| node.passes(event)),
            Self::Not(node) => !node.passes(event),
            Self::Sql(expression) => expression.matches(event),
        }
    }
}

fn attribute(event: &Envelope, name: &str) -> Option<String> {
    event.attribute(name).map(|value| match value {
        Value::Text(text) => text.into_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    fn event() -> Envelope {
        Envelope::from_json(
            br#"{"specversion":"1.0","id":"1","source":"/social","type":"user.followed.v1","partitionkey":"user/42",
            "time":"2026-01-01T00:00:00Z","sequence":"7","tier":"gold","level":3}"#,
        )
        .unwrap()
    }

    fn sieve(filters: Json) -> Result<Sieve, String> {
        let filters: Vec<Filter> = serde_json::from_value(filters).map_err(|error| error.to_string())?;
        Sieve::of(&filters)
    }

    #[test]
    fn filters_pass_what_they_say() {
        for (filters, passes) in [
            (json!([]), true),
            (json!([{"exact": {"type": "user.followed.v1"}}]), true),
            (json!([{"exact": {"type": "user.followed"}}]), false),
            (json!([{"exact": {"level": "3"}}]), true),
            (json!([{"exact": {"absent": "x"}}]), false),
            (json!([{"prefix": {"type": "user.", "tier": "go"}}]), true),
            (json!([{"prefix": {"type": "user.", "tier": "si"}}]), false),
            (json!([{"suffix": {"partitionkey": "/42"}}]), true),
            (json!([{"not": {"suffix": {"partitionkey": "/42"}}}]), false),
            (json!([{"any": [{"exact": {"tier": "tin"}}, {"sql": "level > 2"}]}]), true),
            (json!([{"all": [{"exact": {"tier": "gold"}}, {"sql": "level > 3"}]}]), false),
            (json!([{"exact": {"tier": "gold"}}, {"exact": {"tier": "tin"}}]), false),
            (json!([{"sql": "absent > 2"}]), false),
        ] {
            assert_eq!(sieve(filters.clone()).unwrap().passes(&event()), passes, "{filters}");
        }
    }

    #[test]
    fn filters_that_mean_nothing_are_refused() {
        let mut deep = json!({"exact": {"type": "x"}});
        for _ in 0..20 {
            deep = json!({ "not": deep });
        }
        let many: Vec<Json> = (0..100).map(|_| json!({"exact": {"type": "x"}})).collect();
        for bad in [
            json!([{}]),
            json!([{"like": {"type": "x"}}]),
            json!([{"exact": {}}]),
            json!([{"exact": {"type": ""}}]),
            json!([{"exact": {"Type": "x"}}]),
            json!([{"any": []}]),
            json!([{"sql": "type LIKE"}]),
            json!([{"exact": {"type": "x"}, "prefix": {"type": "x"}}]),
            json!([deep]),
            json!(many),
        ] {
            assert!(sieve(bad.clone()).is_err(), "{bad}");
        }
    }
}
