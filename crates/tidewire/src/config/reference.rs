//! `infra/tidewire.toml`: every key with its meaning, unit, default and environment names, written from the key table.

use super::keys::{EnvName, Key};
use super::table::{KEYS, SECTIONS};
use super::value::Kind;

const HEAD: &str = "\
# Tidewire's configuration: every key, commented out, with its default.
#
# Read from --config FILE, else $TIDEWIRE_CONFIG, else ./tidewire.toml, else
# ~/.config/tidewire/tidewire.toml ($XDG_CONFIG_HOME). Each key is also TIDEWIRE_SECTION__KEY in the
# environment. A flag wins over the environment, the environment over this file, this file over the
# default. `tidewire config show` prints each value and where it came from; `tidewire config check`
# reports every problem at once.
#
# Durations carry a unit (ms, s, m, h, d), sizes as well (B, KiB, MiB, GiB, TiB); a bare number is
# refused. Secrets are better kept out of this file: KEY_file = \"PATH\", or the environment name
# with _FILE at its end, names a file that holds only the secret and that other users cannot read.
";

/// Width of a comment line.
const WIDTH: usize = 100;

/// The text of the reference file. A test keeps `infra/tidewire.toml` equal to it.
pub fn reference() -> String {
    let mut out = String::from(HEAD);
    for key in KEYS.iter().filter(|key| key.section().is_empty()) {
        push_key(&mut out, key);
    }
    for (section, doc) in SECTIONS {
        out.push('\n');
        push_comment(&mut out, doc);
        out.push_str(&format!("[{section}]\n"));
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            push_key(&mut out, key);
        }
    }
    out
}

fn push_key(out: &mut String, key: &Key) {
    out.push('\n');
    push_comment(out, key.doc);
    let expected = key.kind.expected();
    let (first, rest) = expected.split_at(1);
    push_comment(out, &format!("{}{rest}. Environment: {}. Since {}.", first.to_uppercase(), names(key), key.since));
    out.push_str(&format!("#{} = {}\n", key.name(), literal(key)));
}

fn names(key: &Key) -> String {
    let mut names = key.env_names().join(", ");
    for name in key.env {
        match name {
            EnvName::Short(_) => {}
            EnvName::Fallback(name) => names.push_str(&format!(", else {name}")),
            EnvName::Implies { name, value } => names.push_str(&format!(", else {name} for {value}")),
        }
    }
    if key.secret {
        names.push_str(" (each also with _FILE)");
    }
    names
}

/// The default as TOML.
fn literal(key: &Key) -> String {
    match key.kind {
        Kind::Bool | Kind::Count { .. } => key.default.to_owned(),
        _ => toml::Value::String(key.default.to_owned()).to_string(),
    }
}

fn push_comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::{Config, FileSource, Origin, Sources};
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/tidewire.toml");

    fn load(text: String) -> Config {
        let file = FileSource::Text { name: "infra/tidewire.toml".into(), text };
        Config::load(Sources { file, ..Sources::default() }).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_committed_file_is_the_generated_one() {
        let committed = std::fs::read_to_string(COMMITTED).unwrap();
        assert!(
            committed == reference(),
            "infra/tidewire.toml is out of date: cargo test -p tidewire write_the_committed_file -- --ignored"
        );
    }

    #[test]
    #[ignore = "writes infra/tidewire.toml from the key table"]
    fn write_the_committed_file() {
        std::fs::write(COMMITTED, reference()).unwrap();
    }

    #[test]
    fn the_file_loads_as_it_is_and_with_every_key_uncommented() {
        assert_eq!(load(reference()), Config::default());
        let prose = |line: &str| line == "#" || line.starts_with("# ");
        let uncommented: Vec<String> =
            reference().lines().map(|line| if prose(line) { line.into() } else { line.replacen('#', "", 1) }).collect();
        let config = load(uncommented.join("\n"));
        assert!(config.rows().iter().all(|row| matches!(row.origin, Origin::File { .. })), "{:#?}", config.rows());
        assert_eq!(config.relay, Config::default().relay);
    }
}
