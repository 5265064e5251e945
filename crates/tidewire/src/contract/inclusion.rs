//! Does a reader understand everything a writer may write?

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::schema::{ANNOTATIONS, Schema};

/// How deep schemas are compared; a schema that refers to itself is compared once around.
const MAX_DEPTH: usize = 24;
/// Breaks that are reported; beyond that a list helps nobody.
const MAX_BREAKS: usize = 200;

/// Something a writer may write that the reader does not understand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Where in the data, as a JSON pointer; `*` stands for every element. Empty for the whole.
    pub path: String,
    /// The keyword of the reader's schema that refuses it.
    pub rule: &'static str,
    /// What happens, in a sentence.
    pub what: String,
}

/// Everything written under `writer` that a reader with `reader` does not understand. Empty: it understands all of it.
///
/// A property that the writer's schema does not name counts as not written, also where the schema would allow it: an
/// optional property may thus be added to an object that is open, which readers must ignore when they do not know it.
/// What cannot be judged (`not`, `if`, a pattern that changed) counts as a break, and says so.
pub fn breaks(reader: &Value, writer: &Value) -> Vec<Break> {
    let mut found = Comparison { breaks: Vec::new() };
    found.compare(&Schema::root(reader), &Schema::root(writer), "", 0);
    found.breaks
}

struct Comparison {
    breaks: Vec<Break>,
}

impl Comparison {
    fn add(&mut self, path: &str, rule: &'static str, what: impl Into<String>) {
        if self.breaks.len() < MAX_BREAKS {
            self.breaks.push(Break { path: path.to_owned(), rule, what: what.into() });
        }
    }

    fn compare(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str, depth: usize) {
        if depth > MAX_DEPTH || reader.is_any() || writer.is_nothing() || reader.node() == writer.node() {
            return;
        }
        if reader.is_nothing() {
            return self.add(path, "false", "it is not taken any more, whatever its value");
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = writer.get(keyword).and_then(Value::as_array) {
                for branch in branches {
                    self.compare(reader, &with(writer, keyword, branch), path, depth + 1);
                }
                return;
            }
        }
        for (keyword, rule) in [("anyOf", "anyOf"), ("oneOf", "oneOf")] {
            if let Some(branches) = reader.get(keyword).and_then(Value::as_array) {
                return self.one_of(reader, rule, branches, writer, path, depth);
            }
        }
        if let Some(values) = written_values(writer) {
            return self.values(reader, &values, path);
        }
        self.types(reader, writer, path);
        self.allowed_values(reader, path);
        self.numbers(reader, writer, path);
        self.lengths(reader, writer, path);
        self.texts(reader, writer, path);
        self.properties(reader, writer, path, depth);
        self.elements(reader, writer, path, depth);
        self.unjudged(reader, writer, path);
    }

    /// Some branch must take all of it. If none does, the one that comes closest says why.
    fn one_of(
        &mut self,
        reader: &Schema<'_>,
        rule: &'static str,
        branches: &[Value],
        writer: &Schema<'_>,
        path: &str,
        depth: usize,
    ) {
        let mut closest: Option<Vec<Break>> = None;
        for branch in branches {
            let mut inner = Comparison { breaks: Vec::new() };
            inner.compare(&with(reader, rule, branch), writer, path, depth + 1);
            if inner.breaks.is_empty() {
                return;
            }
            if closest.as_ref().is_none_or(|closest| inner.breaks.len() < closest.len()) {
                closest = Some(inner.breaks);
            }
        }
        match closest {
            Some(breaks) if branches.len() <= 2 => self.breaks.extend(breaks),
            _ => self.add(path, rule, "no alternative takes everything that may be written"),
        }
    }

    fn types(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str) {
        let (Some(taken), written) = (types(reader), types(writer)) else { return };
        let Some(written) = written else {
            return self.add(path, "type", format!("only {} is taken, any type may be written", listed(&taken)));
        };
        let is_taken = |ty: &&String| taken.contains(*ty) || (*ty == "integer" && taken.contains("number"));
        let refused: BTreeSet<String> = written.iter().filter(|ty| !is_taken(ty)).cloned().collect();
        if !refused.is_empty() {
            self.add(path, "type", format!("{} may be written, only {} is taken", listed(&refused), listed(&taken)));
        }
    }

    /// The writer is not bound to certain values (that case is judged value by value), so the reader must not be.
    fn allowed_values(&mut self, reader: &Schema<'_>, path: &str) {
        if reader.get("enum").is_some() {
            self.add(path, "enum", "only certain values are taken, any may be written");
        }
        if reader.get("const").is_some() {
            self.add(path, "const", "only one value is taken, any may be written");
        }
    }

    /// The writer writes only these.
    fn values(&mut self, reader: &Schema<'_>, values: &[Value], path: &str) {
        for value in values {
            if let Some((rule, why)) = refusal(reader, value) {
                let shown: String = value.to_string().chars().take(80).collect();
                self.add(path, rule, format!("{shown} may be written, {why}"));
            }
        }
    }

    fn numbers(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str) {
        let number = |schema: &Schema<'_>, keyword: &str| schema.get(keyword).and_then(Value::as_f64);
        // An exclusive bound of the writer is at least as narrow as an inclusive one of the same value.
        for (keyword, others, is_lower) in [
            ("minimum", ["minimum", "exclusiveMinimum"], true),
            ("exclusiveMinimum", ["exclusiveMinimum", ""], true),
            ("maximum", ["maximum", "exclusiveMaximum"], false),
            ("exclusiveMaximum", ["exclusiveMaximum", ""], false),
        ] {
            let Some(limit) = number(reader, keyword) else { continue };
            let is_narrow = |bound: f64| if is_lower { bound >= limit } else { bound <= limit };
            let beyond = |keyword: &str| number(writer, keyword).is_some_and(is_narrow);
            let strictly = |bound: f64| if is_lower { bound > limit } else { bound < limit };
            let inclusive = if is_lower { "minimum" } else { "maximum" };
            if !others.iter().any(|other| beyond(other)) && !number(writer, inclusive).is_some_and(strictly) {
                self.add(
                    path,
                    keyword_of(keyword),
                    format!("numbers beyond {limit} may be written, but are not taken"),
                );
            }
        }
        if let Some(step) = number(reader, "multipleOf") {
            let fits =
                number(writer, "multipleOf").is_some_and(|written| step != 0.0 && (written / step).fract() == 0.0);
            if !fits {
                self.add(path, "multipleOf", format!("only multiples of {step} are taken, others may be written"));
            }
        }
    }

    fn lengths(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str) {
        let count = |schema: &Schema<'_>, keyword: &str| schema.get(keyword).and_then(Value::as_u64);
        for (keyword, what) in
            [("minLength", "shorter texts"), ("minItems", "shorter lists"), ("minProperties", "smaller objects")]
        {
            let limit = count(reader, keyword).unwrap_or(0);
            if limit > count(writer, keyword).unwrap_or(0) && !self.cannot_be(writer, keyword) {
                self.add(path, keyword_of(keyword), format!("{what} than {limit} may be written, but are not taken"));
            }
        }
        for (keyword, what) in
            [("maxLength", "longer texts"), ("maxItems", "longer lists"), ("maxProperties", "larger objects")]
        {
            let Some(limit) = count(reader, keyword) else { continue };
            if count(writer, keyword).is_none_or(|written| written > limit) && !self.cannot_be(writer, keyword) {
                self.add(path, keyword_of(keyword), format!("{what} than {limit} may be written, but are not taken"));
            }
        }
        if reader.get("uniqueItems") == Some(&Value::Bool(true))
            && writer.get("uniqueItems") != Some(&Value::Bool(true))
        {
            self.add(path, "uniqueItems", "repeated elements may be written, but are not taken");
        }
    }

    /// A limit of texts says nothing about numbers.
    fn cannot_be(&self, writer: &Schema<'_>, keyword: &str) -> bool {
        let subject = match keyword {
            "minLength" | "maxLength" => "string",
            "minItems" | "maxItems" => "array",
            _ => "object",
        };
        types(writer).is_some_and(|types| !types.contains(subject))
    }

    fn texts(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str) {
        if types(writer).is_some_and(|types| !types.contains("string")) {
            return;
        }
        for keyword in ["pattern", "format"] {
            if let Some(taken) = reader.get(keyword).and_then(Value::as_str)
                && writer.get(keyword).and_then(Value::as_str) != Some(taken)
            {
                let what = format!(
                    "the {keyword} `{taken}` is required, and is not what is written; whether every text fits cannot be judged"
                );
                self.add(path, keyword_of(keyword), what);
            }
        }
    }

    fn properties(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str, depth: usize) {
        let written = writer.get("properties").and_then(Value::as_object);
        let taken = reader.get("properties").and_then(Value::as_object);
        let always: BTreeSet<&str> = strings(writer.get("required"));
        for name in strings(reader.get("required")) {
            if !always.contains(name) && !self.is_no_object(writer) {
                let is_known = written.is_some_and(|written| written.contains_key(name));
                let how = if is_known { "may be left out" } else { "is never written" };
                self.add(&joined(path, name), "required", format!("it is required, but {how}"));
            }
        }
        for (name, schema) in written.into_iter().flatten() {
            let inner = writer.below(schema);
            let place = joined(path, name);
            match taken.and_then(|taken| taken.get(name)) {
                Some(taken) => self.compare(&reader.below(taken), &inner, &place, depth + 1),
                None if self.is_patterned(reader) => {}
                None => match reader.get("additionalProperties") {
                    Some(Value::Bool(false)) => {
                        self.add(&place, "additionalProperties", "it may be written, but is not known and not allowed")
                    }
                    Some(rest) => self.compare(&reader.below(rest), &inner, &place, depth + 1),
                    None => {}
                },
            }
        }
        // What a map's values are is a contract as well.
        if let (Some(taken), Some(written)) = (reader.get("additionalProperties"), writer.get("additionalProperties"))
            && (taken.is_object() || written.is_object())
        {
            self.compare(&reader.below(taken), &writer.below(written), &joined(path, "*"), depth + 1);
        }
    }

    fn is_no_object(&self, writer: &Schema<'_>) -> bool {
        types(writer).is_some_and(|types| !types.contains("object"))
    }

    fn is_patterned(&self, reader: &Schema<'_>) -> bool {
        reader.get("patternProperties").is_some()
    }

    fn elements(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str, depth: usize) {
        let first =
            |schema: &Schema<'_>| schema.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let (taken, written) = (first(reader), first(writer));
        let any = Value::Bool(true);
        let rest = |schema: &Schema<'_>| schema.get("items").cloned().unwrap_or(any.clone());
        for index in 0..taken.len().max(written.len()) {
            let taken = taken.get(index).cloned().unwrap_or_else(|| rest(reader));
            let written = written.get(index).cloned().unwrap_or_else(|| rest(writer));
            self.compare(&reader.below(&taken), &writer.below(&written), &joined(path, &index.to_string()), depth + 1);
        }
        if reader.get("items").is_some() && types(writer).is_none_or(|types| types.contains("array")) {
            self.compare(&reader.below(&rest(reader)), &writer.below(&rest(writer)), &joined(path, "*"), depth + 1);
        }
    }

    /// Keywords that are equal on both sides, or stand for a break.
    fn unjudged(&mut self, reader: &Schema<'_>, writer: &Schema<'_>, path: &str) {
        let Some(keywords) = reader.node().as_object() else { return };
        for (keyword, value) in keywords {
            let is_judged = JUDGED.contains(&keyword.as_str()) || ANNOTATIONS.contains(&keyword.as_str());
            if !is_judged && writer.get(keyword) != Some(value) && !keyword.starts_with("x-") {
                self.add(path, "unknown", format!("`{keyword}` differs, and what follows from it cannot be judged"));
            }
        }
    }
}

/// Keywords this comparison knows.
const JUDGED: [&str; 25] = [
    "type",
    "enum",
    "const",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "pattern",
    "format",
    "properties",
    "required",
    "additionalProperties",
    "prefixItems",
    "items",
    "anyOf",
    "oneOf",
    "$ref",
];

fn keyword_of(keyword: &str) -> &'static str {
    JUDGED.into_iter().find(|known| *known == keyword).unwrap_or("unknown")
}

/// A schema with one of its alternatives instead of all of them.
fn with<'a>(schema: &Schema<'a>, keyword: &str, branch: &Value) -> Schema<'a> {
    let mut whole = schema.node().as_object().cloned().unwrap_or_default();
    whole.remove(keyword);
    if whole.keys().all(|keyword| ANNOTATIONS.contains(&keyword.as_str())) {
        return schema.below(branch);
    }
    whole.entry("allOf").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(Value::Array(all)) = whole.get_mut("allOf") {
        all.push(branch.clone());
    }
    schema.below(&Value::Object(whole))
}

fn types(schema: &Schema<'_>) -> Option<BTreeSet<String>> {
    let mut types: BTreeSet<String> = match schema.get("type")? {
        Value::String(ty) => BTreeSet::from([ty.clone()]),
        Value::Array(types) => types.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return None,
    };
    if types.contains("number") {
        types.insert("integer".into());
    }
    Some(types)
}

fn listed(types: &BTreeSet<String>) -> String {
    let shown = types.iter().filter(|ty| *ty != "integer" || !types.contains("number"));
    shown.map(String::as_str).collect::<Vec<_>>().join(" or ")
}

fn strings(list: Option<&Value>) -> BTreeSet<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The values a writer is bound to.
fn written_values(writer: &Schema<'_>) -> Option<Vec<Value>> {
    match (writer.get("const"), writer.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    }
}

/// Why a reader does not take one certain value.
fn refusal(reader: &Schema<'_>, value: &Value) -> Option<(&'static str, String)> {
    if let Some(values) = written_values(reader)
        && !values.contains(value)
    {
        return Some(("enum", "but is not among the values that are taken".into()));
    }
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let Some(taken) = types(reader).filter(|taken| !taken.contains(own)) {
        return Some(("type", format!("only {} is taken", listed(&taken))));
    }
    let limit = |keyword: &str| reader.get(keyword).and_then(Value::as_u64);
    if let Some(length) = value.as_str().map(|text| text.chars().count() as u64) {
        if limit("minLength").is_some_and(|limit| length < limit) {
            return Some(("minLength", "but is too short".into()));
        }
        if limit("maxLength").is_some_and(|limit| length > limit) {
            return Some(("maxLength", "but is too long".into()));
        }
        if reader.get("pattern").is_some() && written_values(reader).is_none() {
            return Some(("pattern", "and whether it fits the pattern cannot be judged".into()));
        }
    }
    if let Some(number) = value.as_f64() {
        let bound = |keyword: &str| reader.get(keyword).and_then(Value::as_f64);
        if bound("minimum").is_some_and(|limit| number < limit)
            || bound("exclusiveMinimum").is_some_and(|limit| number <= limit)
        {
            return Some(("minimum", "but is too small".into()));
        }
        if bound("maximum").is_some_and(|limit| number > limit)
            || bound("exclusiveMaximum").is_some_and(|limit| number >= limit)
        {
            return Some(("maximum", "but is too large".into()));
        }
    }
    None
}

/// A JSON pointer, one step further.
fn joined(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}
