//! Programs that check deployment files without a container engine, got once into the target folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is installed, pinned: another release may find what this one did not.
const PINNED: &str = "check-jsonschema==0.39.0\nhadolint-bin==2.15.1\n";

/// The programs, in a virtual environment of their own.
pub struct Checks {
    bin: PathBuf,
}

impl Checks {
    /// The programs; `None` when `TIDEWIRE_TEST_WITHOUT` names `checks`, which is printed. Panics with one line when they
    /// cannot be had.
    pub fn get() -> Option<&'static Self> {
        if servers::left_out("checks") {
            println!("left out: deployment files are not checked (TIDEWIRE_TEST_WITHOUT)");
            return None;
        }
        static CHECKS: OnceLock<Result<Checks, String>> = OnceLock::new();
        match CHECKS.get_or_init(install) {
            Ok(checks) => Some(checks),
            Err(why) => panic!(
                "no check-jsonschema and hadolint: {}; they need python3 with venv (Debian: apt-get install \
                 python3-venv) and a Python registry, or TIDEWIRE_TEST_WITHOUT=checks to leave them out",
                why.split_whitespace().collect::<Vec<_>>().join(" ")
            ),
        }
    }

    /// One of the programs.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.bin.join(name))
    }

    /// Its Python.
    pub fn python(&self) -> Command {
        self.program("python")
    }
}

fn install() -> Result<Checks, String> {
    // cargo's target folder, whatever it is called: its `tmp` is handed to integration tests.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target"));
    let (place, failed) = (target.join("servers"), |error: io::Error| error.to_string());
    fs::create_dir_all(&place).map_err(failed)?;
    // Of several processes one installs, the others wait; the lock ends with the process.
    let lock = File::create(place.join("checks.lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let (venv, pins) = (place.join("checks"), place.join("checks").join("pinned.txt"));
    let checks = Checks { bin: venv.join("bin") };
    // Written last: what was cut short is begun anew.
    if fs::read_to_string(&pins).is_ok_and(|found| found == PINNED) {
        return Ok(checks);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(checks
        .python()
        .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--only-binary=:all:"])
        .args(PINNED.lines()))?;
    fs::write(&pins, PINNED).map_err(failed)?;
    Ok(checks)
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
