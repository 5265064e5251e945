//! What every event must be, in whichever binding it came.

use serde_json::value::RawValue;

use super::deviation::Departure;
use super::error::CodecError;
use super::names::Known;
use super::parsed::Parsed;
use crate::cesql::Value;
use crate::envelope::{
    MAX_ATTRIBUTE_BYTES, MAX_EXTENSIONS, MAX_ID_BYTES, MAX_JSON_DEPTH, is_attribute_name, is_clean, nests_deeper_than,
};

/// The text of which CloudEvents wants something beyond being text is looked at one by one; these are plain.
const OPTIONAL: [Known; 8] = [
    Known::Subject,
    Known::DataContentType,
    Known::DataSchema,
    Known::PartitionKey,
    Known::CorrelationId,
    Known::CausationId,
    Known::TraceParent,
    Known::DataRef,
];

impl Parsed<'_> {
    /// Looks at every rule; what is found is added to what was found while reading.
    pub(super) fn check(&mut self) {
        self.check_version();
        for (known, limit) in
            [(Known::Id, MAX_ID_BYTES), (Known::Source, MAX_ATTRIBUTE_BYTES), (Known::Type, MAX_ATTRIBUTE_BYTES)]
        {
            match self.text(known) {
                None | Some("") => self.faults.push(CodecError::Missing { attribute: known.name() }),
                Some(_) => self.check_text(known, limit),
            }
        }
        if self.text(Known::Source).is_some_and(|source| source.contains(char::is_whitespace)) {
            let at = self.at(Known::Source);
            self.invalid(Known::Source.name(), at, "a URI reference without white space");
        }
        for known in OPTIONAL.into_iter().chain([Known::Sequence]) {
            match self.text(known) {
                None => {}
                // An event with an empty key would be in the order of every other one.
                Some("") if known == Known::PartitionKey => {
                    let at = self.at(known);
                    self.invalid(known.name(), at, "a key, or no such attribute");
                }
                Some("") => self.drop_empty(known),
                Some(_) => self.check_text(known, MAX_ATTRIBUTE_BYTES),
            }
        }
        if self.text(Known::DataSchema).is_some_and(|schema| !is_absolute(schema)) {
            let at = self.at(Known::DataSchema);
            self.deviates(Departure::RelativeSchema, Known::DataSchema.name(), at);
        }
        for known in [Known::Time, Known::RecordedTime, Known::ExpiryTime] {
            self.check_time(known);
        }
        self.check_extensions();
        self.check_data();
    }

    /// The first thing that is wrong, as an error.
    pub(super) fn checked(mut self) -> Result<Self, CodecError> {
        self.check();
        match self.faults.is_empty() {
            true => Ok(self),
            false => Err(self.faults.swap_remove(0)),
        }
    }

    fn check_version(&mut self) {
        let known = Known::SpecVersion;
        let at = self.at(known);
        match self.text(known) {
            Some("1.0") => {}
            None | Some("") => self.faults.push(CodecError::Missing { attribute: known.name() }),
            // The document has editions; what is on the wire is 1.0 for all of them.
            Some(text) if text.strip_prefix("1.0.").is_some_and(is_digits) => {
                self.deviates(Departure::SpecVersionForm, known.name(), at);
            }
            Some(_) => self.invalid(known.name(), at, "`1.0`"),
        }
    }

    fn check_text(&mut self, known: Known, limit: usize) {
        let Some(text) = self.text(known) else { return };
        let (length, is_clean) = (text.len(), is_clean(text));
        let at = self.at(known);
        self.check_one(known.name(), at, length, limit, is_clean);
    }

    fn check_one(&mut self, name: &str, at: usize, length: usize, limit: usize, is_clean: bool) {
        if length > limit {
            self.limit(&format!("attribute `{name}` in bytes"), name, at, length, limit);
        }
        if !is_clean {
            self.invalid(name, at, "text without control characters");
        }
    }

    fn check_time(&mut self, known: Known) {
        let at = self.at(known);
        if self.text(known) == Some("") {
            return self.drop_empty(known);
        }
        match self.read_time(known) {
            Err(fault) => self.faults.push(fault),
            Ok(Some(_)) if !self.text(known).is_some_and(is_usual_time) => {
                self.deviates(Departure::TimeForm, known.name(), at);
            }
            Ok(_) => {}
        }
    }

    fn check_extensions(&mut self) {
        if self.others.len() > MAX_EXTENSIONS {
            let (name, at) = (self.others[MAX_EXTENSIONS].name.to_string(), self.others[MAX_EXTENSIONS].at);
            self.limit("extension attributes", &name, at, self.others.len(), MAX_EXTENSIONS);
        }
        let mut empty = Vec::new();
        for index in 0..self.others.len() {
            let other = &self.others[index];
            let at = other.at;
            if !is_attribute_name(&other.name) {
                let name = other.name.to_string();
                let expected = "a name of 1 to 20 lower-case letters and digits that is not reserved";
                self.invalid(&name, at, expected);
                continue;
            }
            let Value::Text(text) = &other.value else { continue };
            let (length, is_clean) = (text.len(), is_clean(text));
            if length > MAX_ATTRIBUTE_BYTES || !is_clean {
                let name = other.name.to_string();
                self.check_one(&name, at, length, MAX_ATTRIBUTE_BYTES, is_clean);
            } else if length == 0 {
                empty.push(other.name.to_string());
            }
        }
        for name in empty {
            let at = self.others.iter().find(|other| other.name == name).map_or(0, |other| other.at);
            self.others.retain(|other| other.name != name);
            self.deviates(Departure::EmptyAttribute, &name, at);
        }
    }

    fn check_data(&mut self) {
        if !self.is_json() {
            return;
        }
        let Some(data) = &self.data else { return };
        let at = self.data_at;
        if data.is_empty() {
            self.data = None;
            return self.deviates(Departure::EmptyJson, "data", at);
        }
        if let Some(found) = nests_deeper_than(data, MAX_JSON_DEPTH) {
            self.limit("nesting of `data`", "data", at, found, MAX_JSON_DEPTH);
        } else if !self.is_data_json
            && let Err(error) = serde_json::from_slice::<&RawValue>(data)
        {
            self.invalid("data", at, format!("JSON, as its media type says ({error})"));
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a time that was read has the capital `T` and, unless it has an offset, the capital `Z`.
fn is_usual_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.get(10) == Some(&b'T') && bytes.last().is_some_and(|last| *last == b'Z' || last.is_ascii_digit())
}

fn is_absolute(uri: &str) -> bool {
    let Some((scheme, _)) = uri.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
}
