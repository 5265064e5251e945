//! Programs that check deployment files without a container engine, got once into the target folder.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use servers::{Missing, Python};

/// What is installed, pinned: another release may find what this one did not.
const PINNED: &str = "check-jsonschema==0.39.0\nhadolint-bin==2.15.1\n";

/// The programs, in a virtual environment of their own.
pub struct Checks(Python);

impl Checks {
    /// The programs; `None` when `TIDEWIRE_TEST_WITHOUT` names `checks`, which is printed. Panics with one line when they
    /// cannot be had.
    pub fn get() -> Option<&'static Self> {
        if servers::left_out("checks") {
            println!("left out: deployment files are not checked (TIDEWIRE_TEST_WITHOUT)");
            return None;
        }
        static CHECKS: OnceLock<Result<Checks, Missing>> = OnceLock::new();
        match CHECKS.get_or_init(|| Python::with("checks", PINNED).map(Checks)) {
            Ok(checks) => Some(checks),
            Err(missing) => panic!("{missing}, or TIDEWIRE_TEST_WITHOUT=checks to leave the checks out"),
        }
    }

    /// One of the programs.
    pub fn program(&self, name: &str) -> Command {
        self.0.program(name)
    }

    /// Its Python.
    pub fn python(&self) -> Command {
        self.0.command()
    }
}

/// Runs to the end; what it printed, or what went wrong.
pub fn run(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{name} failed: {said}{}", String::from_utf8_lossy(&output.stderr)))
}
