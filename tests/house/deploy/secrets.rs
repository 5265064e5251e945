//! The passwords of a first start, and the question whether a container is ready: both are shell, run here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::super::top;
use super::checks::run;

/// Runs infra/secrets.sh on folders; giving files away is root's, so a stand-in only takes note.
fn make_secrets(at: &Path) -> Result<String, String> {
    let stand_in = at.join("chown");
    fs::write(&stand_in, format!("#!/bin/sh\necho \"$@\" >>'{}'\n", at.join("given").display())).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", at.display());
    run(Command::new("sh").arg(top().join("infra/secrets.sh")).arg(at).env("PATH", path))
}

fn volumes() -> tempfile::TempDir {
    let at = tempfile::tempdir().unwrap();
    for volume in ["postgres-secrets", "nats-secrets", "tidewire-secrets", "nats-data"] {
        fs::create_dir(at.path().join(volume)).unwrap();
    }
    at
}

fn read(at: &Path, file: &str) -> String {
    fs::read_to_string(at.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn a_first_start_makes_passwords_that_fit_together_and_a_second_keeps_them() {
    let (one, other) = (volumes(), volumes());
    let at = one.path();
    make_secrets(at).unwrap();
    make_secrets(other.path()).unwrap();
    let password = read(at, "postgres-secrets/tidewire-password");
    assert_eq!(password.trim().len(), 64, "256 bits");
    assert_ne!(password, read(other.path(), "postgres-secrets/tidewire-password"), "random");
    assert_ne!(password.trim(), read(at, "postgres-secrets/superuser-password").trim());
    let store = read(at, "tidewire-secrets/store-url");
    assert!(store.contains(&format!("://tidewire:{}@postgres:5432/tidewire", password.trim())), "the same password");
    let nats = read(at, "nats-secrets/nats.conf");
    let nats = nats.trim().strip_prefix("TIDEWIRE_PASSWORD: \"").and_then(|rest| rest.strip_suffix('"')).unwrap();
    assert_eq!(read(at, "tidewire-secrets/nats-url"), format!("nats://tidewire:{nats}@nats:4222\n"));

    let given = read(at, "given");
    let mut looked_at = 0;
    for folder in fs::read_dir(at).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()) {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            if file.file_name().is_some_and(|name| name != "complete") {
                assert_eq!(mode, 0o400, "{}", file.display());
                assert!(given.contains(file.to_str().unwrap()), "{} stays with root", file.display());
                looked_at += 1;
            }
        }
    }
    assert_eq!(looked_at, 6);

    make_secrets(at).unwrap();
    assert_eq!(read(at, "tidewire-secrets/store-url"), store);
}

/// New passwords beside old data lock everybody out: better to say so.
#[test]
fn secrets_that_were_lost_in_part_are_not_made_anew() {
    let at = volumes();
    make_secrets(at.path()).unwrap();
    fs::remove_file(at.path().join("nats-secrets/complete")).unwrap();
    let refused = make_secrets(at.path()).unwrap_err();
    assert!(refused.contains("2 of 3 volumes"), "{refused}");
}

/// The program in the image that asks, out of the Dockerfile.
fn ready(script: &Path, port: u16) -> bool {
    let mut asked = Command::new("bash");
    asked.arg(script).env("TIDEWIRE_LISTEN", format!("127.0.0.1:{port}"));
    run(&mut asked).is_ok()
}

#[test]
fn a_container_is_ready_when_its_instance_says_so() {
    let dockerfile = fs::read_to_string(top().join("infra/Dockerfile")).unwrap();
    let (_, script) = dockerfile.split_once("<<'ready' /out/tidewire-ready\n").expect("the script");
    let (script, _) = script.split_once("\nready\n").expect("its end");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidewire-ready");
    fs::write(&path, script).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 503 Service Unavailable\r\n\r\n", ""];
    let server = std::thread::spawn(move || {
        for answer in answers {
            let (mut caller, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                assert_eq!(caller.read(&mut byte).unwrap(), 1, "the request ends early");
                request.push(byte[0]);
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1\r\n"));
            caller.write_all(answer.as_bytes()).unwrap();
        }
    });
    assert_eq!(answers.map(|_| ready(&path, port)), [true, false, false]);
    server.join().unwrap();
    assert!(!ready(&path, port), "nobody listens");
}
