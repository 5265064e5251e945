//! An event as its binding said it, before it is anything of this house's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Datelike, Utc};

use super::deviation::{Departure, Deviation};
use super::error::CodecError;
use super::names::{COUNT, Known};
use super::place::{Line, Place, shown};
use crate::cesql::Value;
use crate::envelope::{Attribute, Envelope, MAX_EXTENSIONS, is_json_media_type};
use crate::key::Key;

/// The most that is noted of one event, deviations and faults each: what has more is refused as a whole, and nobody
/// makes readers look up the places of thousands.
pub const MAX_NOTED: usize = 64;

/// An attribute that is a field, and where it was found.
struct Found<'a> {
    text: Cow<'a, str>,
    at: usize,
    /// Read by a check before it is asked for.
    time: Option<DateTime<Utc>>,
}

/// An attribute that is no field.
pub(super) struct Other<'a> {
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
    pub at: usize,
}

/// What places are said in.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// Bytes of this text, from this line on.
    Text(&'a [u8], Line),
    /// Headers with this before an attribute's name.
    Headers(&'static str),
}

/// A CloudEvent as its binding said it: every attribute by its name, the bytes of its data, and in what it departs from
/// the specification. It may be of a type that this house has no name for; [`Parsed::into_envelope`] makes it one of
/// ours.
///
/// Data is not copied where the input is [`Bytes`].
pub struct Parsed<'a> {
    known: [Option<Found<'a>>; COUNT],
    pub(super) others: Vec<Other<'a>>,
    pub(super) data: Option<Bytes>,
    pub(super) data_at: usize,
    /// Data that came within JSON was read with it.
    pub(super) is_data_json: bool,
    pub(super) origin: Origin<'a>,
    deviations: Vec<Deviation>,
    pub(super) faults: Vec<CodecError>,
}

/// What an envelope has although the event does not say it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// The time of an event without one. Without this it is refused.
    pub time: Option<DateTime<Utc>>,
    /// The key of an event without `partitionkey`.
    pub key: Option<&'a str>,
    /// Without any of the two the subject is the key, and without that the source. Otherwise the event is refused.
    pub is_keyed_by_subject: bool,
}

impl<'a> Parsed<'a> {
    pub(super) fn new(origin: Origin<'a>) -> Self {
        Self {
            known: [const { None }; COUNT],
            others: Vec::new(),
            data: None,
            data_at: 0,
            is_data_json: false,
            origin,
            deviations: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The value of an attribute by its name.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        match Known::of(name) {
            Some(known) => self.text(known).map(|text| Value::Text(Cow::Borrowed(text))),
            None => self.others.iter().find(|other| other.name == name).map(|other| other.value.clone()),
        }
    }

    /// Every attribute with its name: those that CloudEvents defines first.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let known = Known::ALL.into_iter().filter_map(|known| Some((known.name(), self.text(known)?)));
        let known = known.map(|(name, text)| (name, Value::Text(Cow::Borrowed(text))));
        known.chain(self.others.iter().map(|other| (other.name.as_ref(), other.value.clone())))
    }

    /// The payload, byte for byte; an empty one is not the same as none, where the binding can tell.
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Whether the payload is JSON by its declared media type.
    pub fn is_json(&self) -> bool {
        self.text(Known::DataContentType).is_none_or(is_json_media_type)
    }

    /// Whether the event names its key itself.
    pub fn has_key(&self) -> bool {
        self.text(Known::PartitionKey).is_some()
    }

    /// In what it departs from the specification, in the order it was found.
    pub fn deviations(&self) -> &[Deviation] {
        &self.deviations
    }

    /// Refuses an event that departs from the specification in a way the caller does not accept.
    ///
    /// # Errors
    /// [`CodecError::Deviates`] with the first such deviation.
    pub fn accept_only(&self, accepts: impl Fn(Departure) -> bool) -> Result<(), CodecError> {
        match self.deviations.iter().find(|deviation| !accepts(deviation.kind)) {
            Some(deviation) => Err(CodecError::Deviates(deviation.clone())),
            None => Ok(()),
        }
    }

    /// Drops an attribute.
    pub fn forget(&mut self, name: &str) {
        match Known::of(name) {
            Some(known) => self.known[known as usize] = None,
            None => self.others.retain(|other| other.name != name),
        }
    }

    pub(super) fn text(&self, known: Known) -> Option<&str> {
        self.known[known as usize].as_ref().map(|found| found.text.as_ref())
    }

    fn take(&mut self, known: Known) -> Option<String> {
        self.known[known as usize].take().map(|found| found.text.into_owned())
    }

    /// Notes an attribute that is a field; `is_repeatable` when the same value twice is no harm.
    pub(super) fn set(&mut self, known: Known, text: Cow<'a, str>, at: usize, is_repeatable: bool) {
        match &self.known[known as usize] {
            None => self.known[known as usize] = Some(Found { text, at, time: None }),
            Some(before) if is_repeatable && before.text == text => {
                self.deviates(Departure::RepeatedHeader, known.name(), at);
            }
            Some(_) => self.duplicate(known.name(), at),
        }
    }

    /// Notes an attribute that is no field. Beyond the limit only the fact is noted.
    pub(super) fn set_other(&mut self, name: Cow<'a, str>, value: Value<'a>, at: usize, is_repeatable: bool) {
        match self.others.iter().find(|other| other.name == name) {
            Some(before) if is_repeatable && before.value == value => {
                self.deviates(Departure::RepeatedHeader, &name, at);
            }
            Some(_) => self.duplicate(&name, at),
            None if self.others.len() > MAX_EXTENSIONS => {}
            None => self.others.push(Other { name, value, at }),
        }
    }

    /// Gives an attribute, of which a header can hold the text only, its type back.
    pub(super) fn retype(&mut self, name: &str, typed: impl FnOnce(&str) -> Option<Value<'a>>, expected: &str) {
        let Some(index) = self.others.iter().position(|other| other.name == name) else { return };
        let Value::Text(text) = &self.others[index].value else { return };
        match typed(text) {
            Some(value) => self.others[index].value = value,
            None => {
                let at = self.others[index].at;
                self.invalid(name, at, expected);
            }
        }
    }

    /// Where an attribute is, by its name and what was noted with it.
    pub(super) fn place(&self, name: &str, at: usize) -> Place {
        match self.origin {
            Origin::Text(text, line) => Place::in_text(text, line, at),
            Origin::Headers(_) if name == "data" => Place::Body,
            Origin::Headers(_) if name == Known::DataContentType.name() => Place::header("content-type"),
            Origin::Headers(prefix) => Place::header(&format!("{prefix}{name}")),
        }
    }

    pub(super) fn deviates(&mut self, kind: Departure, attribute: &str, at: usize) {
        if self.deviations.len() < MAX_NOTED {
            let place = self.place(attribute, at);
            self.deviations.push(Deviation { kind, attribute: shown(attribute), place });
        } else {
            self.limit("deviations of one event", attribute, at, self.deviations.len() + 1, MAX_NOTED);
        }
    }

    pub(super) fn invalid(&mut self, attribute: &str, at: usize, expected: impl Into<String>) {
        self.fault(attribute, at, |place| CodecError::invalid(attribute, place, expected));
    }

    pub(super) fn duplicate(&mut self, attribute: &str, at: usize) {
        self.fault(attribute, at, |place| CodecError::Duplicate { attribute: shown(attribute), place });
    }

    pub(super) fn limit(&mut self, what: &str, attribute: &str, at: usize, found: usize, limit: usize) {
        self.fault(attribute, at, |place| CodecError::Limit { what: what.to_owned(), place, found, limit });
    }

    /// Notes what is wrong, as long as there is room: the first of them is what counts.
    fn fault(&mut self, attribute: &str, at: usize, fault: impl FnOnce(Place) -> CodecError) {
        if self.faults.len() < MAX_NOTED {
            let place = self.place(attribute, at);
            self.faults.push(fault(place));
        }
    }

    pub(super) fn at(&self, known: Known) -> usize {
        self.known[known as usize].as_ref().map_or(0, |found| found.at)
    }

    pub(super) fn drop_empty(&mut self, known: Known) {
        let at = self.at(known);
        self.known[known as usize] = None;
        self.deviates(Departure::EmptyAttribute, known.name(), at);
    }

    /// Reads a time, and keeps it for [`Self::into_envelope`].
    pub(super) fn read_time(&mut self, known: Known) -> Result<Option<DateTime<Utc>>, CodecError> {
        let Some(found) = &mut self.known[known as usize] else { return Ok(None) };
        if found.time.is_none() {
            let time = DateTime::parse_from_rfc3339(&found.text).ok().map(|time| time.to_utc());
            // An offset can carry the last hours of the year 9999 beyond what can be written again.
            found.time = time.filter(|time| (0..=9_999).contains(&time.year()));
        }
        match found.time {
            Some(time) => Ok(Some(time)),
            None => Err(self.error(known, "a time with a zone, such as `2026-01-31T12:00:00Z`")),
        }
    }

    fn error(&self, known: Known, expected: impl Into<String>) -> CodecError {
        CodecError::invalid(known.name(), self.place(known.name(), self.at(known)), expected)
    }

    fn required(&mut self, known: Known) -> Result<String, CodecError> {
        let text = self.take(known).filter(|text| !text.is_empty());
        text.ok_or(CodecError::Missing { attribute: known.name() })
    }

    fn key(&self, defaults: &Defaults<'_>) -> Result<Key, CodecError> {
        let own = self.text(Known::PartitionKey).or(defaults.key);
        let subject = || self.text(Known::Subject).or_else(|| self.text(Known::Source));
        let key = own.or_else(|| subject().filter(|_| defaults.is_keyed_by_subject));
        let key = key.ok_or(CodecError::Missing { attribute: Known::PartitionKey.name() })?;
        Key::new(key).map_err(|_| {
            let expected = "a key of 1 to 256 bytes without control characters, such as `user/42`";
            self.error(Known::PartitionKey, expected)
        })
    }

    fn sequence(&self) -> Result<Option<u64>, CodecError> {
        let Some(text) = self.text(Known::Sequence) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number));
        number.map(Some).ok_or_else(|| self.error(Known::Sequence, "a positive integer"))
    }

    /// Makes it one of ours: with a type that has a version, a key and a time.
    ///
    /// # Errors
    /// [`CodecError::Missing`] for a `time` or `partitionkey` that nothing stands for; [`CodecError::Invalid`] for a
    /// type without a version, a key that is too long, and a `sequence` that is no number.
    pub fn into_envelope(mut self, defaults: &Defaults<'_>) -> Result<Envelope, CodecError> {
        if let Some(fault) = self.faults.pop() {
            return Err(fault);
        }
        let ty = self.text(Known::Type).filter(|ty| !ty.is_empty());
        let ty = ty.ok_or(CodecError::Missing { attribute: Known::Type.name() })?.parse().map_err(|_| {
            let expected = "a lower-case dotted name with a version, such as `user.followed.v1`";
            self.error(Known::Type, expected)
        })?;
        let (key, sequence) = (self.key(defaults)?, self.sequence()?);
        let time = self.read_time(Known::Time)?.or(defaults.time);
        let (recordedtime, expirytime) = (self.read_time(Known::RecordedTime)?, self.read_time(Known::ExpiryTime)?);
        Ok(Envelope {
            id: self.required(Known::Id)?,
            source: self.required(Known::Source)?,
            ty,
            time: time.ok_or(CodecError::Missing { attribute: Known::Time.name() })?,
            key,
            sequence,
            recordedtime,
            expirytime,
            subject: self.take(Known::Subject),
            datacontenttype: self.take(Known::DataContentType),
            dataschema: self.take(Known::DataSchema),
            correlationid: self.take(Known::CorrelationId),
            causationid: self.take(Known::CausationId),
            traceparent: self.take(Known::TraceParent),
            dataref: self.take(Known::DataRef),
            data: self.data,
            extensions: extensions(self.others),
        })
    }
}

fn extensions(others: Vec<Other<'_>>) -> BTreeMap<String, Attribute> {
    let owned = |other: Other<'_>| {
        let value = match other.value {
            Value::Text(text) => Attribute::Text(text.into_owned()),
            Value::Integer(number) => Attribute::Integer(number),
            Value::Boolean(boolean) => Attribute::Boolean(boolean),
        };
        (other.name.into_owned(), value)
    };
    others.into_iter().map(owned).collect()
}

impl std::fmt::Debug for Parsed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let data = self.data.as_ref().map(Bytes::len);
        let attributes: Vec<_> = self.attributes().collect();
        f.debug_struct("Parsed").field("attributes", &attributes).field("data_bytes", &data).finish_non_exhaustive()
    }
}
