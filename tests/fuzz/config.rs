//! The configuration: whatever is in the file, it is read or every problem in it is named.

use tidewire::config::{Config, Env, FileSource, Sources, reference};

use super::Target;

fn load(text: &str) -> Result<Config, tidewire::config::ConfigError> {
    let file = FileSource::Text { name: "tidewire.toml".into(), text: text.to_owned() };
    Config::load(Sources { file, env: Env::default(), flags: Vec::new() })
}

fn check(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    match load(&text) {
        Ok(config) => {
            assert_eq!(load(&text).as_ref(), Ok(&config), "the same file, another configuration");
            assert!(!config.rows().is_empty());
            true
        }
        Err(error) => {
            assert!(!error.problems.is_empty() && !error.to_string().is_empty());
            for problem in &error.problems {
                assert!(tidewire::codes::explain(problem.code).is_some(), "{problem:?}");
            }
            false
        }
    }
}

const CORPUS: &[&str] = &[
    "",
    "[store]\nreaders = 2\nqueue = 64\n",
    "data_dir = \"/srv/tidewire\"\nlisten = \"127.0.0.1:0\"\n",
    "[broker]\nurl = \"nats://127.0.0.1:4222\"\n[store]\nurl = \"postgres://a:b@localhost/x\"\n",
    "[consume]\nmax_attempts = 8\n[relay]\nlease_ttl = \"15s\"\n",
    "[http]\nauth = \"required\"\n",
    "[kafka]\nsettings = \"a=b,c=d\"\n",
    "[stor]\nreaders = 2\n",
    "[store\n",
    "[log]\nformat = \"json\"\nlevel = \"info,tidewire=debug\"\n",
];

const DICTIONARY: &[&str] = &[
    "[store]",
    "[broker]",
    "[http]",
    "[[store]]",
    "store.readers",
    "= \"1h30m\"",
    "= \"64MiB\"",
    "= 0",
    "= -1",
    "= 1.5",
    "= true",
    "= []",
    "= { a = 1 }",
    "\"\"\"",
    "'''",
    "1979-05-27",
    "99999999999h",
    "18446744073709551616",
    "postgres://",
    "nats://",
    "kafka://",
    "sqlite:",
    "embedded:",
    "url = \"",
    "_file = \"/nowhere\"",
];

#[test]
fn the_configuration_survives() {
    let mut corpus: Vec<Vec<u8>> = CORPUS.iter().map(|text| text.as_bytes().to_vec()).collect();
    // Every key there is, each as if it had been set.
    let every: String =
        reference().lines().map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line))).collect();
    corpus.extend(every.split("\n\n").map(|part| part.as_bytes().to_vec()));
    Target { name: "config", corpus, dictionary: DICTIONARY, check }.run();
}
