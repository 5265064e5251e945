//! What a schema may ask of whoever validates with it: bounded work, and nothing from elsewhere.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// The most values in one schema, names and numbers included: each may be looked at for every value of the data.
const MAX_VALUES: usize = 10_000;
/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1_000;
/// The longest way from schema to schema that all judge the same value: every step is a call on the stack.
const MAX_CHAIN: usize = 64;

/// Keywords whose schemas judge the very value that their own schema judges.
const IN_PLACE: [&str; 8] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"];

/// Keywords that hold data, in which nothing is a schema.
const DATA: [&str; 4] = ["const", "enum", "examples", "default"];

/// Keywords whose members have names of their own: a property may be called `default`.
const NAMED: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];

/// Where in a schema something is wrong, as a JSON pointer, and what.
pub(super) type Wrong = (String, String);

/// Checks a schema that is otherwise well-formed: its size, its patterns, where its references lead, and that none of them
/// leads back to itself without looking further into the data, which would never end.
pub(super) fn check(schema: &Value) -> Result<(), Wrong> {
    let mut walk = Walk { root: schema, places: HashMap::new(), anchors: HashMap::new(), values: 0 };
    walk.note(schema, String::new(), false)?;
    walk.ends()
}

struct Walk<'a> {
    root: &'a Value,
    /// Every object that may be a schema, by its pointer.
    places: HashMap<String, &'a Value>,
    anchors: HashMap<&'a str, String>,
    values: usize,
}

impl<'a> Walk<'a> {
    /// Notes a value and everything in it. The parser has bounded its depth. The members of one that `is_named` have
    /// names, not keywords.
    fn note(&mut self, value: &'a Value, place: String, is_named: bool) -> Result<(), Wrong> {
        self.one_more()?;
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(item, format!("{place}/{index}"), false)?;
                }
            }
            Value::Object(members) => {
                if is_named {
                    return members.iter().try_for_each(|(name, it)| self.note(it, joined(&place, name), false));
                }
                self.judge(members, &place)?;
                for (name, member) in members.iter() {
                    let name = name.as_str();
                    match DATA.contains(&name) {
                        true => self.count(member)?,
                        false => self.note(member, joined(&place, name), NAMED.contains(&name))?,
                    }
                }
                self.places.insert(place, value);
            }
            _ => {}
        }
        Ok(())
    }

    fn one_more(&mut self) -> Result<(), Wrong> {
        self.values += 1;
        match self.values > MAX_VALUES {
            true => Err((String::new(), format!("more than {MAX_VALUES} values; split the type, or say less of it"))),
            false => Ok(()),
        }
    }

    /// Counts data, which holds no schemas.
    fn count(&mut self, value: &Value) -> Result<(), Wrong> {
        self.one_more()?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.count(item)),
            Value::Object(members) => members.values().try_for_each(|member| self.count(member)),
            _ => Ok(()),
        }
    }

    fn judge(&mut self, members: &'a serde_json::Map<String, Value>, place: &str) -> Result<(), Wrong> {
        for name in ["$anchor", "$dynamicAnchor"] {
            if let Some(Value::String(anchor)) = members.get(name) {
                self.anchors.insert(anchor, place.to_owned());
            }
        }
        for name in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(target)) = members.get(name)
                && !target.starts_with('#')
            {
                let why = format!("`{}` is elsewhere, and nothing is ever fetched; put it under `$defs`", cut(target));
                return Err((joined(place, name), why));
            }
        }
        match members.get("pattern") {
            Some(Value::String(pattern)) if pattern.len() > MAX_PATTERN_BYTES => {
                let why = format!("{} bytes; at most {MAX_PATTERN_BYTES} are taken", pattern.len());
                Err((joined(place, "pattern"), why))
            }
            _ => Ok(()),
        }
    }

    /// Whether every chain of schemas that judge the same value ends, and soon.
    fn ends(&self) -> Result<(), Wrong> {
        let mut known = HashMap::new();
        let mut places: Vec<&String> = self.places.keys().collect();
        places.sort_unstable();
        places.into_iter().try_for_each(|place| self.length(place, &mut HashSet::new(), &mut known).map(drop))
    }

    /// The longest chain from here. `open` are the schemas it has come through.
    fn length(
        &self,
        place: &str,
        open: &mut HashSet<String>,
        known: &mut HashMap<String, usize>,
    ) -> Result<usize, Wrong> {
        if let Some(length) = known.get(place) {
            return Ok(*length);
        }
        if !open.insert(place.to_owned()) {
            return Err((place.to_owned(), "it leads back to itself without looking into the data".into()));
        }
        if open.len() > MAX_CHAIN {
            return Err((place.to_owned(), format!("more than {MAX_CHAIN} schemas judge the same value in turn")));
        }
        let mut longest = 0;
        for next in self.next(place) {
            longest = longest.max(1 + self.length(&next, open, known)?);
        }
        open.remove(place);
        known.insert(place.to_owned(), longest);
        if longest > MAX_CHAIN {
            return Err((place.to_owned(), format!("more than {MAX_CHAIN} schemas judge the same value in turn")));
        }
        Ok(longest)
    }

    /// The schemas that judge the same value as the one at this place.
    fn next(&self, place: &str) -> Vec<String> {
        let Some(Value::Object(members)) = self.places.get(place) else { return Vec::new() };
        let mut next = Vec::new();
        for name in IN_PLACE {
            let at = joined(place, name);
            match members.get(name) {
                Some(Value::Array(all)) => next.extend((0..all.len()).map(|index| format!("{at}/{index}"))),
                Some(Value::Object(all)) if name == "dependentSchemas" => {
                    next.extend(all.keys().map(|name| joined(&at, name)));
                }
                Some(Value::Object(_)) => next.push(at),
                _ => {}
            }
        }
        for name in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(target)) = members.get(name) {
                next.extend(self.target(target));
            }
        }
        next
    }

    /// Where a reference within this document leads. One that leads nowhere is for the compiler to refuse.
    fn target(&self, reference: &str) -> Option<String> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment).map(|_| fragment.to_owned());
        }
        self.anchors.get(fragment).cloned()
    }
}

fn joined(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn cut(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}
