//! Nothing imports upward, and neighbours do not know each other.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// The floor of a package by where it lies; the services share one.
fn floor(name: &str, folder: &str) -> u8 {
    match (name, folder) {
        ("tidewire-core", _) => 0,
        ("tidewire-store" | "tidewire-broker", _) | (_, "events") => 1,
        ("tidewire", _) => 2,
        ("tidewire-cli", _) | (_, "tests") => 4,
        (_, "services") => 3,
        _ => panic!("`{name}` lies in `{folder}`, which is no room of this house"),
    }
}

/// (package, its floor, what it depends on within the house, dev-dependencies apart)
fn packages() -> BTreeMap<String, (u8, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(super::top())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let folder = |package: &Value| {
        let manifest = package["manifest_path"].as_str().expect("a path").to_owned();
        let inside = manifest.strip_prefix(super::top().to_str().expect("UTF-8")).expect("inside the house").to_owned();
        inside.trim_start_matches('/').split('/').next().expect("a folder").to_owned()
    };
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let edges = |package: &Value| -> Vec<String> {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|d| d["kind"].as_str() != Some("dev"))
            .filter_map(|d| d["name"].as_str().filter(|name| names.contains(name)).map(str::to_owned))
            .collect()
    };
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            (name.clone(), (floor(&name, &folder(package)), edges(package)))
        })
        .collect()
}

#[test]
fn nothing_imports_upward_or_sideways() {
    let packages = packages();
    assert!(packages.len() >= 14, "the house has all its rooms: {:?}", packages.keys());
    let mut wrong = Vec::new();
    for (name, (floor, edges)) in &packages {
        for edge in edges {
            let below = packages[edge].0;
            if below >= *floor && name != "tests" {
                wrong.push(format!("{name} (floor {floor}) imports {edge} (floor {below})"));
            }
            // A service knows the facade and the catalogue, nothing deeper.
            if *floor == 3 && !matches!(edge.as_str(), "tidewire" | "events") {
                wrong.push(format!("service {name} imports {edge}; services import `tidewire` and `events` only"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "compose.yaml",
        "crates",
        "events",
        "examples",
        "infra",
        "schemas",
        "services",
        "target",
        "tests",
    ];
    let listed = Command::new("git").args(["ls-files"]).current_dir(super::top()).output().expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let mut strangers: Vec<&str> = listed
        .lines()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.starts_with('.') && !allowed.contains(name))
        .collect();
    strangers.dedup();
    assert!(strangers.is_empty(), "at the top level, and nowhere to be found on the map: {strangers:?}");
}

/// Two providers in one process make rustls panic at the first connection. OpenSSL is no provider of rustls; it
/// may come with librdkafka, for those who ask for TLS to Kafka, and with nothing else.
#[test]
fn ring_is_the_only_tls_provider() {
    let lock = std::fs::read_to_string(super::top().join("Cargo.lock")).expect("Cargo.lock");
    for unwanted in ["aws-lc-rs", "native-tls", "openssl"] {
        assert!(!lock.contains(&format!("name = \"{unwanted}\"")), "{unwanted} came into the lock file");
    }
    let users: Vec<&str> = (lock.split("[[package]]"))
        .filter(|package| package.contains("\n \"openssl-sys"))
        .filter_map(|package| package.split('"').nth(1))
        .collect();
    assert!(users.iter().all(|user| *user == "rdkafka-sys"), "OpenSSL came with {users:?}");
    let manifest = super::top().join("crates/tidewire-broker/Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).expect("the broker's manifest");
    let default = manifest.lines().find(|line| line.starts_with("default = ")).expect("default features");
    assert!(!default.contains("kafka"), "a plain build must not need librdkafka: {default}");
}
