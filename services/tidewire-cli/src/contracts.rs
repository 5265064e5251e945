//! The contracts of services in other languages, from the folder that the configuration names.

use std::path::Path;

use gateway::Foreign;
use tidewire::config::{Config, ConfigError, Origin, Problem};

/// The key of the folder.
const KEY: &str = "schemas.dir";

/// Reads them. A folder that nobody named need not be there.
///
/// # Errors
/// Every file that cannot be a contract, as a problem of the configuration.
pub fn foreign(config: &Config) -> Result<Foreign, ConfigError> {
    let folder = Path::new(&config.schemas.dir);
    let row = config.rows().iter().find(|row| row.path == KEY);
    let origin = row.map_or(Origin::Default, |row| row.origin.clone());
    if config.schemas.dir.is_empty() || (origin == Origin::Default && !folder.is_dir()) {
        return Ok(Foreign::default());
    }
    Foreign::load(folder).map_err(|bad| {
        let problem = |bad: gateway::BadSchema| Problem {
            code: "config.schema",
            path: KEY.into(),
            origin: origin.clone(),
            expected: "JSON Schemas (2020-12) in `<type>/v<N>.json`".into(),
            found: bad.to_string(),
            hint: String::new(),
        };
        ConfigError { problems: bad.into_iter().map(problem).collect() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_a_problem_of_the_configuration_with_its_file_and_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("order.placed");
        std::fs::create_dir(&file).unwrap();
        let schema = r#"{ "properties": { "total": { "type": "numbre" } } }"#;
        std::fs::write(file.join("v1.json"), schema).unwrap();
        let dir = folder.path().to_str().unwrap();
        let error = foreign(&Config::with([("schemas.dir", dir)]).unwrap()).unwrap_err();
        let [problem] = &error.problems[..] else { panic!("{error}") };
        assert_eq!((problem.code, problem.path.as_str()), ("config.schema", "schemas.dir"));
        assert_eq!(problem.origin.to_string(), "flag schemas.dir");
        for part in ["order.placed/v1.json", "/properties/total/type", "numbre"] {
            assert!(problem.found.contains(part), "{part}: {}", problem.found);
        }
    }

    #[test]
    fn only_a_folder_that_was_named_must_be_there() {
        assert_eq!(foreign(&Config::default()), Ok(Foreign::default()));
        assert_eq!(foreign(&Config::with([("schemas.dir", "")]).unwrap()), Ok(Foreign::default()));
        let error = foreign(&Config::with([("schemas.dir", "/nowhere/at/all")]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
