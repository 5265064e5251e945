//! The broker's disk is full.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use servers::{Nats, NatsOptions};
use tempfile::TempDir;
use tidewire::relay::RelayOptions;

use crate::fault::{needs, shared_postgres};
use crate::support::eventually;
use crate::support::ground::{Ground, Member};
use crate::support::load::{Load, settle};

/// A small file system in memory, gone when dropped.
struct Disk(TempDir);

impl Disk {
    /// `None` where it may not be mounted: that takes root.
    fn of(megabytes: u32) -> Option<Self> {
        let disk = Self(TempDir::new().expect("a folder"));
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(disk.path());
        command.output().is_ok_and(|ran| ran.status.success()).then_some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        let ran = Command::new("mount").args(["-o", &size]).arg(self.path()).status();
        assert!(ran.expect("mount runs").success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_broker_and_loses_nothing() {
    needs!("nats", "postgres");
    let Some(disk) = Disk::of(16) else {
        println!("left out: a small disk cannot be mounted here; run as root");
        return;
    };
    let postgres = shared_postgres().await;
    let options = NatsOptions {
        store_dir: Some(disk.path().join("store")),
        // As much as it takes it for to have, or it would refuse to begin with.
        max_store: Some(12 << 30),
        ..NatsOptions::default()
    };
    let nats = Nats::start(options).await.unwrap_or_else(|missing| panic!("{missing}"));
    let ground = Ground::on_jetstream(postgres.database().await, nats.url());
    let relay = Member::relaying(&ground, RelayOptions::default()).await;
    let consumer = Member::consuming(&ground, "tally").await;
    let load = Load::start(&relay.ports, 4, Duration::from_millis(8));
    load.accepts(200).await;
    // Somebody else takes what is left.
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    load.accepts(400).await;
    eventually("events wait for room", || async {
        let head = relay.ports.store.head().await.ok()?.0;
        // One that has given up storing answers nothing.
        let lag = held(&relay).await.map_or(head, |held| head.saturating_sub(held));
        (lag > 100).then_some(())
    })
    .await;
    std::fs::remove_file(&ballast).expect("removed");
    disk.grow(64);
    // A server that stopped storing for want of room goes on after a restart, as its operators know.
    nats.restart().await;
    load.accepts(100).await;
    let ledger = load.end().await;
    settle(&relay.ports, &ledger, "tally").await;
    consumer.end().await;
    relay.end().await;
}

/// Fills a file system.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// How many events the broker holds, if it can say so.
async fn held(relay: &Member) -> Option<u64> {
    relay.ports.broker.extent().await.ok().map(|extent| extent.last)
}
