//! A Python with packages of its own: for checks that are written in it, and for clients that know nothing of Tidewire.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::folder::locked;
use crate::missing::Missing;
use crate::program::{GET, Toolbox, run};

const REMEDY: &str = "it takes python3 with venv (Debian: apt-get install python3-venv) and a Python registry";

/// A virtual environment under `target/servers/`. It is made once, and anew when what it must hold changes.
pub struct Python {
    bin: PathBuf,
}

impl Python {
    /// The one of this name, which holds what `requirements` pins: lines of `package==version`, wheels only. Of several
    /// processes one installs, the others wait.
    ///
    /// # Errors
    /// Where it cannot be had: the test fails with that line.
    pub fn with(name: &str, requirements: &str) -> Result<Self, Missing> {
        Self::installed(&Toolbox::of_the_machine(), name, requirements)
            .map_err(|why| Missing::new("Python environment", REMEDY, why))
    }

    fn installed(toolbox: &Toolbox, name: &str, requirements: &str) -> Result<Self, String> {
        let failed = |error: io::Error| error.to_string();
        fs::create_dir_all(&toolbox.kept).map_err(failed)?;
        // The lock ends with the process, however that one ends.
        let _lock = locked(&toolbox.kept.join(format!("{name}.lock"))).map_err(failed)?;
        let venv = toolbox.kept.join(name);
        let python = Self { bin: venv.join("bin") };
        let pinned = venv.join("pinned.txt");
        // Written last: what was cut short is begun anew.
        if fs::read_to_string(&pinned).is_ok_and(|found| found == requirements) {
            return Ok(python);
        }
        let mut create = Command::new(toolbox.need("python3")?);
        create.args(["-m", "venv", "--clear"]).arg(&venv);
        run(create, GET)?;
        let lines = requirements.lines().map(str::trim);
        let packages: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        if !packages.is_empty() {
            let mut pip = python.command();
            pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
            pip.arg("--only-binary=:all:").args(packages);
            run(pip, GET)?;
        }
        fs::write(&pinned, requirements).map_err(failed)?;
        Ok(python)
    }

    /// Its interpreter.
    pub fn command(&self) -> Command {
        self.program("python")
    }

    /// A program that one of its packages brought.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.bin.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_anew_when_the_pins_change() {
        let kept = tempfile::tempdir().expect("a folder");
        let path = Toolbox::of_the_machine().path;
        let toolbox = Toolbox { path, kept: kept.path().to_owned(), may_install: false };
        let made = |pins: &str| Python::installed(&toolbox, "empty", pins);
        let python = made("# nothing\n").expect("a Python");
        let mark = kept.path().join("empty").join("mark");
        fs::write(&mark, "").expect("written");
        made("# nothing\n").expect("the same");
        assert!(mark.exists(), "it was kept");
        let mut ask = python.command();
        ask.args(["-c", "import sys; print(sys.prefix)"]);
        let prefix = run(ask, GET).expect("it runs");
        assert!(prefix.trim().ends_with("/empty"), "{prefix}");
        assert!(made("a package==1\n").is_err(), "no package has such a name");
        made("# nothing\n").expect("begun anew");
        assert!(!mark.exists(), "what was cut short is not used");
    }

    #[test]
    fn without_python_one_line_says_so() {
        let kept = tempfile::tempdir().expect("a folder");
        let toolbox = Toolbox { path: String::new(), kept: kept.path().to_owned(), may_install: false };
        let why = Python::installed(&toolbox, "x", "").err().expect("there is none");
        assert!(why.contains("python3 is not on the search path"), "{why}");
    }
}
