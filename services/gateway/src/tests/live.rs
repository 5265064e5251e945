use futures::StreamExt;

use super::events::followed;
use super::*;

/// A live stream, read frame by frame.
struct Live {
    body: axum::body::BodyDataStream,
    text: String,
}

impl House {
    async fn live(&self, query: &str, last: Option<&str>) -> Live {
        let headers: Vec<(&str, &str)> = last.map(|last| ("last-event-id", last)).into_iter().collect();
        let request = request("GET", &format!("/v1/events/stream?{query}"), &headers, "");
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Live { body: response.into_body().into_data_stream(), text: String::new() }
    }
}

impl Live {
    /// The next event's (id, type, CloudEvents id); `None` at the end of the stream.
    async fn next(&mut self) -> Option<(u64, String, String)> {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    let event: Value = serde_json::from_str(&data).unwrap();
                    let id = event["id"].as_str().unwrap().to_owned();
                    return Some((field("id: ").unwrap().parse().unwrap(), field("event: ").unwrap(), id));
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.body.next()).await.expect("nothing came");
            self.text.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn the_tail_goes_on_where_the_client_was() {
    let house = House::new().await;
    for n in 1..=3 {
        house.emit(&followed(&format!("e{n}"), "7", "42")).await;
    }
    let mut live = house.live("from=start", None).await;
    for n in 1..=3 {
        assert_eq!(live.next().await, Some((n, "user.followed.v1".into(), format!("e{n}"))));
    }
    let mut resumed = house.live("from=start", Some("2")).await;
    assert_eq!(resumed.next().await.unwrap().0, 3, "Last-Event-ID comes before `from`");
    let mut tail = house.live("", None).await;
    let (next, ()) = tokio::join!(tail.next(), async {
        house.emit(&followed("e4", "7", "42")).await;
    });
    assert_eq!(next.unwrap().0, 4, "by default from now on");
    assert_eq!((live.next().await.unwrap().0, resumed.next().await.unwrap().0), (4, 4));
}

#[tokio::test]
async fn a_filtered_tail_passes_over_the_rest() {
    let house = House::new().await;
    let mut live = house.live("filter=type%20LIKE%20%27user.unfollowed.%25%27&from=0&key=user/42", None).await;
    for n in 0..100 {
        house.emit(&followed(&n.to_string(), "7", "42")).await;
    }
    let mut event = followed("wanted", "7", "42");
    event["type"] = "user.unfollowed.v1".into();
    house.emit(&event).await;
    assert_eq!(live.next().await, Some((101, "user.unfollowed.v1".into(), "wanted".into())));
    assert_eq!(house.get("/v1/events/stream?filter=user.folowed").await.problem(), (400, "filter.invalid".into()));
    assert_eq!(house.get("/v1/events/stream?from=yesterday").await.problem(), (400, "http.invalid".into()));
}

#[tokio::test]
async fn line_breaks_in_data_do_not_break_frames() {
    let house = House::new().await;
    let text = followed("1", "7", "42").to_string().replace(r#"{"followed_id""#, "{\r\n\n\"followed_id\"");
    assert!(text.contains('\r'), "{text}");
    let answer = house.post("/v1/events", &[("content-type", "application/cloudevents+json")], &text).await;
    assert_eq!(answer.status, 202);
    assert_eq!(house.live("from=start", None).await.next().await.unwrap().2, "1");
}

#[tokio::test]
async fn streams_are_limited_and_end_at_shutdown() {
    let house = House::new().await;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(house.live("", None).await);
    }
    assert_eq!(house.get("/v1/events/stream").await.problem(), (503, "http.unavailable".into()));
    open.pop();
    let mut last = house.live("", None).await;
    house.stop.cancel();
    assert_eq!(last.next().await, None);
}
