//! The catalogue in the forms of other tools.

use std::path::Path;

use gateway::Contracts;
use serde_json::{Map, Value, json};

use crate::args::ExportFormat;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Writes it.
pub fn run(
    contracts: &Contracts,
    format: ExportFormat,
    folder: Option<&Path>,
    output: &mut Output,
) -> Result<(), Failure> {
    match (format, folder) {
        (ExportFormat::Asyncapi, None) => Ok(output.raw(pretty(&contracts.asyncapi()).as_bytes())?),
        (ExportFormat::Xregistry, None) => Ok(output.raw(pretty(&xregistry(contracts)).as_bytes())?),
        (ExportFormat::Asyncapi, Some(folder)) => {
            write(folder, [("asyncapi.json".into(), pretty(&contracts.asyncapi()))])
        }
        (ExportFormat::Xregistry, Some(folder)) => {
            write(folder, [("registry.json".into(), pretty(&xregistry(contracts)))])
        }
        (ExportFormat::Eventcatalog, Some(folder)) => write(folder, eventcatalog(contracts)),
        (ExportFormat::Schemas, Some(folder)) => write(folder, schemas(contracts)),
        (ExportFormat::Eventcatalog | ExportFormat::Schemas, None) => {
            Err(Failure::new(Exit::Usage, "command.usage", "this format is many files and needs a folder")
                .hint("tidewire schemas export --format eventcatalog ./catalog"))
        }
    }
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

/// One schema group and one message group, every version of every type.
fn xregistry(contracts: &Contracts) -> Value {
    let (mut schemas, mut messages) = (Map::new(), Map::new());
    let catalogue = contracts.catalogue();
    for described in contracts.described() {
        let Some(all) = catalogue.types().get(described.name) else { continue };
        let Some((newest, _)) = all.last_key_value() else { continue };
        let version = |(version, schema): (&u16, &Value)| {
            let id = version.to_string();
            let form = "JsonSchema/draft-2020-12";
            (id.clone(), json!({ "versionid": id, "format": form, "schema": schema }))
        };
        let versions: Map<String, Value> = all.iter().map(version).collect();
        schemas.insert(
            described.name.into(),
            json!({
                "schemaid": described.name,
                "description": described.description,
                "versions": versions,
                "defaultversionid": newest.to_string(),
            }),
        );
        messages.insert(
            described.ty.clone(),
            json!({
                "messageid": described.ty,
                "envelope": "CloudEvents/1.0",
                "envelopemetadata": { "type": { "value": described.ty, "required": true } },
                "dataschemaformat": "JsonSchema/draft-2020-12",
                "dataschemauri": format!("#/schemagroups/tidewire/schemas/{}/versions/{newest}", described.name),
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

fn schemas(contracts: &Contracts) -> Vec<(String, String)> {
    let file = |name: &String, version: &u16, schema: &Value| (format!("{name}/v{version}.json"), pretty(schema));
    let catalogue = contracts.catalogue();
    let types = catalogue.types().iter();
    types.flat_map(|(name, all)| all.iter().map(move |(version, schema)| file(name, version, schema))).collect()
}

/// A page and a schema per event, as EventCatalog reads them.
fn eventcatalog(contracts: &Contracts) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for described in contracts.described() {
        let name = described.name;
        let version = described.ty.rsplit_once(".v").map_or("1", |(_, version)| version);
        // JSON is YAML: quotes and line breaks in a description cannot end the front matter.
        let summary = Value::from(described.description);
        let example = described.example.map(|example| format!("\n## Example\n\n```json\n{example:#}\n```\n"));
        let page = format!(
            "---\nid: {name}\nname: {name}\nversion: {version}.0.0\nsummary: {summary}\nschemaPath: schema.json\n---\n\n\
             ## Schema\n\n<SchemaViewer />\n{}",
            example.unwrap_or_default()
        );
        files.push((format!("events/{name}/index.mdx"), page));
        files.push((format!("events/{name}/schema.json"), pretty(&described.schema)));
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
            committed == pretty(&Contracts::default().asyncapi()),
            "schemas/asyncapi.json is not what the catalogue says: run `cargo run -- schemas export --format asyncapi schemas`"
        );
    }

    #[test]
    fn every_format_holds_every_type() {
        let all = events::catalogue().len();
        let contracts = Contracts::default();
        assert_eq!(contracts.asyncapi()["channels"].as_object().unwrap().len(), all);
        let registry = xregistry(&contracts);
        assert_eq!(registry.pointer("/messagegroups/tidewire/messages").unwrap().as_object().unwrap().len(), all);
        for message in registry.pointer("/messagegroups/tidewire/messages").unwrap().as_object().unwrap().values() {
            let target = message["dataschemauri"].as_str().unwrap().trim_start_matches('#');
            assert!(registry.pointer(target).is_some_and(|found| found["schema"].is_object()), "{target}");
        }
        assert_eq!(eventcatalog(&contracts).len(), 2 * all);
        assert!(schemas(&contracts).len() > all, "older versions are exported, too");
    }
}
