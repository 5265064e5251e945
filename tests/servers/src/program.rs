//! Programs: found on the search path, and run to their end within a limit.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::environment;
use crate::folder::{hex, target};

/// How long getting a server may take: downloads on a slow line.
pub(crate) const GET: Duration = Duration::from_secs(600);

/// Where programs are looked for, and where what was got is kept.
pub(crate) struct Toolbox {
    pub path: String,
    pub kept: PathBuf,
    /// Whether a missing program may be installed on the system.
    pub may_install: bool,
}

impl Toolbox {
    /// The machine's.
    pub fn of_the_machine() -> Self {
        Self { path: environment::path(), kept: target().join("servers"), may_install: true }
    }

    /// The program of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let folders = self.path.split(':').filter(|folder| !folder.is_empty());
        folders.map(|folder| Path::new(folder).join(name)).find(|path| is_program(path))
    }

    /// The program of this name, or one line that says it is missing.
    pub fn need(&self, name: &str) -> Result<PathBuf, String> {
        self.find(name).ok_or_else(|| format!("{name} is not on the search path"))
    }
}

/// Whether a file can be run.
pub(crate) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs a command to its end and answers its standard output. Fails with what it said on standard error, or when
/// it takes longer than `limit`.
pub(crate) fn run(command: Command, limit: Duration) -> Result<String, String> {
    run_on(String::new(), command, limit)
}

/// As [`run`], with this for the command to read.
pub(crate) fn run_on(input: String, mut command: Command, limit: Duration) -> Result<String, String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed = |error: io::Error| format!("{name}: {error}");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever does not read all of it says why by himself.
        thread::spawn(move || stdin.write_all(input.as_bytes()));
    }
    let stdout = child.stdout.take().map(|pipe| thread::spawn(move || text(pipe)));
    let stderr = child.stderr.take().map(|pipe| thread::spawn(move || text(pipe)));
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} did not end within {limit:?}"));
        }
        thread::sleep(Duration::from_millis(2));
    };
    let [stdout, stderr] =
        [stdout, stderr].map(|reader| reader.and_then(|reader| reader.join().ok()).unwrap_or_default());
    match status.success() {
        true => Ok(stdout),
        false => {
            let said = if stderr.trim().is_empty() { &stdout } else { &stderr };
            let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
            // The end of it: tools say first what they do, and last what went wrong.
            Err(format!("{name} failed: {}", said[said.len().saturating_sub(3)..].join(" ")))
        }
    }
}

/// Everything a pipe has to say.
fn text(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The SHA-256 of a file, as hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String, String> {
    let mut hash = Sha256::new();
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    copied.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(hex(&hash.finalize()))
}

/// The files of a folder, by name.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut found = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        found.sort();
        Ok(found)
    };
    read().map_err(|error| format!("{}: {error}", folder.display()))
}
