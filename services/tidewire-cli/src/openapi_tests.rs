//! The OpenAPI document of everything this build serves, as it is committed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewire::SystemClock;
use tidewire::config::Config;

use crate::args::Role;
use crate::services::Services;
use crate::wire;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/openapi.json")
}

async fn document() -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::with([("data_dir", folder.path().to_str().unwrap()), ("schemas.dir", "")]).unwrap();
    let ports = wire::open(&config, Arc::new(SystemClock)).await.unwrap();
    let services = Services::build(&ports, &config, &[]).await.unwrap();
    let document = gateway::openapi_document(&services.parts(&Role::ALL));
    ports.broker.close().await;
    ports.store.close().await;
    serde_json::to_string_pretty(&document).unwrap() + "\n"
}

#[tokio::test]
async fn the_committed_openapi_document_is_fresh() {
    let found = std::fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        found == document().await,
        "schemas/openapi.json is not what the routes say: cargo test -p tidewire-cli write_the_openapi_document -- --ignored"
    );
}

#[tokio::test]
#[ignore = "writes schemas/openapi.json"]
async fn write_the_openapi_document() {
    std::fs::write(committed(), document().await).unwrap();
}
