//! Laying the sources over each other: flag over environment over file over default. The winner of
//! each key is checked; unknown names are refused wherever they stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::file::{self, ConfigFile};
use super::keys::{self, ENV_PREFIX, EnvName, Key};
use super::problem::{Origin, Problem};
use super::secret::{self, MASK};
use super::sources::{Env, Flag, Sources};
use super::table::{KEYS, SECTIONS};
use super::url::redact_url;
use super::value::{Kind, Raw, Value, nearest};

/// Ours, but not keys.
const OTHER_VARIABLES: [&str; 6] = [
    "TIDEWIRE_CONFIG",
    "TIDEWIRE_LEGACY_URL",
    "TIDEWIRE_LEGACY_URL_FILE",
    "TIDEWIRE_TOKEN",
    "TIDEWIRE_TOKEN_FILE",
    "TIDEWIRE_URL",
];
/// Read by the test suite, the benchmarks, fault injection and the operators' commands.
const OTHER_PREFIXES: [&str; 4] = ["TIDEWIRE_TEST_", "TIDEWIRE_BENCH_", "TIDEWIRE_FAIL", "TIDEWIRE_CLI_"];

/// What a layer says about a key.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Raw(Raw),
    /// A file that holds the secret: read only if this layer wins.
    SecretFile(PathBuf),
}

#[derive(Debug, Clone)]
struct Candidate {
    given: Given,
    origin: Origin,
}

/// The winners, checked one by one. Keys with a problem have no value.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub values: BTreeMap<&'static str, Value>,
    pub origins: BTreeMap<&'static str, Origin>,
    pub problems: Vec<Problem>,
}

/// Lays the sources over each other. Reads the file and the secret files that win; looks at nothing else.
pub(super) fn resolve(sources: &Sources) -> Resolved {
    let mut resolved = Resolved::default();
    let file = file::read(&sources.file).unwrap_or_else(|problems| {
        resolved.problems.extend(problems);
        None
    });
    let mut layers: BTreeMap<&'static str, Candidate> = BTreeMap::new();
    if let Some(file) = &file {
        layer_file(file, &mut layers, &mut resolved.problems);
    }
    layer_env(&sources.env, &mut layers, &mut resolved.problems);
    layer_flags(&sources.flags, &mut layers, &mut resolved.problems);
    for key in KEYS {
        let default = || Candidate { given: Given::Raw(Raw::Text(key.default.into())), origin: Origin::Default };
        let Candidate { given, origin } = layers.remove(key.path).unwrap_or_else(default);
        let exposed = file.as_ref().and_then(|file| file.exposed);
        match check(key, given, &origin, exposed) {
            Ok(value) => {
                resolved.values.insert(key.path, value);
            }
            Err(problem) => resolved.problems.push(*problem),
        }
        resolved.origins.insert(key.path, origin);
    }
    resolved
}

fn check(key: &Key, given: Given, origin: &Origin, file_mode: Option<u32>) -> Result<Value, Box<Problem>> {
    let problem = |code, expected: String, found: String, hint: String| {
        Box::new(Problem { code, path: key.path.into(), origin: origin.clone(), expected, found, hint })
    };
    let raw = match given {
        Given::Raw(raw) => raw,
        Given::SecretFile(path) => secret::read_secret_file(&path)
            .map(Raw::Text)
            .map_err(|refused| problem(refused.code, refused.expected.into(), refused.found, refused.hint))?,
    };
    if let Raw::Text(text) | Raw::Str(text) = &raw
        && key.secret
    {
        check_secret(key, text, origin, file_mode)
            .map_err(|(code, expected, hint)| problem(code, expected.into(), shown(key, &raw), hint))?;
    }
    key.kind.read(&raw).map_err(|mismatch| problem(mismatch.code, key.kind.expected(), shown(key, &raw), mismatch.hint))
}

/// Secrets that are placeholders, or stand where other users of the machine can see them.
fn check_secret(
    key: &Key,
    text: &str,
    origin: &Origin,
    file_mode: Option<u32>,
) -> Result<(), (&'static str, &'static str, String)> {
    if secret::is_placeholder(text) {
        return Err((
            "config.secret_placeholder",
            "a secret of your own",
            "the value is the placeholder of a template".into(),
        ));
    }
    let holds_one = if key.kind == Kind::Secret { !text.is_empty() } else { redact_url(text) != text };
    if !holds_one {
        return Ok(());
    }
    let variable = format!("{}_FILE", key.env_names().last().map_or("", String::as_str));
    match (origin, file_mode) {
        (Origin::Flag(_), _) => Err((
            "config.secret_on_command_line",
            "a password from the environment or a file",
            format!("command lines are visible to every user of the machine: put it into a file and set {variable}"),
        )),
        (Origin::File { path, .. }, Some(_)) => Err((
            "config.secret_exposed",
            "a file with a password in it to be closed to other users",
            format!("chmod 600 {}, or put the password into a file and set {variable}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// A value for an error: of a secret key only what redaction can vouch for.
fn shown(key: &Key, raw: &Raw) -> String {
    match raw {
        Raw::Text(text) | Raw::Str(text) if key.kind == Kind::Secret && !text.is_empty() => MASK.to_owned(),
        Raw::Text(text) | Raw::Str(text) if key.secret && !text.is_empty() => {
            let local = matches!(key.kind, Kind::Url(rule) if rule.local.iter().any(|scheme| text.starts_with(scheme)));
            if text.contains("://") || local { redact_url(text) } else { format!("{MASK} (hidden; it has no scheme)") }
        }
        _ => raw.to_string(),
    }
}

fn layer_file(file: &ConfigFile, layers: &mut BTreeMap<&'static str, Candidate>, problems: &mut Vec<Problem>) {
    let unknown = |path: &str, line, hint: String| Problem {
        code: "config.unknown_key",
        path: path.into(),
        origin: Origin::File { path: file.path.clone(), line },
        expected: "a key of infra/tidewire.toml".into(),
        found: path.into(),
        hint,
    };
    let known = |name: &str| SECTIONS.iter().any(|(section, _)| *section == name);
    for (section, line) in file.sections.iter().filter(|(section, _)| !known(section)) {
        let near = nearest(section, SECTIONS.iter().map(|(name, _)| *name));
        let hint = near.map_or_else(
            || format!("sections are {}", SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")),
            |name| format!("did you mean `[{name}]`?"),
        );
        problems.push(unknown(section, *line, hint));
    }
    for entry in &file.entries {
        let origin = Origin::File { path: file.path.clone(), line: entry.line };
        if let Some(key) = keys::find(&entry.path) {
            layers.insert(key.path, Candidate { given: Given::Raw(entry.raw.clone()), origin });
        } else if let Some((key, path)) = secret_file_key(&entry.path, &entry.raw) {
            let path = file.path.parent().map_or_else(|| path.clone(), |dir| dir.join(&path));
            let origin = Origin::SecretFile { name: entry.path.clone(), path: path.clone() };
            layers.insert(key.path, Candidate { given: Given::SecretFile(path), origin });
        } else if entry.path.split_once('.').is_none_or(|(section, _)| known(section)) {
            problems.push(unknown(&entry.path, entry.line, key_hint(&entry.path)));
        }
    }
}

/// `smtp.url_file = "path"` in the file.
fn secret_file_key(path: &str, raw: &Raw) -> Option<(&'static Key, PathBuf)> {
    let key = keys::find(path.strip_suffix("_file")?).filter(|key| key.secret)?;
    match raw {
        Raw::Str(text) => Some((key, text.into())),
        _ => None,
    }
}

fn key_hint(path: &str) -> String {
    if SECTIONS.iter().any(|(section, _)| *section == path) {
        return format!("`{path}` is a section: write [{path}] and its keys below it");
    }
    keys::nearest_key(path)
        .map_or_else(|| "`tidewire config show` lists every key".into(), |key| format!("did you mean `{key}`?"))
}

fn layer_env(env: &Env, layers: &mut BTreeMap<&'static str, Candidate>, problems: &mut Vec<Problem>) {
    let mut known: BTreeSet<String> = OTHER_VARIABLES.iter().map(|name| (*name).to_owned()).collect();
    for key in KEYS {
        let names = key.env_names();
        let mut set: Vec<(String, Given)> = Vec::new();
        for name in names {
            set.extend(env.get(&name).map(|text| (name.clone(), Given::Raw(Raw::Text(text.into())))));
            if key.secret {
                let name_of_file = format!("{name}_FILE");
                set.extend(env.get(&name_of_file).map(|path| (name_of_file.clone(), Given::SecretFile(path.into()))));
                known.insert(name_of_file);
            }
            known.insert(name);
        }
        if set.is_empty() {
            set.extend(fallback(key, env));
        } else if set.iter().any(|(_, given)| *given != set[0].1) {
            problems.push(conflict(key, &set));
        }
        if let Some((name, given)) = set.into_iter().next() {
            let origin = match &given {
                Given::Raw(_) => Origin::Env(name),
                Given::SecretFile(path) => Origin::SecretFile { name, path: path.clone() },
            };
            layers.insert(key.path, Candidate { given, origin });
        }
    }
    problems.extend(env.unreadable.iter().filter(|name| known.contains(*name)).map(|name| Problem {
        code: "config.not_utf8",
        path: name.clone(),
        origin: Origin::Env(name.clone()),
        expected: "UTF-8 text".into(),
        found: "other bytes".into(),
        hint: String::new(),
    }));
    problems.extend(env.names().filter(|name| is_stray(name, env, &known)).map(|name| unknown_variable(name, &known)));
}

fn fallback(key: &Key, env: &Env) -> Option<(String, Given)> {
    key.env.iter().find_map(|name| match name {
        EnvName::Short(_) => None,
        EnvName::Fallback(name) => {
            let file = || env.non_empty(&format!("{name}_FILE")).filter(|_| key.secret);
            let direct = env.non_empty(name).map(|text| ((*name).to_owned(), Given::Raw(Raw::Text(text.into()))));
            direct.or_else(|| file().map(|path| (format!("{name}_FILE"), Given::SecretFile(path.into()))))
        }
        EnvName::Implies { name, value } => {
            env.non_empty(name).map(|_| ((*name).to_owned(), Given::Raw(Raw::Text((*value).into()))))
        }
    })
}

fn conflict(key: &Key, set: &[(String, Given)]) -> Problem {
    let names: Vec<&str> = set.iter().map(|(name, _)| name.as_str()).collect();
    Problem {
        code: "config.conflict",
        path: key.path.into(),
        origin: Origin::Env(names[0].into()),
        expected: "one variable".into(),
        found: format!("{} with different values", names.join(" and ")),
        hint: "unset all but one".into(),
    }
}

/// A variable that begins with our prefix and means nothing. What Kubernetes sets by itself for a
/// service called `tidewire…` is left alone: `TIDEWIRE_PORT=tcp://…`, `TIDEWIRE_SERVICE_HOST` and the like.
fn is_stray(name: &str, env: &Env, known: &BTreeSet<String>) -> bool {
    let by_kubernetes = name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || ["_PORT", "_ADDR", "_PROTO"].iter().any(|end| name.ends_with(end)) && name.contains("_PORT_")
        || env.get(name).is_some_and(|value| value.starts_with("tcp://") || value.starts_with("udp://"));
    name.starts_with(ENV_PREFIX)
        && !known.contains(name)
        && !OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !by_kubernetes
}

fn unknown_variable(name: &str, known: &BTreeSet<String>) -> Problem {
    let near = nearest_variable(name, known);
    Problem {
        code: "config.unknown_variable",
        path: name.into(),
        origin: Origin::Env(name.into()),
        expected: "TIDEWIRE_SECTION__KEY, or a short name of infra/tidewire.toml".into(),
        found: name.into(),
        hint: near.map_or_else(|| "unset it".into(), |near| format!("did you mean {near}?")),
    }
}

fn nearest_variable(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let candidates = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known));
    let (distance, near) = candidates.min_by_key(|(distance, _)| *distance)?;
    // The common prefix does not count towards likeness.
    (distance <= (name.len().saturating_sub(ENV_PREFIX.len()) / 3).max(1)).then(|| near.clone())
}

fn layer_flags(flags: &[Flag], layers: &mut BTreeMap<&'static str, Candidate>, problems: &mut Vec<Problem>) {
    for flag in flags {
        let origin = Origin::Flag(flag.name.clone());
        match keys::find(&flag.path) {
            Some(key) => {
                layers.insert(key.path, Candidate { given: Given::Raw(Raw::Text(flag.value.clone())), origin });
            }
            None => problems.push(Problem {
                code: "config.unknown_key",
                path: flag.path.clone(),
                origin,
                expected: "a key of infra/tidewire.toml".into(),
                found: flag.path.clone(),
                hint: key_hint(&flag.path),
            }),
        }
    }
}
