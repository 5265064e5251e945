//! What a configuration key is. The table of all keys is in `table.rs`.

use std::time::Duration;

use super::url::UrlRule;
use super::value::{self, Kind};

/// One configuration key: the single source for reading, checking, showing and documenting it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.name`, or a bare name at the top of the file.
    pub path: &'static str,
    /// What it accepts, with bounds and unit.
    pub kind: Kind,
    /// Its default, written as in the environment.
    pub default: &'static str,
    /// Names in the environment besides `TIDEWIRE_SECTION__KEY`.
    pub env: &'static [EnvName],
    /// One or two sentences: what it limits and when to change it.
    pub doc: &'static str,
    /// Whether the value is, or may hold, a secret: masked when shown, and also read from `…_FILE`.
    pub secret: bool,
    /// The release that brought it.
    pub since: &'static str,
}

/// A further environment name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvName {
    /// A documented short name: equal in rank to the long one, and refused if both are set and differ.
    Short(&'static str),
    /// A name of the wider world, read only when none of ours is set; ignored when empty.
    Fallback(&'static str),
    /// A name that, set to anything but nothing, stands for a value: `NO_COLOR` for `never`.
    Implies {
        /// The variable.
        name: &'static str,
        /// The value it stands for.
        value: &'static str,
    },
}

impl Key {
    pub(super) const fn new(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        Self { path, kind, default, env: &[], doc, secret: false, since: "0.1.0" }
    }

    pub(super) const fn env(mut self, names: &'static [EnvName]) -> Self {
        self.env = names;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The section, empty at the top of the file.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The name inside the section.
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    /// `TIDEWIRE_SECTION__KEY`.
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path.to_ascii_uppercase().replace('.', "__"))
    }

    /// Our own names for it: the long one, then the short ones.
    pub fn env_names(&self) -> Vec<String> {
        let mut names = vec![self.env_name()];
        for name in self.env {
            if let EnvName::Short(short) = name
                && names[0] != *short
            {
                names.push((*short).to_owned());
            }
        }
        names
    }
}

/// What every variable of ours begins with.
pub const ENV_PREFIX: &str = "TIDEWIRE_";

pub(super) const fn count(min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Count { min, max, unit }
}

pub(super) const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

/// Bounds in milliseconds.
pub(super) const fn span(min: u64, max: u64) -> Kind {
    Kind::Span { min: Duration::from_millis(min), max: Duration::from_millis(max) }
}

pub(super) const fn url(
    network: &'static [&'static str],
    local: &'static [&'static str],
    folder: bool,
    empty: bool,
) -> Kind {
    Kind::Url(UrlRule { network, local, folder, empty })
}

/// The key of a path.
pub fn find(path: &str) -> Option<&'static Key> {
    super::KEYS.iter().find(|key| key.path == path)
}

/// The key a wrong path was meant to be: by edits of the whole path, else by its last part in another section.
pub fn nearest_key(path: &str) -> Option<&'static str> {
    let paths = || super::KEYS.iter().map(|key| key.path);
    let leaf = path.rsplit('.').next().unwrap_or(path);
    let same_leaf = || super::KEYS.iter().find(|key| key.name() == leaf && leaf.len() > 3).map(|key| key.path);
    value::nearest(path, paths()).or_else(same_leaf).or_else(|| {
        let name = value::nearest(leaf, super::KEYS.iter().map(Key::name))?;
        super::KEYS.iter().find(|key| key.name() == name).map(|key| key.path)
    })
}

#[cfg(test)]
mod tests {
    use super::super::KEYS;
    use super::*;
    use crate::config::value::Raw;
    use std::collections::BTreeSet;

    #[test]
    fn paths_and_environment_names_are_unique_and_well_formed() {
        let (mut paths, mut names) = (BTreeSet::new(), BTreeSet::new());
        for key in KEYS {
            assert!(paths.insert(key.path), "{} twice", key.path);
            assert!(key.path.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.'), "{}", key.path);
            assert!(key.path.matches('.').count() <= 1 && !key.path.contains("__"), "{}", key.path);
            for name in key.env_names() {
                assert!(names.insert(name.clone()), "{name} twice");
            }
        }
    }

    #[test]
    fn every_default_fits_its_key_and_every_key_says_what_it_is() {
        for key in KEYS {
            let value = key.kind.read(&Raw::Text(key.default.into()));
            assert!(value.is_ok(), "{}: {value:?}", key.path);
            assert_eq!(value.unwrap().to_string(), key.default, "{}: write the default as it is shown", key.path);
            assert!(key.doc.len() > 30 && key.doc.ends_with('.'), "{}", key.path);
        }
    }

    #[test]
    fn wrong_paths_find_the_key_that_was_meant() {
        for (wrong, right) in [
            ("store.reader", "store.readers"),
            ("broker.ackwait", "broker.ack_wait"),
            ("consumer.batch", "consume.batch"),
            ("ack_wait", "broker.ack_wait"),
            ("gateway.body_limit", "http.body_limit"),
            ("lisen", "listen"),
        ] {
            assert_eq!(nearest_key(wrong), Some(right), "{wrong}");
        }
        assert_eq!(nearest_key("something.else_altogether"), None);
    }
}
