//! PostgreSQL's programs: the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::geteuid;

use crate::folder::{User, locked};
use crate::program::{GET, Toolbox, files, is_program, run};

/// What the store promises to work on.
const OLDEST: u32 = 15;

/// Where packages put their programs, a folder per version.
const PACKAGES: [&str; 3] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt"];

/// The folder of the newest PostgreSQL there is: installed if none is there, we may, and are root.
pub(super) fn get(toolbox: &Toolbox) -> Result<PathBuf, String> {
    if let Some(found) = find(toolbox) {
        return Ok(found);
    }
    let why = format!("PostgreSQL {OLDEST} or later is not installed");
    if !toolbox.may_install || !geteuid().is_root() {
        return Err(why);
    }
    let Some(apt) = toolbox.find("apt-get") else { return Err(why) };
    fs::create_dir_all(&toolbox.kept).map_err(|error| error.to_string())?;
    let _lock = locked(&toolbox.kept.join("postgresql.lock")).map_err(|error| error.to_string())?;
    if let Some(found) = find(toolbox) {
        return Ok(found);
    }
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "postgresql"][..]] {
        let mut command = Command::new(&apt);
        command.arg("--quiet").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(command, GET).map_err(|error| format!("{why}, and {error}"))?;
    }
    find(toolbox).ok_or(why)
}

/// The newest one that is new enough, of the search path and the usual places.
fn find(toolbox: &Toolbox) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = toolbox.find("initdb").and_then(|program| folder(&program)).into_iter().collect();
    if toolbox.may_install {
        for place in PACKAGES {
            folders.extend(files(Path::new(place)).unwrap_or_default().into_iter().map(|version| version.join("bin")));
        }
    }
    let newest = folders.into_iter().filter_map(|folder| Some((version(&folder)?, folder))).max()?;
    (newest.0 >= OLDEST).then_some(newest.1)
}

/// The folder that a program really is in: the others are beside it.
fn folder(program: &Path) -> Option<PathBuf> {
    program.canonicalize().ok()?.parent().map(Path::to_owned)
}

/// The major version of the programs in a folder, if all that are needed are there.
fn version(folder: &Path) -> Option<u32> {
    if !["initdb", "postgres", "psql"].iter().all(|name| is_program(&folder.join(name))) {
        return None;
    }
    let mut command = Command::new(folder.join("postgres"));
    command.arg("--version");
    let said = run(command, Duration::from_secs(20)).ok()?;
    said.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}

/// Who to run it as: it refuses to run as root.
pub(super) fn user() -> Result<Option<User>, String> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let user = ["postgres", "nobody"].iter().find_map(|name| user_of(&passwd, name));
    user.map(Some).ok_or_else(|| "no user to run PostgreSQL as: it refuses to run as root".to_owned())
}

fn user_of(passwd: &str, name: &str) -> Option<User> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some(User { uid, gid })
}
