//! Every event type that is taken at the edge: those of this build, and those that are only schema files.

mod bounds;
mod foreign;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use jsonschema::Validator;
use serde_json::Value;
use tidewire::contract::{Catalogue, Described};
use tidewire::http::{Problem, nearest};
use tidewire::{Envelope, EventType};

pub use foreign::{BadSchema, Foreign};

/// The contracts, each compiled once per type and version.
pub struct Contracts {
    foreign: Foreign,
    validators: HashMap<EventType, Validator>,
}

/// A type as the edge knows it.
pub(crate) enum Known {
    /// One with a Rust type.
    Own(&'static events::Entry),
    /// One that is only schema files, with the newest version among them.
    Foreign(u16),
}

impl Known {
    /// The newest version that is known.
    pub(crate) fn newest(&self) -> u16 {
        match self {
            Self::Own(entry) => entry.ty.version(),
            Self::Foreign(version) => *version,
        }
    }
}

impl Default for Contracts {
    /// Those of this build alone.
    fn default() -> Self {
        Self::new(Foreign::default())
    }
}

impl Contracts {
    /// Those of this build and these. Compiles every version: some tens, a few milliseconds.
    pub fn new(foreign: Foreign) -> Self {
        let versions = events::catalogue().iter().flat_map(|entry| (1..=entry.ty.version()).map(|v| entry.ty.at(v)));
        let own = versions.filter_map(|ty| events::schema(&ty).map(|schema| (ty, schema)));
        let others = foreign.schemas().map(|(ty, schema)| (ty, schema.clone()));
        // Published schemas compile, as a test shows, and foreign ones did when they were read.
        let validators =
            own.chain(others).filter_map(|(ty, schema)| Some((ty, foreign::compile(&schema).ok()?))).collect();
        Self { foreign, validators }
    }

    /// The names of all types, without versions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let own = events::catalogue().iter().map(|entry| entry.ty.name());
        own.chain(self.foreign.catalogue().types().keys().map(String::as_str))
    }

    /// Every type at its newest version.
    pub fn types(&self) -> Vec<EventType> {
        let own = events::catalogue().iter().map(|entry| entry.ty.clone());
        let others = self.foreign.schemas().map(|(ty, _)| ty);
        own.chain(others.filter(|ty| self.foreign.newest(ty.name()) == Some(ty.version()))).collect()
    }

    /// What is known of a name.
    pub(crate) fn known(&self, name: &str) -> Option<Known> {
        events::entry(name).map(Known::Own).or_else(|| self.foreign.newest(name).map(Known::Foreign))
    }

    /// The schema of a version.
    pub fn schema(&self, ty: &EventType) -> Option<Value> {
        events::schema(ty).or_else(|| self.foreign.catalogue().schema(ty.name(), ty.version()).cloned())
    }

    /// What compares data with the schema of a version.
    pub(crate) fn validator(&self, ty: &EventType) -> Option<&Validator> {
        self.validators.get(ty)
    }

    /// Whether the data of an event that is stored can be read: by the Rust type, through upcasts, or by the schema of
    /// its version where that is all there is. What is wrong with it, otherwise.
    pub fn read(&self, envelope: &Envelope) -> Result<(), String> {
        match self.known(envelope.ty.name()) {
            None => Err("this build does not know the type".into()),
            Some(Known::Own(entry)) => (entry.check)(envelope).map_err(|error| error.to_string()),
            Some(Known::Foreign(newest)) => {
                let Some(validator) = self.validator(&envelope.ty) else {
                    return Err(format!("there is no schema of this version; the newest is {newest}"));
                };
                let data = envelope.data.as_deref().unwrap_or(b"null");
                let data: Value = serde_json::from_slice(data).map_err(|error| error.to_string())?;
                validator.validate(&data).map_err(|error| {
                    format!("it does not follow its schema at {}: {}", error.instance_path(), error.masked())
                })
            }
        }
    }

    /// Every version of every type.
    pub fn catalogue(&self) -> Catalogue {
        let mut catalogue = self.foreign.catalogue().clone();
        for entry in events::catalogue() {
            for version in 1..=entry.ty.version() {
                if let Some(schema) = entry.schema(version) {
                    catalogue.insert(entry.ty.name(), version, schema);
                }
            }
        }
        catalogue
    }

    /// Every type at its newest version, as documents show it: this build's first.
    pub fn described(&self) -> Vec<Described<'_>> {
        let own = events::catalogue().iter().map(|entry| Described {
            ty: entry.ty.to_string(),
            name: entry.ty.name(),
            description: &entry.description,
            schema: entry.schema.clone(),
            example: Some(&entry.example),
        });
        let foreign = self.foreign.catalogue().types().iter().filter_map(|(name, versions)| {
            let (version, schema) = versions.last_key_value()?;
            Some(Described {
                ty: format!("{name}.v{version}"),
                name,
                description: schema.get("description").and_then(Value::as_str).unwrap_or_default(),
                schema: schema.clone(),
                example: schema.get("examples").and_then(|examples| examples.get(0)),
            })
        });
        own.chain(foreign).collect()
    }

    /// The AsyncAPI document of all of them.
    pub fn asyncapi(&self) -> Value {
        tidewire::contract::asyncapi("Tidewire", env!("CARGO_PKG_VERSION"), self.described())
    }

    /// The refusal of a name that is not in the catalogue, with the one that was probably meant.
    pub(crate) fn unknown(&self, name: &str) -> Problem {
        let problem = |detail| Problem::new(axum::http::StatusCode::BAD_REQUEST, "event.unknown_type", detail);
        match nearest(name, self.names()) {
            Some(near) => {
                problem(format!("there is no event type `{name}`; did you mean `{near}`?")).with("nearest", near)
            }
            None => problem(format!("there is no event type `{name}`; /schemas lists those there are")),
        }
    }
}
