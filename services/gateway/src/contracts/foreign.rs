//! Event types of services in other languages: schema files, and no Rust type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use tidewire::EventType;
use tidewire::contract::{Catalogue, CatalogueError};

use super::bounds;

/// The most schemas taken from a folder: each is compiled at the start and kept in memory.
const MAX_SCHEMAS: usize = 2_000;

/// The largest program that a pattern may become, in bytes: `\\p{L}{1000}` is short and large.
const MAX_PATTERN_PROGRAM: usize = 1 << 20;

/// The dialect of every contract here.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The types of a folder `<type>/v<N>.json` that this build has no Rust type of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    catalogue: Catalogue,
}

/// A file that cannot be a contract. Nothing is taken from a folder that holds one: what it was meant to refuse would
/// get into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSchema {
    /// The file.
    pub file: String,
    /// Where in it, as a JSON pointer; empty for the whole.
    pub at: String,
    /// What is wrong there.
    pub why: String,
}

impl BadSchema {
    fn new(file: impl Into<String>, at: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { file: file.into(), at: at.to_string(), why: why.to_string() }
    }
}

impl fmt::Display for BadSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => write!(f, "{}: {}", self.file, self.why),
            at => write!(f, "{}: at {at}: {}", self.file, self.why),
        }
    }
}

impl From<CatalogueError> for BadSchema {
    fn from(error: CatalogueError) -> Self {
        Self::new(error.place, "", error.reason)
    }
}

impl Foreign {
    /// Reads a folder. Files of this build's own types are compared with what the build says and otherwise left alone, so
    /// that the folder of a repository, which holds all of them, can be named.
    ///
    /// # Errors
    /// Every file that is wrong, each with the first thing in it that is: no JSON, no JSON Schema of the dialect
    /// 2020-12, a reference to elsewhere (nothing is ever fetched), a name that no event can have, another schema than
    /// this build's for one of its types.
    pub fn load(folder: &Path) -> Result<Self, Vec<BadSchema>> {
        let (found, errors) = Catalogue::gather(folder);
        let mut bad: Vec<BadSchema> = errors.into_iter().map(BadSchema::from).collect();
        let mut catalogue = Catalogue::default();
        let mut count = 0;
        for (name, versions) in found.types() {
            for (version, schema) in versions {
                let file = folder.join(name).join(format!("v{version}.json")).display().to_string();
                match judged(name, *version, schema) {
                    Ok(true) => {
                        catalogue.insert(name.as_str(), *version, schema.clone());
                        count += 1;
                    }
                    Ok(false) => {}
                    Err((at, why)) => bad.push(BadSchema::new(file, at, why)),
                }
            }
        }
        bad.extend(same_address(folder, &catalogue));
        if count > MAX_SCHEMAS {
            let why = format!("{count} schemas; at most {MAX_SCHEMAS} are taken");
            bad.push(BadSchema::new(folder.display().to_string(), "", why));
        }
        if bad.is_empty() { Ok(Self { catalogue }) } else { Err(bad) }
    }

    /// The types with the schema of each version.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The newest version of a type there is a schema of.
    pub(super) fn newest(&self, name: &str) -> Option<u16> {
        self.catalogue.types().get(name)?.last_key_value().map(|(version, _)| *version)
    }

    /// Every version of every type.
    pub fn schemas(&self) -> impl Iterator<Item = (EventType, &Value)> {
        let versions = |(name, versions): (&String, &'_ BTreeMap<u16, Value>)| {
            let types = versions.keys().map(|version| format!("{name}.v{version}").parse::<EventType>());
            types.collect::<Vec<_>>()
        };
        let types: BTreeSet<EventType> = self.catalogue.types().iter().flat_map(versions).flatten().collect();
        types.into_iter().filter_map(|ty| Some((ty.clone(), self.catalogue.schema(ty.name(), ty.version())?)))
    }
}

/// The files that claim an address (`$id`) which another one, or a type of this build, has already.
fn same_address(folder: &Path, catalogue: &Catalogue) -> Vec<BadSchema> {
    let own =
        events::catalogue().iter().filter_map(|entry| Some((entry.schema.get("$id")?.as_str()?, entry.ty.name())));
    let mut taken: BTreeMap<&str, String> = own.map(|(id, name)| (id, name.to_owned())).collect();
    let mut bad = Vec::new();
    for (name, versions) in catalogue.types() {
        for (version, schema) in versions {
            let Some(id) = schema.get("$id").and_then(Value::as_str) else { continue };
            match taken.get(id) {
                Some(other) => {
                    let file = folder.join(name).join(format!("v{version}.json")).display().to_string();
                    bad.push(BadSchema::new(file, "/$id", format!("`{id}` is the address of `{other}`")));
                }
                None => drop(taken.insert(id, format!("{name}.v{version}"))),
            }
        }
    }
    bad
}

/// Whether it is a foreign type's; `false` for one of this build's own. An error says where in the schema, and what.
fn judged(name: &str, version: u16, schema: &Value) -> Result<bool, (String, String)> {
    let whole = |why: &dyn fmt::Display| (String::new(), why.to_string());
    let ty: EventType = format!("{name}.v{version}").parse().map_err(|error| whole(&error))?;
    if let Some(entry) = events::entry(name) {
        return match entry.schema(version) {
            // A release that knows more versions than this build may have written it.
            None => Ok(false),
            Some(ours) if ours == *schema => Ok(false),
            Some(_) => {
                let why = format!(
                    "`{ty}` is a type of this build, with another schema; it is changed where its Rust type is"
                );
                Err(whole(&why))
            }
        };
    }
    if ty.version() == 0 {
        return Err(whole(&"versions begin at 1"));
    }
    let dialect = schema.get("$schema");
    if dialect.is_some_and(|dialect| dialect.as_str().is_none_or(|named| named.trim_end_matches('#') != DIALECT)) {
        return Err(("/$schema".into(), format!("expected \"{DIALECT}\", or none")));
    }
    jsonschema::draft202012::meta::validate(schema)
        .map_err(|error| (error.instance_path().to_string(), error.to_string()))?;
    bounds::check(schema)?;
    compile(schema).map(|_| true)
}

/// The validator of a schema; where it has none, the place in the schema and the reason.
pub(super) fn compile(schema: &Value) -> Result<Validator, (String, String)> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        // The linear regex engine: a pattern cannot be made to run for ever.
        .with_pattern_options(
            PatternOptions::regex().size_limit(MAX_PATTERN_PROGRAM).dfa_size_limit(MAX_PATTERN_PROGRAM),
        )
        .build(schema)
        .map_err(|error| (error.instance_path().to_string(), error.to_string()))
}
