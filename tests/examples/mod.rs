//! The examples, run as their READMEs say: services in other languages, and one in Rust outside this workspace, each
//! against a real instance on real servers.

mod node;
mod python;
mod rust;
mod service;

use std::path::Path;

use serde_json::Value;

use crate::support::process::Instance;

/// What an instance needs to be told so that it pushes to a service on the same machine, besides where its log is.
fn beside(schemas: &Path) -> Vec<(String, String)> {
    let schemas = schemas.to_str().expect("UTF-8");
    let told = [
        ("TIDEWIRE_SCHEMAS__DIR", schemas),
        ("TIDEWIRE_PUSH__ALLOW_PRIVATE_TARGETS", "true"),
        ("TIDEWIRE_PUSH__ALLOW_HTTP", "true"),
    ];
    told.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// The events of a type that are in the log, oldest first.
async fn events(instance: &Instance, ty: &str) -> Vec<Value> {
    let found = instance.get(&format!("/v1/events?type={ty}")).await;
    found["items"].as_array().expect("items").iter().map(|item| item["event"].clone()).collect()
}
