//! The service as its callers see it.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use events::{DocumentIngested, DocumentRejected, DocumentSubmitted, SagaStuck, UserFollowed, UserId, UserRegistered};
use futures::StreamExt;
use serde_json::{Value, json};
use tidewire::Call;
use tidewire::testing::Bench;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::hub::Hub;
use crate::inbox::Inbox;
use crate::notification::KEPT;
use crate::service;
use crate::stream::{Ended, Live};

/// Generous: nothing below waits for it unless it fails.
const DEADLINE: Duration = Duration::from_secs(10);

const SMTP: [(&str, &str); 2] = [("smtp.url", "smtp://localhost:2525"), ("smtp.from", "tidewire@example.org")];

fn id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}
fn ada() -> UserRegistered {
    UserRegistered { user_id: id("ada"), name: "Ada".into(), email: Some("ada@example.org".into()) }
}
fn followed(by: &str) -> UserFollowed {
    UserFollowed { follower_id: id(by), followed_id: id("ada") }
}
fn rejected(workspace: &str) -> DocumentRejected {
    DocumentRejected {
        document_id: "d1".into(),
        workspace: workspace.into(),
        title: None,
        filename: Some("tides.pdf".into()),
        code: "document.encrypted".into(),
        reason: "the PDF is encrypted".into(),
    }
}
fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_follow_is_told_counted_and_read() {
    let bench = Bench::new(service, &[]).await;
    bench.emit(&ada()).await;
    bench.emit(&UserRegistered { user_id: id("bob"), name: "Bob".into(), email: None }).await;
    let event = bench.emit(&followed("bob")).await;
    bench.emit(&followed("stranger")).await;
    assert_eq!(bench.settle().await, [], "no mail server, no mail");

    let list = bench.get("/v1/users/ada/notifications").await;
    assert_eq!(titles(&list), ["stranger follows you", "Bob follows you"]);
    assert_eq!(list["unread"], 2);
    let oldest = &list["items"][1];
    assert_eq!(oldest["n"], 1);
    assert_eq!(oldest["event_id"], event);
    assert_eq!(oldest["kind"], "user.followed");
    assert!(oldest.get("read").is_none());

    for _ in 0..2 {
        let (status, read) = bench.call("POST", "/v1/users/ada/notifications/1/read", Value::Null).await;
        assert_eq!((status.as_u16(), read["n"].as_u64(), read["read"].is_string()), (200, Some(1), true));
    }
    let unread = bench.get("/v1/users/ada/notifications?unread=true").await;
    assert_eq!((titles(&unread), &unread["unread"]), (vec!["stranger follows you"], &json!(1)));
    assert_eq!(titles(&bench.get("/v1/users/ada/notifications").await).len(), 2);
    for missing in ["3", "0", "-1", "x"] {
        let uri = format!("/v1/users/ada/notifications/{missing}/read");
        assert_eq!(bench.call("POST", &uri, Value::Null).await.0, 404, "{missing}");
    }
    assert_eq!(bench.call("GET", "/v1/users/ada/notifications?unread=maybe", Value::Null).await.0, 400);
    assert_eq!(bench.call("GET", "/v1/users/a%2Fb/notifications", Value::Null).await.0, 400);
}

#[tokio::test]
async fn everybody_who_reads_at_once_is_counted() {
    let bench = Bench::new(service, &[]).await;
    for n in 0..30 {
        bench.emit(&followed(&format!("u{n}"))).await;
    }
    bench.settle().await;
    let uris: Vec<String> = (1..=20).map(|n| format!("/v1/users/ada/notifications/{n}/read")).collect();
    let answers = futures::future::join_all(uris.iter().map(|uri| bench.call("POST", uri, Value::Null))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(bench.get("/v1/users/ada/notifications").await["unread"], 10);
    assert_eq!(bench.ports.store.count(crate::UNREAD, "ada/").await.unwrap(), 10);
}

#[tokio::test]
async fn pages_go_back_in_time() {
    let bench = Bench::new(service, &[]).await;
    for n in 0..5 {
        bench.emit(&followed(&format!("u{n}"))).await;
    }
    bench.settle().await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = bench.get(&format!("/v1/users/ada/notifications?limit=2{cursor}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["n"].as_u64().unwrap()));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn a_workspace_named_after_a_user_is_that_users() {
    let bench = Bench::new(service, &[]).await;
    bench.emit(&rejected("ada")).await;
    bench.emit(&rejected("my team")).await;
    // Registered after the document's events, and in another stream: the log is asked, not a projection.
    bench.emit(&ada()).await;
    bench.settle().await;
    let list = bench.get("/v1/users/ada/notifications").await;
    assert_eq!(titles(&list), ["“tides.pdf” was not taken"]);
    assert!(list["items"][0]["text"].as_str().unwrap().contains("document.encrypted"));
    assert_eq!(titles(&bench.get("/v1/users/workspace:my%20team/notifications").await).len(), 1);
}

#[tokio::test]
async fn a_stuck_saga_is_told_to_operators_and_to_the_workspace() {
    let bench = Bench::new(service, &[]).await;
    bench
        .emit(&DocumentSubmitted {
            document_id: "d1".into(),
            workspace: "team".into(),
            title: Some("On tides".into()),
            media_type: "text/plain".into(),
            bytes: 1,
            filename: None,
            sha256: "0".repeat(64),
            original: "o".into(),
        })
        .await;
    let stuck = |subject: &str| SagaStuck {
        saga_id: "s1".into(),
        saga: "document-ingestion".into(),
        step: "index".into(),
        reason: "out of disk space".into(),
        subject: subject.into(),
    };
    bench.emit(&stuck("document/d1")).await;
    bench.emit(&stuck("order/1")).await;
    bench.settle().await;
    let operators = bench.get("/v1/users/role:operators/notifications").await;
    assert_eq!(titles(&operators), ["order/1 needs attention", "“On tides” needs attention"]);
    assert_eq!(titles(&bench.get("/v1/users/workspace:team/notifications").await), ["“On tides” needs attention"]);
}

#[tokio::test]
async fn mail_goes_to_those_who_want_it() {
    let bench = Bench::new(service, &SMTP).await;
    bench.emit(&ada()).await;
    bench.emit(&followed("bob")).await;
    let effects = bench.settle().await;
    let [effect] = &effects[..] else { panic!("{effects:?}") };
    let Call::Mail { to, subject, .. } = &effect.call else { panic!("{effect:?}") };
    assert_eq!((to.as_str(), subject.as_str()), ("ada@example.org", "bob follows you"));

    let uri = "/v1/users/ada/preferences";
    assert_eq!(bench.get(uri).await["email"]["user.followed"], true);
    let wish = json!({ "email": { "user.followed": false }, "muted": ["document.rejected"] });
    let (status, kept) = bench.call("PUT", uri, wish).await;
    assert_eq!(status, 200);
    assert_eq!(kept, bench.get(uri).await);
    assert_eq!(
        kept["email"],
        json!({
            "user.followed": false, "document.ingested": true, "document.rejected": true, "saga.stuck": true
        })
    );
    bench.emit(&followed("eve")).await;
    bench.emit(&rejected("ada")).await;
    assert_eq!(bench.settle().await, []);
    assert_eq!(titles(&bench.get("/v1/users/ada/notifications").await), ["eve follows you", "bob follows you"]);

    let ingested = DocumentIngested {
        document_id: "d2".into(),
        workspace: "ada".into(),
        title: Some("On tides".into()),
        filename: None,
        characters: 10,
        chunks: 1,
        language: Some("en".into()),
        keywords: vec!["tide".into()],
    };
    bench.emit(&ingested).await;
    assert_eq!(bench.settle().await.len(), 1);
    assert_eq!(bench.call("PUT", uri, json!({ "muted": ["typing.error"] })).await.0, 400);
}

#[tokio::test]
async fn an_inbox_keeps_the_newest() {
    let bench = Bench::new(service, &[]).await;
    bench.emit(&followed("first")).await;
    bench.emit(&followed("second")).await;
    bench.settle().await;
    bench.call("POST", "/v1/users/ada/notifications/1/read", Value::Null).await;
    for n in 0..KEPT {
        bench.emit(&followed(&format!("u{n}"))).await;
    }
    bench.settle().await;
    let oldest = bench.ports.store.count(crate::NOTIFICATIONS, "ada/").await.unwrap();
    let unread = bench.ports.store.count(crate::UNREAD, "ada/").await.unwrap();
    let list = bench.get("/v1/users/ada/notifications?limit=1").await;
    assert_eq!((oldest, unread, &list["unread"]), (KEPT, KEPT, &json!(KEPT)));
    assert_eq!(bench.call("POST", "/v1/users/ada/notifications/2/read", Value::Null).await.0, 404);
}

/// Reads a live stream until `n` notifications have come, and returns their numbers.
async fn numbers(stream: &mut BodyDataStream, n: usize) -> Vec<u64> {
    let (mut text, mut found) = (String::new(), Vec::new());
    while found.len() < n {
        let chunk = timeout(DEADLINE, stream.next()).await.expect("in time").expect("open").unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        found = text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
    }
    found
}

async fn open(bench: &Bench, last: Option<&str>) -> (u16, BodyDataStream) {
    let mut request = Request::builder().uri("/v1/users/ada/notifications/stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = bench.service.routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (response.status().as_u16(), response.into_body().into_data_stream())
}

#[tokio::test]
async fn a_live_stream_goes_on_where_it_broke_off() {
    let mut bench = Bench::new(service, &[]).await;
    let stop = CancellationToken::new();
    let background: Vec<_> = bench.service.background.drain(..).collect();
    let running: Vec<_> = background.into_iter().map(|work| tokio::spawn((work.run)(stop.clone()))).collect();
    for n in 0..3 {
        bench.emit(&followed(&format!("u{n}"))).await;
    }
    bench.settle().await;

    let (_, mut resumed) = open(&bench, Some("1")).await;
    assert_eq!(numbers(&mut resumed, 2).await, [2, 3]);
    let (_, mut fresh) = open(&bench, None).await;
    bench.emit(&followed("live")).await;
    bench.settle().await;
    assert_eq!(numbers(&mut fresh, 1).await, [4]);
    assert_eq!(numbers(&mut resumed, 1).await, [4]);
    assert_eq!(open(&bench, Some("soon")).await.0, 400);
    let (_, mut ahead) = open(&bench, Some("1000")).await;
    bench.emit(&followed("later")).await;
    bench.settle().await;
    assert_eq!(numbers(&mut ahead, 1).await, [5]);

    stop.cancel();
    for task in running {
        timeout(DEADLINE, task).await.expect("in time").unwrap();
    }
    let rest: Vec<_> = timeout(DEADLINE, fresh.collect()).await.expect("the stream ends with the process");
    assert!(rest.iter().all(Result::is_ok));
    assert_eq!(open(&bench, None).await.0, 503);
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped() {
    let bench = Bench::new(service, &[]).await;
    for n in 0..5 {
        bench.emit(&followed(&format!("u{n}"))).await;
    }
    bench.settle().await;
    let (hub, inbox) = (Hub::default(), Inbox::user(&id("ada")));
    let live = |slowest| Live {
        store: bench.ports.store.clone(),
        watch: hub.watch(&inbox).unwrap(),
        inbox: inbox.clone(),
        after: 0,
        slowest,
    };
    let (to, unread) = tokio::sync::mpsc::channel(2);
    assert_eq!(timeout(DEADLINE, live(Duration::from_millis(10)).run(to)).await.unwrap(), Ended::Slow);
    assert_eq!(unread.len(), 2, "the buffer is all that was held for it");
    let (to, gone) = tokio::sync::mpsc::channel(2);
    drop(gone);
    assert_eq!(timeout(DEADLINE, live(DEADLINE).run(to)).await.unwrap(), Ended::Closed);
}
