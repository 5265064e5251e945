//! What runs Tidewire in containers holds, without an engine: compose.yaml, infra/Dockerfile and what they mount.

mod backends;
mod checks;
mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidewire::config::{Config, ENV_PREFIX, Env, KEYS, Sources, parse_span};

use super::top;
use crate::support::process::binary;
use checks::{Checks, run};

/// The services, anchors and merges resolved; `None` when checks are left out.
fn compose() -> Option<(Value, BTreeMap<String, Value>)> {
    const TO_JSON: &str =
        "import json, sys; from ruamel.yaml import YAML; json.dump(YAML(typ='safe').load(sys.stdin), sys.stdout)";
    let file = fs::File::open(top().join("compose.yaml")).expect("compose.yaml");
    let json = run(Checks::get()?.python().args(["-c", TO_JSON]).stdin(file)).expect("compose.yaml is YAML");
    let whole: Value = serde_json::from_str(&json).expect("JSON");
    let services = serde_json::from_value(whole["services"].clone()).expect("services");
    Some((whole, services))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str).collect()
}

/// `name: value` of a mapping, as text.
fn pairs(value: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    value.as_object().map(|map| map.iter().map(|(k, v)| (k.clone(), text(v))).collect()).unwrap_or_default()
}

fn is_tidewire(service: &Value) -> bool {
    service["image"].as_str().is_some_and(|image| image.starts_with("tidewire:"))
}

/// Whether it only prepares: others wait for its end.
fn is_preparation(name: &str, services: &BTreeMap<String, Value>) -> bool {
    services[name]["restart"] == "no"
        && services.values().any(|s| s["depends_on"][name]["condition"] == "service_completed_successfully")
}

/// What compose makes of `${NAME:-default}` when nothing is set.
fn interpolated(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (inside, after) = rest.split_once('}').expect("a closing brace");
    let (_, default) = inside.split_once(":-").expect("every variable has a default");
    format!("{before}{default}{}", interpolated(after))
}

#[test]
fn the_compose_file_follows_its_specification() {
    let Some(checks) = Checks::get() else { return };
    let mut check = checks.program("python");
    check.args(["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]).arg(top().join("compose.yaml"));
    run(&mut check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_dockerfile_has_nothing_to_complain_about() {
    let Some(checks) = Checks::get() else { return };
    let mut check = checks.program("hadolint");
    check.args(["--no-color", "--failure-threshold", "style"]).arg(top().join("infra/Dockerfile"));
    run(&mut check).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_role_runs_exactly_once() {
    let Some((_, services)) = compose() else { return };
    let help = run(Command::new(binary()).args(["run", "--help"])).expect("help");
    let (arguments, _) = help.split_once("\nOptions:").expect("arguments, then options");
    let listed =
        arguments.lines().filter_map(|line| line.trim().strip_prefix("- ")?.split_once(':').map(|(role, _)| role));
    let mut known: Vec<&str> = listed.collect();
    let mut run = Vec::new();
    for (name, service) in services.iter().filter(|(_, service)| is_tidewire(service)) {
        let command = strings(&service["command"]);
        let (first, roles) = command.split_first().expect("a command");
        assert_eq!(*first, "run", "{name}");
        assert!(roles.contains(&name.as_str()), "{name} is called after a role it does not run");
        run.extend_from_slice(roles);
    }
    known.sort_unstable();
    run.sort_unstable();
    assert!(known.len() >= 8, "{known:?}");
    assert_eq!(run, known);
}

/// The configuration each container gets is one that Tidewire accepts, on servers.
#[test]
fn every_container_is_configured_as_tidewire_accepts_it() {
    let Some((_, services)) = compose() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    for (name, url) in [("store-url", "postgres://u@h/d"), ("nats-url", "nats://h"), ("kafka-url", "kafka://h:9092")] {
        let path = dir.path().join(name);
        fs::write(&path, url).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("closed");
    }
    let here = dir.path().to_str().expect("UTF-8");
    let image = image_environment();
    for (name, service) in services.iter().filter(|(_, service)| is_tidewire(service)) {
        let mut environment = image.clone();
        environment.extend(pairs(&service["environment"]));
        let of_ours = environment.iter().filter(|(variable, _)| variable.starts_with(ENV_PREFIX));
        let env: Env = of_ours
            .inspect(|(variable, _)| assert!(is_known(variable), "{name}: no key is called {variable}"))
            .map(|(variable, value)| (variable.clone(), interpolated(value).replace("/run/secrets", here)))
            .collect();
        let config = Config::load(Sources { env, ..Sources::default() });
        let config = config.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((config.store.url.scheme(), config.broker.url.scheme()), ("postgres", "nats"), "{name}");
        let published = service["ports"].is_array();
        assert_eq!(config.listen.ip().is_loopback(), !published, "{name} listens where nobody needs it to");
        let grace = parse_span(service["stop_grace_period"].as_str().unwrap_or_default()).expect("a grace period");
        let needed = config.shutdown.deadline + Duration::from_secs(5);
        assert!(grace >= needed, "{name} is killed after {grace:?}, while it may take {:?}", config.shutdown.deadline);
    }
}

/// Whether a variable sets a key, directly or, for a secret, by the name of a file.
fn is_known(variable: &str) -> bool {
    KEYS.iter().any(|key| {
        let is_one = |name: &String| {
            name == variable || (key.secret && variable.strip_suffix("_FILE").is_some_and(|stem| stem == name))
        };
        key.env_names().iter().any(is_one)
    })
}

/// What the image sets in its `ENV` lines.
fn image_environment() -> BTreeMap<String, String> {
    let text = fs::read_to_string(top().join("infra/Dockerfile")).expect("infra/Dockerfile");
    let words = text.lines().flat_map(|line| line.trim_start_matches("ENV ").split_whitespace());
    let ours = words.filter_map(|word| word.split_once('=')).filter(|(name, _)| name.starts_with(ENV_PREFIX));
    let found: BTreeMap<_, _> = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(found.contains_key("TIDEWIRE_DATA_DIR"), "{found:?}");
    found
}

/// What stands between the name and the host in addresses.
fn passwords(text: &str) -> impl Iterator<Item = &str> {
    let users =
        text.split("://").skip(1).filter_map(|rest| Some(rest.split(['/', ' ', '"', '`']).next()?.rsplit_once('@')?.0));
    users.filter_map(|user| Some(user.split_once(':')?.1))
}

#[test]
fn no_secret_is_written_down() {
    let Some((_, services)) = compose() else { return };
    for (name, service) in &services {
        assert!(service["env_file"].is_null(), "{name} has an environment file");
        for (variable, value) in pairs(&service["environment"]) {
            let upper = variable.to_ascii_uppercase();
            let secret = ["PASSWORD", "SECRET", "TOKEN", "CREDENTIAL"].iter().any(|word| upper.contains(word));
            let is_path = variable.ends_with("_FILE") && value.starts_with("/run/secrets/");
            assert!(is_path || !(secret || upper.contains("_URL_")), "{name}: {variable} is not a file of a secret");
        }
    }
    let listed = run(Command::new("git").args(["ls-files", "compose.yaml", "infra"]).current_dir(top())).expect("git");
    let mut looked_at = 0;
    assert_eq!(passwords("a: nats://b:c@d:1/, nats://e@f nats://g:1").collect::<Vec<_>>(), ["c"]);
    for path in listed.lines() {
        let text = fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        for password in passwords(&text) {
            assert!(password == "password" || password.starts_with('$'), "{path}: a password in an address");
        }
        looked_at += 1;
    }
    assert!(looked_at >= 8, "{listed}");
}

#[test]
fn whatever_is_mounted_exists_and_stays_as_it_is() {
    let Some((whole, services)) = compose() else { return };
    let mut used: Vec<String> = Vec::new();
    for (name, service) in &services {
        for mount in strings(&service["volumes"]) {
            let parts: Vec<&str> = mount.split(':').collect();
            if let Some(path) = parts[0].strip_prefix("./") {
                let tracked = run(Command::new("git").args(["ls-files", "--", path]).current_dir(top())).expect("git");
                assert_eq!(tracked.trim(), path, "{name} mounts {path}, which is no file of the repository");
                assert_eq!(parts.get(2), Some(&"ro"), "{name} may write {path}");
                continue;
            }
            assert!(whole["volumes"].get(parts[0]).is_some(), "{name} mounts {}, which is no volume", parts[0]);
            if parts[0].ends_with("-secrets") && !is_preparation(name, &services) {
                assert_eq!(parts.get(2), Some(&"ro"), "{name} may write secrets");
            }
            used.push(parts[0].to_owned());
        }
    }
    for volume in whole["volumes"].as_object().expect("volumes").keys() {
        assert!(used.contains(volume), "nobody mounts {volume}");
    }
}

#[test]
fn only_the_gateway_is_published_and_only_to_this_machine() {
    let Some((_, services)) = compose() else { return };
    for (name, service) in &services {
        let ports = strings(&service["ports"]);
        assert_eq!(ports.is_empty(), name != "gateway", "{name} publishes {ports:?}");
        assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{name} publishes {ports:?}");
        assert!(service["network_mode"] != "host" && service["privileged"].is_null(), "{name} is not contained");
    }
}

#[test]
fn every_container_is_watched_and_contained() {
    let Some((_, services)) = compose() else { return };
    assert!(services.len() >= 10, "{:?}", services.keys());
    for (name, service) in &services {
        assert_eq!(service["read_only"], true, "{name} may write its root file system");
        assert_eq!(strings(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(strings(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service["pids_limit"].is_u64() && service["logging"]["options"]["max-size"].is_string(), "{name}");
        if is_preparation(name, &services) {
            continue;
        }
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(service["cap_add"].is_null() && service["user"] != "0:0", "{name} has powers");
        let asked = strings(&service["healthcheck"]["test"]);
        assert!(asked.first() == Some(&"CMD") && asked.len() > 1, "{name} is not asked whether it is well");
        assert!(service["stop_grace_period"].is_string(), "{name} is killed after the engine's 10 s");
        if is_tidewire(service) {
            for server in ["postgres", "nats"] {
                assert_eq!(service["depends_on"][server]["condition"], "service_healthy", "{name} on {server}");
            }
        }
    }
}

/// The oldest servers that keep what Tidewire promises on them.
#[test]
fn the_servers_are_pinned_and_new_enough() {
    let Some((_, services)) = compose() else { return };
    for (service, oldest) in [("nats", [2, 12, 7]), ("postgres", [15, 0, 0]), ("kafka", [4, 0, 0])] {
        let image = services[service]["image"].as_str().expect("an image");
        let (_, tag) = image.split_once(':').expect("a tag");
        let mut version = [0; 3];
        for (place, part) in version.iter_mut().zip(tag.split('-').next().unwrap_or_default().split('.')) {
            *place = part.parse().unwrap_or_else(|_| panic!("{image} is not pinned to a version"));
        }
        assert!(version >= oldest, "{image} is older than {oldest:?}");
    }
    let nats = fs::read_to_string(top().join("infra/nats/nats.conf")).expect("infra/nats/nats.conf");
    assert!(nats.lines().any(|line| line.trim() == "sync_interval: always"), "acknowledged is not yet on disk");
}
