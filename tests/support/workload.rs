//! Real traffic, from a client that does not give up: every request is repeated, with the same idempotency
//! key, until it is accepted, whatever happens to the process meanwhile.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::PATIENCE;
use super::process::Instance;

/// Where the process answers now: it changes with every restart.
#[derive(Clone, Default)]
pub struct Address(Arc<RwLock<String>>);

impl Address {
    pub fn set(&self, url: &str) {
        *self.0.write().expect("an address") = url.to_owned();
    }
    fn get(&self) -> String {
        self.0.read().expect("an address").clone()
    }
}

/// What a workload asks for.
#[derive(Clone, Copy)]
pub struct Size {
    pub users: usize,
    pub follows: usize,
    pub tracks: usize,
    pub good_documents: usize,
    pub bad_documents: usize,
}

/// Small enough for a crash test to be short, large enough that every loop has something to do.
pub const SMALL: Size = Size { users: 6, follows: 12, tracks: 30, good_documents: 2, bad_documents: 2 };

/// A workload and what was accepted of it.
pub struct Workload {
    pub size: Size,
    address: Address,
    client: Client,
    /// Tells runs of the same test apart.
    name: String,
}

/// What the client was promised.
pub struct Accepted {
    pub follows: Vec<(usize, usize)>,
    pub tracked: usize,
    pub good: Vec<String>,
    pub bad: Vec<String>,
}

impl Workload {
    pub fn new(name: &str, size: Size, address: Address) -> Self {
        tidewire::install_tls();
        let client = Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
        Self { size, address, client, name: name.to_owned() }
    }

    /// Who follows whom: the same every time.
    fn follows(&self) -> Vec<(usize, usize)> {
        let users = self.size.users;
        let all = (0..users).flat_map(|a| (1..users).map(move |step| (a, (a + step) % users)));
        all.take(self.size.follows).collect()
    }

    /// Does all of it, some at once.
    pub async fn run(&self) -> Accepted {
        let users = (0..self.size.users).map(|n| self.register(n));
        futures::future::join_all(users).await;
        let follows = self.follows();
        let following = futures::future::join_all(follows.iter().map(|&(a, b)| self.follow(a, b)));
        let tracking = self.track();
        let good = futures::future::join_all((0..self.size.good_documents).map(|n| self.submit(n, true)));
        let bad = futures::future::join_all((0..self.size.bad_documents).map(|n| self.submit(n, false)));
        let (_, tracked, good, bad) = tokio::join!(following, tracking, good, bad);
        Accepted { follows, tracked, good, bad }
    }

    async fn register(&self, n: usize) {
        let body = json!({ "id": format!("u{n}"), "name": format!("User {n}"), "email": format!("u{n}@example.org") });
        self.until_accepted(Method::POST, "/v1/users", &format!("user-{n}"), Body::Json(body)).await;
    }

    async fn follow(&self, a: usize, b: usize) {
        let path = format!("/v1/users/u{a}/following/u{b}");
        self.until_accepted(Method::PUT, &path, &format!("follow-{a}-{b}"), Body::None).await;
    }

    async fn track(&self) -> usize {
        for n in 0..self.size.tracks / 10 {
            let one = |i: usize| json!({ "user": format!("u{}", i % self.size.users), "action": "viewed", "object": format!("o{n}-{i}") });
            let batch = Value::Array((0..10).map(one).collect());
            self.until_accepted(Method::POST, "/v1/track", &format!("track-{n}"), Body::Json(batch)).await;
        }
        self.size.tracks / 10 * 10
    }

    async fn submit(&self, n: usize, good: bool) -> String {
        let (media_type, bytes) = match good {
            true => (
                "text/plain",
                format!("The tide of {} number {n} comes in twice a day and goes out again.", self.name).into_bytes(),
            ),
            false => ("application/pdf", b"%PDF-1.7\nthis is no PDF beyond its first line\n".to_vec()),
        };
        let key = format!("document-{good}-{n}");
        let answer = self
            .until_accepted(Method::POST, "/v1/documents?workspace=crash", &key, Body::Bytes(media_type, bytes))
            .await;
        answer["document"].as_str().unwrap_or_else(|| panic!("no document in {answer}")).to_owned()
    }

    /// Repeats a request until it is accepted. A refusal is a defect.
    async fn until_accepted(&self, method: Method, path: &str, key: &str, body: Body) -> Value {
        let end = Instant::now() + 3 * PATIENCE;
        loop {
            let url = format!("{}{path}", self.address.get());
            let mut request =
                self.client.request(method.clone(), url).header("idempotency-key", format!("{}-{key}", self.name));
            request = match &body {
                Body::None => request,
                Body::Json(value) => request.json(value),
                Body::Bytes(media_type, bytes) => request.header("content-type", *media_type).body(bytes.clone()),
            };
            if let Ok(answer) = request.send().await {
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                if status.is_success() {
                    return serde_json::from_str(&text).unwrap_or(Value::Null);
                }
                // What may be repeated: overload, and a commit whose outcome was not known.
                let later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                assert!(later, "{method} {path} was refused: {status} {text}");
            }
            assert!(Instant::now() < end, "{method} {path} was never accepted");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

enum Body {
    None,
    Json(Value),
    Bytes(&'static str, Vec<u8>),
}

/// Waits until everything accepted has had its effects, then checks that each had them exactly once.
pub async fn check(instance: &Instance, accepted: &Accepted) {
    super::within(3 * PATIENCE, "everything accepted has settled", || async {
        let status = instance.get("/v1/status").await;
        let busy = status["consumers"].as_array()?.iter().any(|consumer| consumer["pending"].as_u64() != Some(0));
        let running = instance.get("/v1/sagas?status=running&limit=1").await["items"].as_array()?.len();
        let undoing = instance.get("/v1/sagas?status=compensating&limit=1").await["items"].as_array()?.len();
        let ended =
            futures::future::join_all(
                accepted.good.iter().chain(&accepted.bad).map(|id| async move {
                    instance.get(&format!("/v1/documents/{id}")).await["status"] != "ingesting"
                }),
            );
        if busy || running + undoing > 0 || !ended.await.into_iter().all(|ended| ended) {
            return None;
        }
        // Nothing waits for a consumer of what the relay has yet to publish, so the log has the last word.
        (instance.get("/v1/audit").await["lost"] == 0).then_some(())
    })
    .await;
    for id in &accepted.good {
        let document = instance.get(&format!("/v1/documents/{id}")).await;
        assert_eq!(document["status"], "ingested", "{document}");
    }
    for id in &accepted.bad {
        let document = instance.get(&format!("/v1/documents/{id}")).await;
        assert_eq!(
            (&document["status"], &document["code"]),
            (&json!("rejected"), &json!("document.corrupt")),
            "{document}"
        );
    }
    check_search(instance, accepted).await;
    check_follows(instance, accepted).await;
    check_counts(instance, accepted).await;
    assert_eq!(instance.get("/v1/status").await["parked"], 0, "{}", instance.get("/v1/parked").await);
}

/// Search and store agree exactly.
async fn check_search(instance: &Instance, accepted: &Accepted) {
    let found = instance.get("/v1/search?q=tide&workspace=crash&limit=100").await;
    let mut found: Vec<String> = found["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|hit| hit["document"].as_str().map(str::to_owned))
        .collect();
    found.sort();
    found.dedup();
    let mut expected = accepted.good.clone();
    expected.sort();
    assert_eq!(found, expected);
}

/// Each follow is one follower, one notification, one event.
async fn check_follows(instance: &Instance, accepted: &Accepted) {
    let users: std::collections::BTreeSet<usize> = accepted.follows.iter().flat_map(|&(a, b)| [a, b]).collect();
    for user in users {
        let expected = accepted.follows.iter().filter(|(_, followed)| *followed == user).count();
        let followers = instance.get(&format!("/v1/users/u{user}/followers?limit=500")).await;
        assert_eq!(followers["items"].as_array().expect("items").len(), expected, "followers of u{user}: {followers}");
        let told = instance.get(&format!("/v1/users/u{user}/notifications?limit=500")).await;
        assert_eq!(told["items"].as_array().expect("items").len(), expected, "notifications of u{user}: {told}");
    }
}

/// The rollup counted every event once.
async fn check_counts(instance: &Instance, accepted: &Accepted) {
    let hourly = instance.get("/v1/stats/hourly?limit=500").await;
    let rows = hourly["items"].as_array().expect("items");
    let count = |name: &str| -> u64 {
        rows.iter().filter(|row| row["type"].as_str() == Some(name)).filter_map(|row| row["count"].as_u64()).sum()
    };
    assert_eq!(count("user.followed"), accepted.follows.len() as u64, "{hourly}");
    assert_eq!(count("activity.tracked"), accepted.tracked as u64, "{hourly}");
    assert_eq!(count("document.submitted"), (accepted.good.len() + accepted.bad.len()) as u64, "{hourly}");
    assert_eq!(count("document.ingested"), accepted.good.len() as u64, "{hourly}");
    assert_eq!(count("document.rejected"), accepted.bad.len() as u64, "{hourly}");
}
