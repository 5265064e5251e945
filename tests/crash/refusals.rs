//! Starts that must be refused, with an error that says what to do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::eventually;
use crate::support::process::{Finished, Instance, command, run_in};

async fn up(dir: &Path, env: &[(&str, &str)]) -> Finished {
    let data = dir.to_str().expect("UTF-8");
    run_in(Path::new("/"), &["up", "--data-dir", data, "--listen", "127.0.0.1:0", "-o", "json"], env).await
}

/// The last line of standard error, which is the error as JSON.
fn error(finished: &Finished) -> Value {
    let line = finished.stderr.lines().rev().find(|line| line.starts_with('{') && line.contains("\"code\""));
    let line = line.unwrap_or_else(|| panic!("no error in {:?}", finished.stderr));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn assert_refused(finished: &Finished, code: &str, says: &str) {
    assert_ne!(finished.code, Some(0), "{}", finished.stderr);
    let error = error(finished);
    let error = if error["error"].is_object() { &error["error"] } else { &error };
    assert_eq!(error["code"], code, "{error}");
    assert!(error.to_string().contains(says), "{error} does not say {says:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_names_its_owner() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mut owner = Instance::up(&data, &[]).await.expect("it starts");
    let pid: Value = serde_json::from_slice(&std::fs::read(data.join("run.json")).unwrap()).unwrap();
    let pid = pid["pid"].to_string();
    let second = up(&data, &[]).await;
    assert_refused(&second, "store.locked", &pid);
    let role = ["run", "analytics", "--data-dir", data.to_str().unwrap(), "-o", "json"];
    assert_refused(&run_in(dir.path(), &role, &[]).await, "role.single_process", &pid);
    // The owner is not disturbed.
    assert!(owner.get("/v1/status").await["store"].is_object());
    assert!(owner.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_not_started_on_and_not_touched() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let mut instance = Instance::up(&data, &[]).await.expect("it starts");
    instance.terminate().await;
    let log = data.join("log/log.db");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[..16].copy_from_slice(b"not a database!!");
    std::fs::write(&log, &bytes).unwrap();
    let refused = up(&data, &[]).await;
    assert_refused(&refused, "store.corrupt", "restore");
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "the damaged file is kept as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_a_file_and_one_without_permission_are_named() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = up(&file, &[]).await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("file"), "{}", refused.stderr);
    // Root may write anywhere: only meaningful for others.
    if !rustix::process::geteuid().is_root() {
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
        let refused = up(&closed, &[]).await;
        assert_refused(&refused, "store.read_only", "closed");
    } else {
        println!("skipped: a folder without permission means nothing to root");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_the_configuration_is_named_at_once() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("tidewire.toml");
    std::fs::write(&file, "[relay]\nbatsh = 5\nlease_ttl = \"-3s\"\n[consume]\nmax_attempts = \"many\"\n").unwrap();
    let checked =
        run_in(dir.path(), &["--config", file.to_str().unwrap(), "config", "check"], &[("TIDEWIRE_LISTEN", "nowhere")])
            .await;
    assert_eq!(checked.code, Some(6), "{}{}", checked.stdout, checked.stderr);
    let text = format!("{}{}", checked.stdout, checked.stderr);
    for part in ["batsh", "relay.batch", "lease_ttl", "max_attempts", "listen"] {
        assert!(text.contains(part), "{part} is not named in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listening_beyond_loopback_without_authentication_is_refused() {
    let dir = TempDir::new().expect("a folder");
    let refused = run_in(dir.path(), &["up", "--data-dir", "data", "--listen", "0.0.0.0:0", "-o", "json"], &[]).await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("listen.remote_without_auth"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_role_alone_on_embedded_backends_says_what_that_means() {
    let dir = TempDir::new().expect("a folder");
    let log = dir.path().join("log");
    let mut alone = command(&["run", "analytics", "--data-dir", "data"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    eventually("it says that nobody else can join", || async {
        let said = std::fs::read_to_string(&log).ok()?;
        (said.contains("one process") && said.contains("outbox-publisher")).then_some(())
    })
    .await;
    alone.kill().await.unwrap();
}
