//! Reading the JSON format.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::super::base64;
use super::super::deviation::Departure;
use super::super::error::CodecError;
use super::super::names::Known;
use super::super::parsed::{Origin, Parsed};
use super::super::place::{Line, Place};
use crate::cesql::Value;

/// A byte order mark, which JSON does not have.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The whole input: what places are counted in, and what data is cut out of where it can be shared.
#[derive(Clone, Copy)]
pub(in super::super) struct Input<'a> {
    pub text: &'a [u8],
    pub shared: Option<&'a Bytes>,
    /// A line before everything that is looked at.
    line: Line,
}

impl<'a> Input<'a> {
    pub(in super::super) fn new(text: &'a [u8], shared: Option<&'a Bytes>) -> Self {
        Self { text, shared, line: Line::FIRST }
    }

    fn place(self, offset: usize) -> Place {
        Place::in_text(self.text, self.line, offset)
    }

    /// The same input from where `part` of it begins.
    pub(super) fn from(self, part: &[u8]) -> Self {
        Self { line: self.line.at(self.text, self.offset(part)), ..self }
    }

    fn offset(self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize)
    }

    fn cut(self, part: &'a str) -> Bytes {
        match self.shared {
            Some(shared) => shared.slice_ref(part.as_bytes()),
            None => Bytes::copy_from_slice(part.as_bytes()),
        }
    }

    /// A part as text, and whether a mark stood before it.
    pub(super) fn part(self, part: &'a [u8]) -> Result<(&'a str, bool), CodecError> {
        let (text, is_marked) = match part.strip_prefix(MARK) {
            Some(text) => (text, true),
            None => (part, false),
        };
        let text = std::str::from_utf8(text).map_err(|error| {
            let offset = self.offset(text) + error.valid_up_to();
            CodecError::Malformed { place: self.place(offset), expected: "UTF-8".into() }
        })?;
        Ok((text, is_marked))
    }

    /// What the parser says of `part`, with the place in the whole.
    pub(super) fn malformed(self, part: &str, error: &serde_json::Error, shape: &str) -> CodecError {
        let line = error.line().max(1);
        let start: usize = part.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let offset = self.offset(part.as_bytes()) + start + error.column().saturating_sub(1);
        let reason = error.to_string();
        let expected = match error.classify() {
            Category::Data => shape.to_owned(),
            _ => format!("JSON ({})", reason.split(" at line ").next().unwrap_or_default()),
        };
        CodecError::Malformed { place: self.place(offset), expected }
    }
}

/// Reads one event, `part` of the input, without a look at the rules.
pub(in super::super) fn parse<'a>(input: Input<'a>, part: &'a str) -> Result<Parsed<'a>, CodecError> {
    let mut reader =
        Reader { parsed: Parsed::new(Origin::Text(input.text, input.line)), input, data: None, base64: None };
    let mut deserializer = serde_json::Deserializer::from_str(part);
    let read = Members(&mut reader).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| input.malformed(part, &error, "an object, which is one CloudEvent"))?;
    reader.place_data();
    Ok(reader.parsed)
}

struct Reader<'a> {
    parsed: Parsed<'a>,
    input: Input<'a>,
    data: Option<&'a str>,
    base64: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn member(&mut self, name: Cow<'a, str>, raw: &'a str) {
        let at = self.input.offset(raw.as_bytes());
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => {
                self.parsed.deviates(Departure::UpperCaseName, &name, at);
                Cow::Owned(name.to_ascii_lowercase())
            }
            false => name,
        };
        match Known::of(&name) {
            Some(known) => self.known(known, raw, at),
            None if name == "data" => self.payload(|reader| &mut reader.data, "data", raw, at),
            None if name == "data_base64" => self.payload(|reader| &mut reader.base64, "data_base64", raw, at),
            None => self.other(name, raw, at),
        }
    }

    fn payload(&mut self, slot: impl Fn(&mut Self) -> &mut Option<&'a str>, name: &str, raw: &'a str, at: usize) {
        if slot(self).replace(raw).is_some() {
            self.parsed.duplicate(name, at);
        }
    }

    fn known(&mut self, known: Known, raw: &'a str, at: usize) {
        match value(raw) {
            Some(Value::Text(text)) => self.parsed.set(known, text, at, false),
            _ if raw == "null" => self.parsed.deviates(Departure::NullAttribute, known.name(), at),
            // As it is written: a number has more forms than one.
            _ if !raw.starts_with(['{', '[', '"']) => {
                let kind = match known {
                    Known::SpecVersion => Departure::SpecVersionForm,
                    _ => Departure::NotText,
                };
                self.parsed.deviates(kind, known.name(), at);
                self.parsed.set(known, Cow::Borrowed(raw), at, false);
            }
            _ => self.parsed.invalid(known.name(), at, "a string"),
        }
    }

    fn other(&mut self, name: Cow<'a, str>, raw: &'a str, at: usize) {
        match value(raw) {
            Some(value) => self.parsed.set_other(name, value, at, false),
            None if raw == "null" => self.parsed.deviates(Departure::NullAttribute, &name, at),
            None => self.parsed.invalid(&name, at, "a string, an integer of 32 bits or a boolean"),
        }
    }

    /// What the data is can be said only when its media type is known.
    fn place_data(&mut self) {
        let Some(raw) = self.data.or(self.base64) else { return };
        let at = self.input.offset(raw.as_bytes());
        self.parsed.data_at = at;
        if self.data.is_some() && self.base64.is_some() {
            return self.parsed.invalid("data", at, "either `data` or `data_base64`");
        }
        if self.base64.is_some() {
            return self.place_base64(raw, at);
        }
        if self.parsed.is_json() {
            self.parsed.is_data_json = true;
            self.parsed.data = Some(self.input.cut(raw));
            return;
        }
        // Data of another media type travels as a string, which is its text.
        match value(raw) {
            Some(Value::Text(Cow::Borrowed(text))) => self.parsed.data = Some(self.input.cut(text)),
            Some(Value::Text(Cow::Owned(text))) => self.parsed.data = Some(Bytes::from(text)),
            _ if raw == "null" => self.parsed.deviates(Departure::NullAttribute, "data", at),
            _ => self.parsed.invalid("data", at, "a string, or `data_base64`: its media type is not JSON"),
        }
    }

    fn place_base64(&mut self, raw: &'a str, at: usize) {
        let text = match value(raw) {
            Some(Value::Text(text)) => text,
            _ if raw == "null" => return self.parsed.deviates(Departure::NullAttribute, "data_base64", at),
            _ => return self.parsed.invalid("data_base64", at, "a string in base64"),
        };
        match base64::decode(&text) {
            Some((bytes, departures)) => {
                departures.into_iter().for_each(|kind| self.parsed.deviates(kind, "data_base64", at));
                self.parsed.data = Some(Bytes::from(bytes));
            }
            None => self.parsed.invalid("data_base64", at, "base64"),
        }
    }
}

/// The value of an attribute; `None` for what is none. `raw` is JSON.
fn value(raw: &str) -> Option<Value<'_>> {
    match raw.as_bytes().first()? {
        b'"' => match raw.contains('\\') {
            false => Some(Value::Text(Cow::Borrowed(&raw[1..raw.len() - 1]))),
            true => serde_json::from_str(raw).ok().map(|text| Value::Text(Cow::Owned(text))),
        },
        b't' => Some(Value::Boolean(true)),
        b'f' => Some(Value::Boolean(false)),
        _ => raw.parse().ok().map(Value::Integer),
    }
}

struct Members<'r, 'a>(&'r mut Reader<'a>);

impl<'a> DeserializeSeed<'a> for Members<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvents 1.0 object")
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), raw)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
            self.0.member(name, raw.get());
        }
        Ok(())
    }
}

/// A member's name: borrowed where it holds no escapes, which a plain `Cow` never is.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Name<'de>, E> {
                Err(E::custom("a name that is no text"))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// The parts of a JSON array, each as it is written; at most `limit`.
pub(super) struct Elements {
    pub limit: usize,
}

impl<'a> DeserializeSeed<'a> for Elements {
    type Value = Vec<&'a RawValue>;
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Elements {
    type Value = Vec<&'a RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudEvents")
    }
    fn visit_seq<A: de::SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            if parts.len() == self.limit {
                return Err(A::Error::custom("too many"));
            }
            parts.push(part);
        }
        Ok(parts)
    }
}
