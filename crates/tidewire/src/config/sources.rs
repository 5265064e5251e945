//! The layers a configuration is built from. Only [`Env::from_process`] looks at the real environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A snapshot of the environment. Tests build one from pairs.
#[derive(Clone, Default)]
pub struct Env {
    values: BTreeMap<String, String>,
    /// Variables of ours whose value is not UTF-8: refused, never guessed at.
    pub(super) unreadable: Vec<String>,
}

/// Names only: an environment holds secrets of others too.
impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, unreadable: Vec::new() }
    }
}

impl Env {
    /// The environment of this process: the only place that reads it.
    #[allow(clippy::disallowed_methods)] // This is the one place the ban points to.
    pub fn from_process() -> Self {
        let mut env = Self::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    env.values.insert(name, value);
                }
                Err(_) => env.unreadable.push(name),
            }
        }
        env
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of a variable that is set to something.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// A value from the command line: `--listen 127.0.0.1:0` is `Flag::new("listen", "--listen", …)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key it sets.
    pub path: String,
    /// The flag as the user typed it, for `config show` and errors.
    pub name: String,
    /// The value as text.
    pub value: String,
}

impl Flag {
    /// A flag that sets the key `path`.
    pub fn new(path: impl Into<String>, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { path: path.into(), name: name.into(), value: value.into() }
    }

    /// Reads `--set store.readers=8`. `None` without an equals sign.
    pub fn parse_set(text: &str) -> Option<Self> {
        let (path, value) = text.split_once('=')?;
        Some(Self::new(path.trim(), "--set", value))
    }
}

/// Which configuration file to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FileSource {
    /// None: `--no-config`, and tests.
    #[default]
    None,
    /// A file that somebody named; it must exist.
    Named {
        /// The file.
        path: PathBuf,
        /// Who named it: `--config` or `TIDEWIRE_CONFIG`.
        by: &'static str,
    },
    /// The first of these that exists, or none.
    Search(Vec<PathBuf>),
    /// A text at hand, called `name` in errors.
    Text {
        /// What errors call it.
        name: PathBuf,
        /// The TOML.
        text: String,
    },
}

/// The file's name, in the working directory and in the XDG directory's `tidewire` folder.
pub const FILE_NAME: &str = "tidewire.toml";

impl FileSource {
    /// `--config`, else `TIDEWIRE_CONFIG`, else `tidewire.toml` in the working directory, else in
    /// `$XDG_CONFIG_HOME/tidewire` (`~/.config/tidewire`).
    pub fn locate(flag: Option<PathBuf>, env: &Env, working_dir: &Path) -> Self {
        if let Some(path) = flag {
            return Self::Named { path, by: "--config" };
        }
        if let Some(path) = env.non_empty("TIDEWIRE_CONFIG") {
            return Self::Named { path: path.into(), by: "TIDEWIRE_CONFIG" };
        }
        let mut places = vec![working_dir.join(FILE_NAME)];
        let home = || env.non_empty("HOME").map(|home| Path::new(home).join(".config"));
        // The XDG specification says that a relative path is to be ignored.
        let xdg = env.non_empty("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        places.extend(xdg.or_else(home).map(|dir| dir.join("tidewire").join(FILE_NAME)));
        Self::Search(places)
    }
}

/// Everything a configuration is built from, highest rank last: defaults, file, environment, flags.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file.
    pub file: FileSource,
    /// The environment.
    pub env: Env,
    /// The command line; a later flag wins over an earlier one.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// What a real start uses: the process's environment, and the file as [`FileSource::locate`] finds it.
    pub fn from_process(config: Option<PathBuf>, no_config: bool, flags: Vec<Flag>) -> Self {
        let env = Env::from_process();
        let file = if no_config { FileSource::None } else { FileSource::locate(config, &env, Path::new("")) };
        Self { file, env, flags }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_looked_for_in_the_documented_order() {
        let dir = Path::new("/w");
        let env = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Env>();
        let named = |path: &str, by| FileSource::Named { path: path.into(), by };
        let both = env(&[("TIDEWIRE_CONFIG", "/e.toml"), ("HOME", "/h")]);
        assert_eq!(FileSource::locate(Some("/f.toml".into()), &both, dir), named("/f.toml", "--config"));
        assert_eq!(FileSource::locate(None, &both, dir), named("/e.toml", "TIDEWIRE_CONFIG"));
        let search = |pairs: &[(&str, &str)]| match FileSource::locate(None, &env(pairs), dir) {
            FileSource::Search(places) => places,
            other => panic!("{other:?}"),
        };
        let expected = |second: &str| vec![PathBuf::from("/w/tidewire.toml"), second.into()];
        assert_eq!(search(&[("HOME", "/h")]), expected("/h/.config/tidewire/tidewire.toml"));
        assert_eq!(search(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), expected("/x/tidewire/tidewire.toml"));
        assert_eq!(
            search(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "rel")]),
            expected("/h/.config/tidewire/tidewire.toml")
        );
    }

    #[test]
    fn the_environment_prints_names_only() {
        let env: Env = [("TIDEWIRE_SMTP_URL", "canary-7")].into_iter().collect();
        assert!(!format!("{env:?}").contains("canary"));
    }
}
