//! The catalogue of event types.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};
use tidewire_core::{Envelope, Event, EventType, Key, SchemaError};

/// One event type: what others need to know of it without knowing its Rust type.
pub struct Entry {
    /// Its name and current version.
    pub ty: EventType,
    /// What happened, in a sentence or two.
    pub description: String,
    /// The JSON Schema (2020-12) of its data at the current version.
    pub schema: Value,
    /// Data that follows the schema.
    pub example: Value,
    /// Whether an envelope's data can be read as this type, through upcasts where it is older. The same
    /// check a consumer makes: what passes here is handled there.
    pub check: fn(&Envelope) -> Result<(), SchemaError>,
    /// The data as the current version has it.
    pub current: fn(&Envelope) -> Result<Value, SchemaError>,
    /// The key of an event of this type, which its data alone decides.
    pub key: fn(&Envelope) -> Result<Key, SchemaError>,
    older: &'static [(u16, &'static str)],
}

impl Entry {
    pub(crate) fn of<E: Event + JsonSchema>(example: Value, older: &'static [(u16, &'static str)]) -> Self {
        let schema = generate::<E>();
        let description = schema["description"].as_str().unwrap_or_default().to_owned();
        Self {
            ty: E::TYPE,
            description,
            schema,
            example,
            check: |envelope| E::decode(envelope).map(drop),
            current: |envelope| {
                let event = E::decode(envelope)?;
                serde_json::to_value(&event)
                    .map_err(|error| SchemaError::Malformed { ty: E::TYPE, reason: error.to_string() })
            },
            key: |envelope| E::decode(envelope).map(|event| event.key()),
            older,
        }
    }

    /// The domain it belongs to: the first part of its name.
    pub fn domain(&self) -> &str {
        self.ty.domain()
    }

    /// The JSON Schema of its data at `version`; `None` for a version that never was.
    pub fn schema(&self, version: u16) -> Option<Value> {
        if version == self.ty.version() {
            return Some(self.schema.clone());
        }
        let (_, text) = self.older.iter().find(|(older, _)| *older == version)?;
        // The file was compiled in, and a test parses every one of them.
        serde_json::from_str(text).ok()
    }
}

/// Every event type, in the order of the files. A few dozen; computed once.
pub fn catalogue() -> &'static [Entry] {
    static CATALOGUE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
        let domains = [crate::user::entries(), crate::activity::entries(), crate::document::entries()];
        domains.into_iter().flatten().chain(crate::saga::entries()).chain(crate::operator::entries()).collect()
    });
    &CATALOGUE
}

/// The entry of an event name, such as `user.followed`.
pub fn entry(name: &str) -> Option<&'static Entry> {
    catalogue().iter().find(|entry| entry.ty.name() == name)
}

/// The JSON Schema of a type at a version, current or older.
pub fn schema(ty: &EventType) -> Option<Value> {
    entry(ty.name())?.schema(ty.version())
}

/// The schema of `E`, in one piece: subschemas are inlined, so that a reader needs no second document.
fn generate<E: Event + JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<E>();
    schema.insert("$id".into(), json!(format!("/schemas/{}/v{}.json", E::TYPE.name(), E::TYPE.version())));
    schema.insert("title".into(), json!(E::TYPE.to_string()));
    schema.to_value()
}

/// Registers the events of one domain: name, version, key, an example, and for a type that has older versions
/// these and its upcast.
macro_rules! events {
    ($($event:ident = $name:literal v $version:literal, key($this:ident) $key:expr, example $example:tt
        $(, older [$($older:literal),+] upcast $upcast:path)?;)+) => {
        $(impl ::tidewire_core::Event for $event {
            const TYPE: ::tidewire_core::EventType = ::tidewire_core::EventType::new($name, $version);
            fn key(&self) -> ::tidewire_core::Key {
                let $this = self;
                $key
            }
            $(fn upcast(
                from: u16,
                data: ::serde_json::Value,
            ) -> Result<::serde_json::Value, ::tidewire_core::SchemaError> {
                $upcast(from, data)
            })?
        })+
        pub(crate) fn entries() -> Vec<$crate::Entry> {
            vec![$($crate::Entry::of::<$event>(
                ::serde_json::json!($example),
                &[$($(($older, include_str!(concat!("../../schemas/", $name, "/v", $older, ".json"))),)+)?],
            )),+]
        }
    };
}
pub(crate) use events;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_well_formed_and_unique() {
        let mut names = BTreeSet::new();
        for entry in catalogue() {
            assert!(EventType::is_name(entry.ty.name()), "{}", entry.ty);
            assert!(entry.ty.to_string().parse::<EventType>().is_ok_and(|ty| ty == entry.ty), "{}", entry.ty);
            assert!(names.insert(entry.ty.name()), "{} is registered twice", entry.ty.name());
            assert!(!entry.description.is_empty(), "{} has no documentation", entry.ty);
        }
    }

    #[test]
    fn every_field_is_described() {
        for entry in catalogue() {
            let fields = entry.schema["properties"].as_object().unwrap();
            for (name, field) in fields {
                assert!(field["description"].is_string(), "`{name}` of {} has no documentation", entry.ty);
            }
        }
    }

    #[test]
    fn texts_are_bounded() {
        fn walk(ty: &EventType, path: &str, schema: &Value) {
            let kinds = &schema["type"];
            let is = |kind: &str| kinds == kind || kinds.as_array().is_some_and(|all| all.contains(&json!(kind)));
            let bounded = |limit: &str| schema[limit].is_u64() || schema["enum"].is_array();
            assert!(!is("string") || bounded("maxLength"), "`{path}` of {ty} has no maximal length");
            assert!(!is("array") || bounded("maxItems"), "`{path}` of {ty} has no maximal number of items");
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                walk(ty, name, field);
            }
            if schema["items"].is_object() {
                walk(ty, &format!("{path}[]"), &schema["items"]);
            }
        }
        catalogue().iter().for_each(|entry| walk(&entry.ty, "", &entry.schema));
    }
}
