//! The bytes of documents in a bucket: a server that speaks the protocol of S3, and the whole path over it.

use std::process::{Child, Stdio};
use std::time::Duration;

use bytes::Bytes;
use servers::{Python, free_port};
use tempfile::TempDir;
use tidewire::config::{Config, Env, Sources};
use tidewire::objects::{ObjectKey, Objects, ObjectsError};

use crate::house::top;
use crate::support::process::run_in;

/// The server, which knows nothing of Tidewire.
const REQUIREMENTS: &str = "moto[s3]==5.2.5\nflask==3.1.3\nflask-cors==6.0.5\n";
/// How long it may take to answer, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(60);
const BUCKET: &str = "tidewire-documents";
const ACCESS: &str = "AKIATESTTESTTEST";
const SECRET: &str = "canary-of-a-secret-key";

struct Bucket {
    child: Child,
    endpoint: String,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bucket {
    /// `None` where Python is left out, which is printed.
    async fn start() -> Option<Self> {
        if servers::left_out("python") {
            println!("left out: an S3 server in Python (TIDEWIRE_TEST_WITHOUT)");
            return None;
        }
        let python = tokio::task::spawn_blocking(|| Python::with("s3", REQUIREMENTS)).await.expect("no panic");
        let python =
            python.unwrap_or_else(|missing| panic!("{missing}, or TIDEWIRE_TEST_WITHOUT=python to leave it out"));
        tidewire::install_tls();
        let port = free_port();
        let mut command = python.program("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let bucket = Self { child: command.spawn().expect("it starts"), endpoint: format!("http://127.0.0.1:{port}") };
        let url = format!("{}/{BUCKET}", bucket.endpoint);
        let made = async {
            while !reqwest::Client::new().put(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(START, made).await.expect("the S3 server answers");
        Some(bucket)
    }

    fn objects(&self, url: &str) -> Objects {
        let env = Env::from_iter(self.env(url));
        let config = Config::load(Sources { env, ..Sources::default() });
        Objects::from_config(&config.expect("a configuration")).expect("a bucket")
    }

    /// The names of the wider world, as whoever has a bucket knows them.
    fn env<'a>(&'a self, url: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("TIDEWIRE_OBJECTS_URL", url),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", ACCESS),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_objects_as_a_folder_does() {
    let Some(bucket) = Bucket::start().await else { return };
    let objects = bucket.objects(&format!("s3://{BUCKET}/some/prefix"));
    let key = ObjectKey::original("d1").expect("a key");
    assert!(matches!(objects.get(&key).await, Err(ObjectsError::NotFound { .. })));
    assert!(!objects.exists(&key).await.expect("an answer"));

    objects.put(&key, Bytes::from_static(b"one")).await.expect("stored");
    objects.put(&key, Bytes::from_static(b"twice")).await.expect("replaced");
    let empty = ObjectKey::of_document("d1", "text").expect("a key");
    objects.put(&empty, Bytes::new()).await.expect("stored");
    objects.put(&ObjectKey::original("d10").expect("a key"), Bytes::from_static(b"else")).await.expect("stored");
    assert_eq!(objects.get(&key).await.expect("there"), "twice");
    assert_eq!(objects.get(&empty).await.expect("there"), "");
    assert_eq!(objects.list("documents/d1").await.expect("a list"), [(key.clone(), 5), (empty, 0)]);

    let beside = bucket.objects(&format!("s3://{BUCKET}/other"));
    assert!(beside.list("").await.expect("a list").is_empty(), "another prefix is another store");
    let whole = bucket.objects(&format!("s3://{BUCKET}"));
    assert_eq!(whole.list("some/prefix").await.expect("a list").len(), 3, "below the prefix and nowhere else");

    objects.delete(&key).await.expect("deleted");
    objects.delete(&key).await.expect("as often as one likes");
    assert!(!objects.exists(&key).await.expect("an answer"));
    let nowhere = bucket.objects("s3://no-such-bucket");
    let error = nowhere.put(&key, Bytes::from_static(b"x")).await.expect_err("there is none");
    assert!(!error.to_string().contains(SECRET), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_travel_the_whole_path_over_a_bucket() {
    let Some(bucket) = Bucket::start().await else { return };
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let documents = top().join("tests/data/documents");
    let url = format!("s3://{BUCKET}/demo");
    let env = bucket.env(&url);
    let data = data.to_str().expect("UTF-8");
    let args = [
        "demo",
        documents.to_str().expect("UTF-8"),
        "--exit",
        "-o",
        "json",
        "--data-dir",
        data,
        "--listen",
        "127.0.0.1:0",
    ];
    let finished = run_in(dir.path(), &args, &env).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let report = finished.json();
    assert_eq!((&report["lost"], &report["documents"]["undone"]), (&0.into(), &2.into()), "{report}");
    let ingested = report["documents"]["ingested"].as_u64().expect("a count");
    let kept = bucket.objects(&url).list("documents").await.expect("a list");
    let originals = kept.iter().filter(|(key, _)| key.as_str().ends_with("/original")).count() as u64;
    assert_eq!(originals, ingested, "each ingested document has its original there, and no other: {kept:?}");
    let shown = run_in(dir.path(), &["config", "show", "--data-dir", data], &env).await;
    for text in [&finished.stdout, &finished.stderr, &shown.stdout, &shown.stderr] {
        assert!(!text.contains(SECRET), "the secret key is printed: {text}");
    }
}
