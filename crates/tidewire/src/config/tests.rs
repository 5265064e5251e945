//! The layers together: precedence, names, secrets, and all problems at once.

use std::path::Path;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs.iter().copied().collect()
}

fn file(text: &str) -> FileSource {
    FileSource::Text { name: "t.toml".into(), text: text.into() }
}

fn load(text: &str, vars: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let flags = flags.iter().map(|(path, value)| Flag::new(*path, format!("--{path}"), *value)).collect();
    Config::load(Sources { file: file(text), env: env(vars), flags })
}

fn codes(result: Result<Config, ConfigError>) -> Vec<&'static str> {
    result.map(|_| Vec::new()).unwrap_or_else(|error| error.problems.iter().map(|problem| problem.code).collect())
}

fn origin(config: &Config, path: &str) -> String {
    config.rows().iter().find(|row| row.path == path).unwrap().origin.to_string()
}

#[test]
fn the_defaults_load() {
    let config = Config::default();
    assert_eq!(config.rows().len(), KEYS.len());
    assert!(config.rows().iter().all(|row| row.origin == Origin::Default));
    assert_eq!(config.sqlite_dir().unwrap(), Path::new("./tidewire-data/log"));
    assert_eq!(config.embedded_broker_dir().unwrap(), Path::new("./tidewire-data/broker"));
    assert_eq!(config.objects_dir().unwrap(), Path::new("./tidewire-data/objects"));
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let text = "[store]\nreaders = 2\n";
    let vars = [("TIDEWIRE_STORE__READERS", "3")];
    let flag = [("store.readers", "5")];
    let cases = [
        ("", &vars[..0], &flag[..0], 4, "default"),
        (text, &vars[..0], &flag[..0], 2, "file t.toml:2"),
        (text, &vars[..], &flag[..0], 3, "environment TIDEWIRE_STORE__READERS"),
        (text, &vars[..], &flag[..], 5, "flag --store.readers"),
    ];
    for (text, vars, flags, readers, from) in cases {
        let config = load(text, vars, flags).unwrap();
        assert_eq!((config.store.readers, origin(&config, "store.readers").as_str()), (readers, from));
    }
}

#[test]
fn documented_short_names_and_fall_backs() {
    let url = |vars: &[(&str, &str)]| {
        let config = load("", vars, &[]).unwrap();
        (config.store.url.expose().to_owned(), origin(&config, "store.url"))
    };
    let (short, long, other) = (
        ("TIDEWIRE_STORE_URL", "postgres://a/x"),
        ("TIDEWIRE_STORE__URL", "postgres://a/x"),
        ("DATABASE_URL", "postgres://b/x"),
    );
    assert_eq!(url(&[other]), ("postgres://b/x".into(), "environment DATABASE_URL".into()));
    assert_eq!(url(&[other, short]), ("postgres://a/x".into(), "environment TIDEWIRE_STORE_URL".into()));
    assert_eq!(url(&[short, long]).0, "postgres://a/x");
    assert_eq!(url(&[("DATABASE_URL", "")]).0, "sqlite:");
    let config = load(
        "",
        &[
            ("NATS_URL", "nats://n:4222"),
            ("TIDEWIRE_OBJECTS_URL", "/srv/o"),
            ("TIDEWIRE_DATA_DIR", "/d"),
            ("TIDEWIRE_LISTEN", "127.0.0.1:9"),
            ("RUST_LOG", "debug"),
            ("NO_COLOR", "1"),
            ("TIDEWIRE_SMTP_URL", "smtp://m:25"),
            ("TIDEWIRE_SMTP__FROM", "a@b"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!((config.broker.url.scheme(), config.embedded_broker_dir()), ("nats", None));
    assert_eq!(config.objects_dir().unwrap(), Path::new("/srv/o"));
    assert_eq!((config.listen.port(), config.log.level.as_str()), (9, "debug"));
    assert_eq!((config.log.color, config.data_dir.as_path()), (ColorChoice::Never, Path::new("/d")));
}

#[test]
fn two_names_that_disagree_are_refused() {
    let vars = [("TIDEWIRE_STORE_URL", "postgres://a/x"), ("TIDEWIRE_STORE__URL", "postgres://b/x")];
    let error = load("", &vars, &[]).unwrap_err();
    assert_eq!(error.problems[0].code, "config.conflict");
    assert!(error.problems[0].found.contains("TIDEWIRE_STORE__URL and TIDEWIRE_STORE_URL"), "{error}");
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = "lisen = \"127.0.0.1:1\"\n[stor]\nreaders = 1\n[broker]\nsync_intervall = 1\nack_wait = 30\n[relay]\nshards = 0\n";
    let vars = [("TIDEWIRE_STORE_ULR", "x"), ("TIDEWIRE_HTTP__BODY_LIMIT", "1MB"), ("TIDEWIRE_TEST_WITHOUT", "kafka")];
    let error = load(text, &vars, &[("consume.batchs", "1"), ("log.format", "jsn")]).unwrap_err();
    let listed: Vec<(&str, &str, String)> =
        error.problems.iter().map(|p| (p.code, p.path.as_str(), p.origin.to_string())).collect();
    for (code, path, from) in [
        ("config.unknown_key", "lisen", "file t.toml:1"),
        ("config.unknown_key", "stor", "file t.toml:2"),
        ("config.unknown_key", "broker.sync_intervall", "file t.toml:5"),
        ("config.invalid_value", "broker.ack_wait", "file t.toml:6"),
        ("config.out_of_range", "relay.shards", "file t.toml:8"),
        ("config.unknown_variable", "TIDEWIRE_STORE_ULR", "environment TIDEWIRE_STORE_ULR"),
        ("config.invalid_value", "http.body_limit", "environment TIDEWIRE_HTTP__BODY_LIMIT"),
        ("config.unknown_key", "consume.batchs", "flag --consume.batchs"),
        ("config.invalid_value", "log.format", "flag --log.format"),
    ] {
        assert!(listed.contains(&(code, path, from.to_owned())), "{code} {path}\n{error}");
    }
    assert_eq!(error.problems.len(), 9, "{error}");
    let printed = error.to_string();
    for hint in [
        "did you mean `listen`?",
        "did you mean `[store]`?",
        "did you mean TIDEWIRE_STORE_URL?",
        "write \"30s\"",
        "did you mean `consume.batch`?",
    ] {
        assert!(printed.contains(hint), "{hint}\n{printed}");
    }
}

#[test]
fn odd_files_are_refused_and_never_panic() {
    for (text, code) in [
        ("store = 5", "config.unknown_key"),
        ("[listen]\nport = 1", "config.unknown_key"),
        ("[[store]]\nreaders = 1", "config.unknown_key"),
        ("store.readers.deep = 1", "config.unknown_key"),
        ("listen = [1]", "config.invalid_value"),
        ("[store]\nreaders = 4.0", "config.invalid_value"),
        ("[store]\nreaders = \"4\"", "config.invalid_value"),
        ("[store]\nreaders = 0x4", "config.invalid_value"),
        ("[store]\nreaders = -4", "config.out_of_range"),
        ("[http]\nallow_remote = 1", "config.invalid_value"),
        ("listen = ", "config.file_malformed"),
        ("[store]\nreaders = 1\nreaders = 2", "config.file_malformed"),
        ("[store]\nurl_file = 5", "config.unknown_key"),
    ] {
        assert_eq!(codes(load(text, &[], &[])), [code], "{text}");
    }
}

#[test]
fn an_empty_variable_is_not_taken_for_the_default() {
    assert_eq!(codes(load("", &[("TIDEWIRE_STORE_URL", "")], &[])), ["config.invalid_value"]);
    assert_eq!(codes(load("", &[("TIDEWIRE_SMTP_URL", "")], &[])), [""; 0]);
}

#[test]
fn what_kubernetes_sets_for_a_service_of_our_name_is_left_alone() {
    let vars = [
        ("TIDEWIRE_PORT", "tcp://10.0.0.1:4500"),
        ("TIDEWIRE_PORT_4500_TCP", "tcp://10.0.0.1:4500"),
        ("TIDEWIRE_PORT_4500_TCP_PROTO", "tcp"),
        ("TIDEWIRE_PORT_4500_TCP_ADDR", "10.0.0.1"),
        ("TIDEWIRE_PORT_4500_TCP_PORT", "4500"),
        ("TIDEWIRE_SERVICE_HOST", "10.0.0.1"),
        ("TIDEWIRE_SERVICE_PORT_HTTP", "4500"),
        ("TIDEWIRE_GATEWAY_SERVICE_PORT", "4500"),
    ];
    assert_eq!(codes(load("", &vars, &[])), [""; 0]);
}

#[test]
fn secrets_never_show() {
    let url = "postgres://app:canary7@db/x";
    let config = load("", &[("TIDEWIRE_STORE_URL", url)], &[]).unwrap();
    assert_eq!(config.store.url.expose(), url);
    assert!(!format!("{config:?} {:?}", config.rows()).contains("canary7"));
    let mut shown = Vec::new();
    for vars in [
        [("TIDEWIRE_STORE_URL", "postgre://app:canary7@db/x")],
        [("TIDEWIRE_SMTP_URL", "canary7")],
        [("TIDEWIRE_BROKER_URL", "nats://canary7@h:0")],
        [("TIDEWIRE_SMTP_URL", "smtp://u:canary7@h:25")],
    ] {
        shown.push(load("", &vars, &[]).unwrap_err().to_string());
    }
    shown.push(load("", &[], &[("store.url", url)]).unwrap_err().to_string());
    for text in &shown {
        assert!(!text.contains("canary7"), "{text}");
    }
    assert!(shown[4].contains("config.secret_on_command_line"), "{}", shown[4]);
}

#[test]
fn a_secret_without_an_address_never_shows_either() {
    let vars = [("TIDEWIRE_KAFKA__PASSWORD", "canary7"), ("TIDEWIRE_KAFKA__SETTINGS", "ssl.key.password=canary7")];
    let config = load("", &vars, &[]).unwrap();
    assert_eq!(config.kafka.password.expose(), "canary7");
    assert!(!format!("{config:?} {:?}", config.rows()).contains("canary7"));
    let shown = load("", &[("TIDEWIRE_KAFKA__SETTINGS", "canary7")], &[]).unwrap_err();
    assert!(!shown.to_string().contains("canary7"), "{shown}");
    assert_eq!(codes(load("", &[], &[("kafka.password", "canary7")])), ["config.secret_on_command_line"]);
    assert_eq!(codes(load("", &[], &[("kafka.password", "")])), [""; 0]);
}

#[cfg(unix)]
#[test]
fn secrets_come_from_files_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let closed = write("closed", "postgres://u:p@h/d\n", 0o600);
    let config = load("", &[("TIDEWIRE_STORE_URL_FILE", &closed)], &[]).unwrap();
    assert_eq!(config.store.url.expose(), "postgres://u:p@h/d");
    assert!(origin(&config, "store.url").starts_with("TIDEWIRE_STORE_URL_FILE = "));
    assert_eq!(load("", &[("DATABASE_URL_FILE", &closed)], &[]).unwrap().store.url.scheme(), "postgres");

    let open = write("open", "postgres://u:p@h/d\n", 0o644);
    let placeholder = write("placeholder", "changeme\n", 0o600);
    for (vars, code) in [
        (vec![("TIDEWIRE_STORE_URL_FILE", open.as_str())], "config.secret_exposed"),
        (vec![("TIDEWIRE_STORE__URL_FILE", "/nowhere/at/all")], "config.secret_missing"),
        (vec![("TIDEWIRE_STORE_URL_FILE", placeholder.as_str())], "config.secret_placeholder"),
        (vec![("TIDEWIRE_STORE_URL", "postgres://u:changeme@h/d")], "config.secret_placeholder"),
        (vec![("TIDEWIRE_STORE_URL_FILE", closed.as_str()), ("TIDEWIRE_STORE_URL", "sqlite:")], "config.conflict"),
    ] {
        assert_eq!(codes(load("", &vars, &[])), [code], "{vars:?}");
    }
    // A losing layer's file is not even opened.
    assert_eq!(codes(load("", &[("TIDEWIRE_STORE_URL_FILE", &open)], &[("store.url", "sqlite:")])), [""; 0]);

    let named = |path: String| {
        Config::load(Sources { file: FileSource::Named { path: path.into(), by: "--config" }, ..Sources::default() })
    };
    let text = "[store]\nurl = \"postgres://u:p@h/d\"\n";
    assert_eq!(codes(named(write("open.toml", text, 0o644))), ["config.secret_exposed"]);
    assert_eq!(codes(named(write("closed.toml", text, 0o600))), [""; 0]);
    let by_reference = named(write("ref.toml", "[store]\nurl_file = \"closed\"\n", 0o644)).unwrap();
    assert_eq!(by_reference.store.url.expose(), "postgres://u:p@h/d");
}

#[test]
fn damaged_files_never_panic() {
    let reference = reference();
    let junk = ["\0", "\"", "[", "é", "=", "\n\n[", "{", "\u{feff}", "\r"];
    for (at, junk) in (0..reference.len()).step_by(97).zip(junk.iter().cycle()) {
        let (Some(head), Some(tail)) = (reference.get(..at), reference.get(at..)) else { continue };
        let _ = load(head, &[], &[]);
        let _ = load(&format!("{head}{junk}{tail}"), &[], &[]);
        let _ = load(&format!("{}{junk}{tail}", head.replace('#', "")), &[], &[]);
    }
}
