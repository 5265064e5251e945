//! What the servers are configured with, put to real ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use servers::{Postgres, PostgresOptions};

use super::super::top;
use super::checks::run;
use crate::support::eventually;

/// A password with nothing in it that a configuration language could take for something else but digits: `1e5`.
const PASSWORD: &str = "1e50000000000000000000000000000000000000000000000000000000000000";

fn text(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `text` with one thing in place of another, which must be there.
fn with(text: String, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in it");
    text.replace(from, to)
}

/// What crate `servers` got: present once it has answered with a server of its own.
fn nats_program() -> Option<PathBuf> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?.join("servers");
    let mut found = fs::read_dir(kept).ok()?.flatten().map(|entry| entry.path().join("nats-server"));
    found.find(|path| path.is_file())
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a NATS server says in answer to some commands, up to a line that begins with `last`.
fn answers(port: u16, commands: &str, last: &str) -> std::io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(commands.as_bytes())?;
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut said = Vec::new();
    for line in lines.skip(1) {
        let is_last = line.starts_with(last);
        said.push(line);
        if is_last {
            break;
        }
    }
    Ok(said)
}

/// What its monitor answers, if it is well.
async fn asked(monitor: u16, path: &str) -> Option<String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{monitor}/{path}")).await.ok()?;
    answer.error_for_status().ok()?.text().await.ok()
}

#[tokio::test]
async fn nats_takes_its_configuration_and_lets_tidewire_take_nothing_away() {
    if servers::left_out("nats") {
        println!("left out: NATS (TIDEWIRE_TEST_WITHOUT)");
        return;
    }
    let _got = servers::nats().await.unwrap_or_else(|missing| panic!("{missing}"));
    let Some(program) = nats_program() else {
        println!("left out: an existing NATS server is used, whose program is not at hand");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("etc/nats")).unwrap();
    fs::create_dir_all(at("run/secrets")).unwrap();
    fs::write(at("run/secrets/nats.conf"), format!("TIDEWIRE_PASSWORD: \"{PASSWORD}\"\n")).unwrap();
    let (port, monitor) = (servers::free_port(), servers::free_port());
    let conf = with(text("infra/nats/nats.conf"), "0.0.0.0:4222", &format!("127.0.0.1:{port}"));
    let conf = with(conf, "127.0.0.1:8222", &format!("127.0.0.1:{monitor}"));
    let conf = with(conf, "\"/data\"", &format!("{:?}", at("data")));
    let file = at("etc/nats/nats.conf");
    fs::write(&file, conf).unwrap();
    run(Command::new(&program).arg("-t").arg("-c").arg(&file)).unwrap_or_else(|error| panic!("{error}"));

    let mut server = Command::new(&program);
    server.arg("-c").arg(&file).stderr(fs::File::create(at("log")).unwrap()).stdin(Stdio::null());
    let _server = Ended(server.spawn().unwrap());
    tidewire::install_tls();
    // The question of the health check in compose.yaml.
    eventually("JetStream is ready", || async move { asked(monitor, "healthz").await }).await;
    let store = asked(monitor, "jsz").await.unwrap();
    assert!(store.contains("\"sync_always\": true"), "{store}");

    let said = answers(port, "CONNECT {\"verbose\":false}\r\nPING\r\n", "-ERR").unwrap();
    assert!(said.iter().any(|line| line.contains("Authorization Violation")), "{said:?}");
    let connect = format!("CONNECT {{\"verbose\":false,\"user\":\"tidewire\",\"pass\":\"{PASSWORD}\"}}\r\n");
    for (subject, allowed) in [
        ("tw.main.07.user.followed.v1", true),
        ("$KV.TW_main_SEATS.social", true),
        ("$JS.API.STREAM.CREATE.TW_main", true),
        ("$JS.API.CONSUMER.MSG.NEXT.TW_main.social", true),
        ("$JS.API.CONSUMER.DELETE.TW_main.social", true),
        ("$JS.ACK.TW_main.social.1.1.1.1.0", true),
        ("$JS.API.STREAM.DELETE.TW_main", false),
        ("$JS.API.STREAM.PURGE.TW_main", false),
        ("$JS.API.STREAM.MSG.DELETE.TW_main", false),
        ("$SYS.REQ.SERVER.PING", false),
        ("elsewhere", false),
    ] {
        let said = answers(port, &format!("{connect}PUB {subject} 0\r\n\r\nPING\r\n"), "PONG").unwrap();
        assert_eq!(said.len() == 1, allowed, "{subject}: {said:?}");
    }

    // What is reserved for the stream of events fits into the store.
    let stream = r#"{"name":"TW_main","subjects":["tw.main.>"],"discard":"new","max_bytes":10737418240}"#;
    let (inbox, length) = ("_INBOX.1", stream.len());
    let create = format!("SUB {inbox} 1\r\nPUB $JS.API.STREAM.CREATE.TW_main {inbox} {length}\r\n{stream}\r\n");
    let said = answers(port, &format!("{connect}{create}"), "{").unwrap();
    assert!(
        said.last().is_some_and(|line| line.contains("stream_create_response") && !line.contains("error")),
        "{said:?}"
    );
}

/// Every setting of a configuration file, save where it lies and listens.
fn settings(conf: &str) -> Vec<(String, String)> {
    let lines = conf.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    let set = lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()));
    let placed = ["listen_addresses", "data_directory", "hba_file", "unix_socket_directories", "max_connections"];
    set.filter(|(name, _)| !placed.contains(&name.as_str())).collect()
}

#[tokio::test]
async fn postgres_takes_its_settings_and_lets_tidewire_see_its_schema_only() {
    if servers::left_out("postgres") {
        println!("left out: PostgreSQL (TIDEWIRE_TEST_WITHOUT)");
        return;
    }
    let settings = settings(&text("infra/postgres/postgresql.conf"));
    assert!(settings.len() >= 15, "{settings:?}");
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let postgres = Postgres::start(options).await.unwrap_or_else(|missing| panic!("{missing}"));
    let any = postgres.database().await;
    let psql = |url: &str, arguments: &[&str]| {
        run(Command::new(postgres.programs().join("psql"))
            .args(["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-d", url])
            .args(arguments))
    };
    psql(&any, &["-c", "create database tidewire"]).unwrap();
    let mut url = reqwest::Url::parse(&any).unwrap();
    url.set_path("tidewire");
    let superuser = url.to_string();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("tidewire-password");
    fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o400)).unwrap();
    let init = dir.path().join("init.sql");
    fs::write(&init, with(text("infra/postgres/init.sql"), "/run/secrets/tidewire-password", secret.to_str().unwrap()))
        .unwrap();
    psql(&superuser, &["-f", init.to_str().unwrap()]).unwrap_or_else(|error| panic!("{error}"));
    psql(&superuser, &["-c", "create schema billing create table invoice (total int)"]).unwrap();
    psql(&superuser, &["-c", "create table public.note (text text)"]).unwrap();

    url.set_username("tidewire").unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    let tidewire = url.to_string();
    let may = BTreeMap::from([
        ("create schema if not exists tidewire", true),
        ("create table log (position bigint)", true),
        ("create function emit() returns int language sql as 'select 1'", true),
        ("listen log", true),
        ("select * from billing.invoice", false),
        ("select * from public.note", false),
        ("create table public.mine (x int)", false),
        ("create role another", false),
        ("create database another", false),
        ("copy (select 1) to program 'cat'", false),
        ("alter role tidewire superuser", false),
    ]);
    for (statement, allowed) in may {
        let done = psql(&tidewire, &["-c", statement]);
        assert_eq!(done.is_ok(), allowed, "{statement}: {done:?}");
        assert!(allowed || done.is_err_and(|error| error.contains("permission denied") || error.contains("must be ")));
    }
    assert_eq!(psql(&tidewire, &["-c", "show search_path"]).unwrap().trim(), "tidewire");
    url.set_path("postgres");
    assert!(psql(url.as_str(), &["-c", "select 1"]).is_err(), "another database is open to it");
}
