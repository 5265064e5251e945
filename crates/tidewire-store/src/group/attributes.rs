//! The attributes of an event that have no column of their own on any backend.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tidewire_core::{Attribute, Envelope};

/// As they are stored: one JSON object.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expirytime: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataref: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, Attribute>,
}

impl Attributes {
    /// Those of `envelope`; nothing, if it has none.
    pub(crate) fn of(envelope: &Envelope) -> Option<Self> {
        let Envelope { subject, datacontenttype, dataschema, causationid, traceparent, expirytime, dataref, .. } =
            envelope;
        let texts = [subject, datacontenttype, dataschema, causationid, traceparent, dataref];
        if texts.iter().all(|text| text.is_none()) && expirytime.is_none() && envelope.extensions.is_empty() {
            return None;
        }
        Some(Self {
            subject: subject.clone(),
            datacontenttype: datacontenttype.clone(),
            dataschema: dataschema.clone(),
            causationid: causationid.clone(),
            traceparent: traceparent.clone(),
            expirytime: *expirytime,
            dataref: dataref.clone(),
            extensions: envelope.extensions.clone(),
        })
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> String {
        // Strings, numbers and string-keyed maps always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}
