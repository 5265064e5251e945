//! A Node with packages of its own: for checks that are written for it, and for clients that know nothing of Tidewire.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::locked;
use crate::missing::Missing;
use crate::program::{GET, Toolbox, run};

const REMEDY: &str = "it takes node and npm, 20 or later (Debian: apt-get install nodejs npm), and an npm registry";

/// A folder of packages under `target/servers/`, and the interpreter that finds them. It is made once, and anew when what
/// it must hold changes.
pub struct Node {
    program: PathBuf,
    packages: PathBuf,
}

impl Node {
    /// The one of this name, which holds what `lock` (the text of a `package-lock.json`) pins for `package` (that of its
    /// `package.json`), each checked against its digest; no package runs a program while it is installed. Of several
    /// processes one installs, the others wait.
    ///
    /// # Errors
    /// Where it cannot be had: the test fails with that line.
    pub fn with(name: &str, package: &str, lock: &str) -> Result<Self, Missing> {
        Self::installed(&Toolbox::of_the_machine(), name, package, lock)
            .map_err(|why| Missing::new("Node environment", REMEDY, why))
    }

    fn installed(toolbox: &Toolbox, name: &str, package: &str, lock: &str) -> Result<Self, String> {
        let failed = |error: io::Error| error.to_string();
        let program = toolbox.need("node")?;
        fs::create_dir_all(&toolbox.kept).map_err(failed)?;
        // The lock ends with the process, however that one ends.
        let _lock = locked(&toolbox.kept.join(format!("{name}.lock"))).map_err(failed)?;
        let folder = toolbox.kept.join(name);
        let node = Self { program, packages: folder.join("node_modules") };
        let pinned = folder.join("pinned.txt");
        // Written last: what was cut short is begun anew.
        let pins = format!("{package}\n{lock}");
        if fs::read_to_string(&pinned).is_ok_and(|found| found == pins) {
            return Ok(node);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        fs::create_dir(&folder).map_err(failed)?;
        fs::write(folder.join("package.json"), package).map_err(failed)?;
        fs::write(folder.join("package-lock.json"), lock).map_err(failed)?;
        let mut npm = Command::new(toolbox.need("npm")?);
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).current_dir(&folder);
        run(npm, GET)?;
        fs::write(&pinned, pins).map_err(failed)?;
        Ok(node)
    }

    /// Its interpreter on a script, which finds the packages by `require`: name it `.cjs`. Modules are looked for beside
    /// their script alone.
    pub fn script(&self, path: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env("NODE_PATH", &self.packages).arg(path);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: &str = r#"{ "name": "empty", "version": "1.0.0" }"#;
    const LOCK: &str = r#"{ "name": "empty", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": { "": { "name": "empty", "version": "1.0.0" } } }"#;

    #[test]
    fn it_is_made_once_and_anew_when_the_pins_change() {
        if crate::left_out("node") {
            return println!("left out: Node (TIDEWIRE_TEST_WITHOUT)");
        }
        let kept = tempfile::tempdir().expect("a folder");
        let path = Toolbox::of_the_machine().path;
        let toolbox = Toolbox { path, kept: kept.path().to_owned(), may_install: false };
        let made = |package: &str| Node::installed(&toolbox, "empty", package, LOCK);
        made(PACKAGE).expect("a Node");
        let packages = kept.path().join("empty").join("node_modules");
        let mark = packages.join("mark");
        fs::create_dir_all(&packages).and_then(|()| fs::write(&mark, "")).expect("written");
        let node = made(PACKAGE).expect("the same");
        assert!(mark.exists(), "it was kept");
        let script = kept.path().join("where.cjs");
        fs::write(&script, "console.log(process.env.NODE_PATH)").expect("written");
        let said = run(node.script(&script), GET).expect("it runs");
        assert_eq!(Path::new(said.trim()), packages);
        assert!(made("no JSON").is_err());
        made(PACKAGE).expect("begun anew");
        assert!(!mark.exists(), "what was cut short is not used");
    }

    #[test]
    fn without_node_one_line_says_so() {
        let kept = tempfile::tempdir().expect("a folder");
        let toolbox = Toolbox { path: String::new(), kept: kept.path().to_owned(), may_install: false };
        let why = Node::installed(&toolbox, "x", PACKAGE, LOCK).err().expect("there is none");
        assert!(why.contains("node is not on the search path"), "{why}");
    }
}
