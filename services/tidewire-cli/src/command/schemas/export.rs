//! The catalogue in the forms of other tools.

use std::path::Path;

use serde_json::{Map, Value, json};
use tidewire::contract::{Described, asyncapi};

use crate::args::ExportFormat;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Writes it.
pub fn run(format: ExportFormat, folder: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    match (format, folder) {
        (ExportFormat::Asyncapi, None) => Ok(output.raw(pretty(&asyncapi_document()).as_bytes())?),
        (ExportFormat::Xregistry, None) => Ok(output.raw(pretty(&xregistry()).as_bytes())?),
        (ExportFormat::Asyncapi, Some(folder)) => {
            write(folder, [("asyncapi.json".into(), pretty(&asyncapi_document()))])
        }
        (ExportFormat::Xregistry, Some(folder)) => write(folder, [("registry.json".into(), pretty(&xregistry()))]),
        (ExportFormat::Eventcatalog, Some(folder)) => write(folder, eventcatalog()),
        (ExportFormat::Schemas, Some(folder)) => write(folder, schemas()),
        (ExportFormat::Eventcatalog | ExportFormat::Schemas, None) => {
            Err(Failure::new(Exit::Usage, "command.usage", "this format is many files and needs a folder")
                .hint("tidewire schemas export --format eventcatalog ./catalog"))
        }
    }
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

/// The AsyncAPI document of this build.
fn asyncapi_document() -> Value {
    asyncapi(
        "Tidewire",
        env!("CARGO_PKG_VERSION"),
        events::catalogue().iter().map(|entry| Described {
            ty: entry.ty.to_string(),
            name: entry.ty.name(),
            description: &entry.description,
            schema: entry.schema.clone(),
            example: &entry.example,
        }),
    )
}

/// One schema group and one message group, every version of every type.
fn xregistry() -> Value {
    let (mut schemas, mut messages) = (Map::new(), Map::new());
    for entry in events::catalogue() {
        let name = entry.ty.name();
        let versions: Map<String, Value> = (1..=entry.ty.version())
            .filter_map(|version| {
                let version = version.to_string();
                let schema = entry.schema(version.parse().ok()?)?;
                Some((
                    version.clone(),
                    json!({ "versionid": version, "format": "JsonSchema/draft-2020-12", "schema": schema }),
                ))
            })
            .collect();
        schemas.insert(
            name.into(),
            json!({ "schemaid": name, "description": entry.description, "versions": versions, "defaultversionid": entry.ty.version().to_string() }),
        );
        messages.insert(
            entry.ty.to_string(),
            json!({
                "messageid": entry.ty.to_string(),
                "envelope": "CloudEvents/1.0",
                "envelopemetadata": { "type": { "value": entry.ty.to_string(), "required": true } },
                "dataschemaformat": "JsonSchema/draft-2020-12",
                "dataschemauri": format!("#/schemagroups/tidewire/schemas/{name}/versions/{}", entry.ty.version()),
            }),
        );
    }
    json!({
        "specversion": "1.0-rc2",
        "registryid": "tidewire",
        "schemagroups": { "tidewire": { "schemagroupid": "tidewire", "schemas": schemas } },
        "messagegroups": { "tidewire": { "messagegroupid": "tidewire", "envelope": "CloudEvents/1.0", "messages": messages } },
    })
}

fn schemas() -> Vec<(String, String)> {
    let versions = |entry: &'static events::Entry| {
        (1..=entry.ty.version()).filter_map(move |version| {
            Some((format!("{}/v{version}.json", entry.ty.name()), pretty(&entry.schema(version)?)))
        })
    };
    events::catalogue().iter().flat_map(versions).collect()
}

/// A page and a schema per event, as EventCatalog reads them.
fn eventcatalog() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in events::catalogue() {
        let (name, version) = (entry.ty.name(), entry.ty.version());
        // JSON is YAML: quotes and line breaks in a description cannot end the front matter.
        let summary = Value::from(entry.description.as_str());
        let page = format!(
            "---\nid: {name}\nname: {name}\nversion: {version}.0.0\nsummary: {summary}\nschemaPath: schema.json\n---\n\n\
             ## Schema\n\n<SchemaViewer />\n\n## Example\n\n```json\n{:#}\n```\n",
            entry.example
        );
        files.push((format!("events/{name}/index.mdx"), page));
        files.push((format!("events/{name}/schema.json"), pretty(&entry.schema)));
    }
    files
}

fn write(folder: &Path, files: impl IntoIterator<Item = (String, String)>) -> Result<(), Failure> {
    for (name, text) in files {
        let path = folder.join(name);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, text));
        made.map_err(|error| Failure::new(Exit::Error, "command.failed", format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_asyncapi_document_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/asyncapi.json");
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == pretty(&asyncapi_document()),
            "schemas/asyncapi.json is not what the catalogue says: run `cargo run -- schemas export --format asyncapi schemas`"
        );
    }

    #[test]
    fn every_format_holds_every_type() {
        let all = events::catalogue().len();
        assert_eq!(asyncapi_document()["channels"].as_object().unwrap().len(), all);
        let registry = xregistry();
        assert_eq!(registry.pointer("/messagegroups/tidewire/messages").unwrap().as_object().unwrap().len(), all);
        for message in registry.pointer("/messagegroups/tidewire/messages").unwrap().as_object().unwrap().values() {
            let target = message["dataschemauri"].as_str().unwrap().trim_start_matches('#');
            assert!(registry.pointer(target).is_some_and(|found| found["schema"].is_object()), "{target}");
        }
        assert_eq!(eventcatalog().len(), 2 * all);
        assert!(schemas().len() > all, "older versions are exported, too");
    }
}
