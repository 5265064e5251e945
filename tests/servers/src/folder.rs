//! Folders: what is got is kept, data is not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::watch::Watch;

/// A user a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
}

/// Cargo's target folder: the one this very test was built into.
pub(crate) fn target() -> PathBuf {
    let built_into = std::env::current_exe().ok().and_then(|program| {
        program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
    });
    built_into.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}

/// Answers `place/name`, got by `get` into a fresh folder if it is not there yet. It is there completely or not at
/// all; of several processes only one gets it, the others wait.
pub(crate) fn obtained(
    place: &Path,
    name: &str,
    get: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let kept = place.join(name);
    if kept.is_dir() {
        return Ok(kept);
    }
    let failed = |error: io::Error| format!("{}: {error}", kept.display());
    fs::create_dir_all(place).map_err(failed)?;
    let lock = locked(&place.join(format!("{name}.lock"))).map_err(failed)?;
    if kept.is_dir() {
        return Ok(kept);
    }
    let fresh = place.join(format!("{name}.part"));
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(failed)?;
    }
    fs::create_dir(&fresh).map_err(failed)?;
    get(&fresh)?;
    fs::rename(&fresh, &kept).map_err(failed)?;
    drop(lock);
    Ok(kept)
}

/// A file locked for this process alone until it is dropped.
pub(crate) fn locked(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// A data folder. It is removed when dropped, and when the process ends.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A fresh one, owned by `owner`: under the target folder, or under the system's temporary one if the owner
    /// could not get there.
    pub fn fresh(watch: &Watch, name: &str, owner: Option<User>) -> io::Result<Self> {
        let usual = target().join("tmp").join("servers");
        fs::create_dir_all(&usual)?;
        let usual = usual.canonicalize()?;
        let reachable = owner.is_none() || usual.ancestors().all(|folder| open_to_all(folder).unwrap_or(false));
        let place = if reachable { usual } else { std::env::temp_dir() };
        let path = place.join(format!("{name}-{}", hex(&random::<8>())));
        watch.remove_at_end(&path)?;
        fs::create_dir(&path)?;
        if let Some(user) = owner {
            chown(&path, Some(user.uid), Some(user.gid))?;
        }
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the process ends.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether anybody may pass through a folder.
fn open_to_all(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.mode() & 0o001 != 0)
}

/// Random bytes. Tests have no `Clock` to ask, and names need not be repeatable.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.expect("every Unix has /dev/urandom");
    bytes
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
