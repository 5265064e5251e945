//! What a test process started ends with it, even when it has no chance to say goodbye.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use std::io::{BufRead, BufReader};

/// How long the watchdog may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The line that the process to be killed prints.
const READY: &str = "ready:";

/// Not a test of its own: the process that the other one kills.
#[test]
#[ignore = "it waits to be killed"]
fn waits_to_be_killed() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (nats, postgres) = runtime.block_on(async {
        let nats = servers::nats().await.unwrap_or_else(|missing| panic!("{missing}"));
        let options = servers::PostgresOptions { durable: false, ..Default::default() };
        let postgres = servers::Postgres::start(options).await.unwrap_or_else(|missing| panic!("{missing}"));
        (nats, postgres)
    });
    // The hardest of them to end: paused, and not of our process group.
    postgres.pause();
    let data = nats.store_dir().to_owned();
    println!("{READY} {} {} {}", nats.pid().expect("it runs"), postgres.pid().expect("it runs"), data.display());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn servers_end_with_the_process_that_is_killed() {
    if servers::left_out("nats") || servers::left_out("postgres") {
        println!("left out");
        return;
    }
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "--nocapture", "waits_to_be_killed"])
        .env_remove("TIDEWIRE_TEST_NATS_URL")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let line = lines.filter_map(|line| line.split_once(READY).map(|(_, rest)| rest.trim().to_owned())).next();
    let line = line.expect("it has started its servers");
    let mut words = line.splitn(3, ' ');
    let mut pids: Vec<u32> = words.by_ref().take(2).map(|word| word.parse().expect("an id")).collect();
    let data = words.next().expect("a folder");
    // Not those that had ended before they could be paused.
    pids.extend(children(pids[1]).into_iter().filter(|pid| runs(*pid)));
    assert!(pids.len() > 4 && pids.iter().all(|pid| runs(*pid)) && Path::new(data).exists());
    child.kill().expect("killed");
    child.wait().expect("ended");
    let end = Instant::now() + PATIENCE;
    while pids.iter().any(|pid| runs(*pid)) || Path::new(data).exists() {
        assert!(Instant::now() < end, "{pids:?} or {data} are left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there and not just waiting to be counted.
fn runs(pid: u32) -> bool {
    state(pid).is_some_and(|(state, _)| state != "Z")
}

fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| state(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

/// A process's state, and its parent.
fn state(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
