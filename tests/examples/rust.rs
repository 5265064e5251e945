//! `examples/rust-service`, built as a crate that is not of this workspace.

use std::path::{Path, PathBuf};

use reqwest::Method;
use tempfile::TempDir;
use tokio::process::Command;

use super::events;
use super::service::{Service, example, run, schemas};
use crate::support::eventually;
use crate::support::ground::Ground;
use crate::support::process::{Instance, binary};

/// Builds it into the target folder of this very build, where most of what it needs is built already.
async fn built() -> PathBuf {
    let target = Path::new(binary()).ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).expect("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--manifest-path"]).arg(example("rust-service").join("Cargo.toml"));
    cargo.env("CARGO_TARGET_DIR", target);
    let begun = std::time::Instant::now();
    run(cargo).await;
    println!("examples/rust-service: built in {:.1?}", begun.elapsed());
    target.join("debug").join("loyalty")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_service_outside_the_workspace_commits_its_rows_and_events_together() {
    let Some(ground) = Ground::on_shared_jetstream().await else { return };
    let program = built().await;
    let dir = TempDir::new().expect("a folder");
    schemas(&dir.path().join("schemas"), &["rust-service"]);
    let mut env = ground.env();
    env.push(("TIDEWIRE_SCHEMAS__DIR".into(), dir.path().join("schemas").display().to_string()));
    let given: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let started = Instance::up(&dir.path().join("data"), &given).await;
    let instance = started.unwrap_or_else(|log| panic!("it does not start: {log}"));
    let mut command = Command::new(program);
    command.envs(ground.env()).env("LISTEN", "127.0.0.1:0");
    let service = Service::start(command).await;

    for (name, expected) in [("ada", 201), ("alan", 201), ("ada", 200)] {
        let (status, said) = service.ask(Method::PUT, &format!("/members/{name}"), None).await;
        assert_eq!(status, expected, "{name}: {said}");
    }
    let granted = eventually("both are welcomed", || async {
        let found = events(&instance, "member.points_granted").await;
        (found.len() >= 2).then_some(found)
    })
    .await;
    let joined = events(&instance, "member.joined").await;
    assert_eq!((joined.len(), granted.len()), (2, 2), "each once");
    assert_eq!((&joined[0]["source"], &joined[0]["partitionkey"]), (&"/loyalty".into(), &"member/ada".into()));
    let causes: Vec<_> = granted.iter().map(|event| &event["causationid"]).collect();
    assert!(joined.iter().all(|event| causes.contains(&&event["id"])), "{granted:?}");
}
