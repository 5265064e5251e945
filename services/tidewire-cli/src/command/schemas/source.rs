//! Where a catalogue comes from.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tidewire::EventType;
use tidewire::contract::{Catalogue, CatalogueError, MAX_SCHEMA_BYTES};

use crate::exit::Exit;
use crate::failure::Failure;

/// Where schemas lie in a repository.
const FOLDER: &str = "schemas";
/// The most versions that are fetched from a server, one request each.
const MAX_FETCHED: usize = 2_000;
/// How long a server may take for one answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A folder, `git:REVISION[:FOLDER]`, or a URL.
pub async fn read(source: &str) -> Result<Catalogue, Failure> {
    let catalogue = if let Some(revision) = source.strip_prefix("git:") {
        let (revision, folder) = revision.split_once(':').unwrap_or((revision, FOLDER));
        from_git(revision, folder).await?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        from_url(source.trim_end_matches('/')).await?
    } else {
        Catalogue::from_folder(Path::new(source)).map_err(unreadable)?
    };
    if catalogue.is_empty() {
        return Err(Failure::new(Exit::NotFound, "schema.no_catalogue", format!("{source} holds no schemas"))
            .hint("a catalogue is a folder of `<type>/v<N>.json`, such as `schemas/`"));
    }
    Ok(catalogue)
}

fn unreadable(error: CatalogueError) -> Failure {
    Failure::new(Exit::Error, "schema.no_catalogue", format!("the catalogue cannot be read: {error}"))
        .hint("name a folder, git:REVISION[:FOLDER], or the URL of `/schemas` of an instance")
}

async fn from_git(revision: &str, folder: &str) -> Result<Catalogue, Failure> {
    // A revision that looks like an option must not become one.
    if revision.starts_with('-') || revision.is_empty() {
        return Err(Failure::new(Exit::Usage, "command.usage", format!("`{revision}` is no git revision")));
    }
    let listed = git(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", revision, "--", folder]).await?;
    let mut catalogue = Catalogue::default();
    for path in String::from_utf8_lossy(&listed).split('\0').filter(|path| path.ends_with(".json")) {
        let text = git(&["cat-file", "blob", &format!("{revision}:{path}")]).await?;
        catalogue.read(path, &text).map_err(unreadable)?;
    }
    Ok(catalogue)
}

async fn git(arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let ended = tokio::process::Command::new("git").args(arguments).stdin(Stdio::null()).output().await;
    let failed = |reason: String| {
        Failure::new(Exit::Error, "schema.no_catalogue", format!("git {}: {}", arguments[0], reason.trim()))
            .hint("run it inside the repository, and name a revision that `git log` knows")
    };
    let output = ended.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(output.stdout)
}

/// `/schemas` of an instance lists the current versions; earlier ones are asked for one by one.
async fn from_url(base: &str) -> Result<Catalogue, Failure> {
    let unreachable = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Unavailable, "client.unreachable", format!("{base}: {error}"))
    };
    let http = reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| unreachable(&error))?;
    let get = |url: String| {
        let http = http.clone();
        async move {
            let answer = http.get(&url).send().await?.error_for_status()?;
            answer.bytes().await
        }
    };
    let listed = get(base.to_owned()).await.map_err(|error| unreachable(&error.without_url()))?;
    let listed: Value = serde_json::from_slice(&listed).map_err(|error| unreachable(&error))?;
    let types = listed.get("items").and_then(Value::as_array).into_iter().flatten();
    let types: Vec<EventType> =
        types.filter_map(|item| item.get("type")?.as_str()?.parse::<EventType>().ok()).collect();
    let wanted = types.iter().flat_map(|ty| (1..=ty.version()).map(|version| ty.at(version))).take(MAX_FETCHED);
    let mut catalogue = Catalogue::default();
    for ty in wanted {
        let place = format!("{base}/{}/v{}.json", ty.name(), ty.version());
        let text = match get(place.clone()).await {
            // Of a type that is only schema files, versions may be missing before the newest.
            Err(error) if error.status() == Some(reqwest::StatusCode::NOT_FOUND) => continue,
            answer => answer.map_err(|error| unreachable(&error.without_url()))?,
        };
        if text.len() as u64 > MAX_SCHEMA_BYTES {
            return Err(unreachable(&format!("{place} is larger than {MAX_SCHEMA_BYTES} bytes")));
        }
        catalogue.read(&place, &text).map_err(unreadable)?;
    }
    Ok(catalogue)
}
