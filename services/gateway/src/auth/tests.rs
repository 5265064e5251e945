//! Every route, every scope.

use axum::http::Method;
use serde_json::{Value, json};
use tidewire::chrono::TimeDelta;
use tidewire::identity::Operation;

use super::rules::{Need, need};
use crate::Options;
use crate::tests::House;

/// Every route of every service with what it needs; nothing stands for no scope at all.
pub(crate) const ROUTES: &[(&str, &str, Option<Operation>)] = &[
    ("GET", "/", None),
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/healthz", None),
    ("GET", "/startupz", None),
    ("GET", "/asyncapi.json", None),
    ("GET", "/openapi.json", None),
    ("GET", "/schemas", None),
    ("GET", "/schemas/{name}/{version}", None),
    ("GET", "/console", None),
    ("GET", "/console/", None),
    ("GET", "/console/{file}", None),
    ("GET", "/v1/collections/{collection}", Some(Operation::Read)),
    ("GET", "/metrics", Some(Operation::Observe)),
    ("GET", "/v1/events", Some(Operation::Events)),
    ("POST", "/v1/events", Some(Operation::Emit)),
    ("GET", "/v1/events/stream", Some(Operation::Events)),
    ("GET", "/v1/events/{id}", Some(Operation::Events)),
    ("GET", "/v1/events/{id}/why", Some(Operation::Events)),
    ("GET", "/v1/status", Some(Operation::Observe)),
    ("GET", "/v1/audit", Some(Operation::Observe)),
    ("GET", "/v1/consumers", Some(Operation::Observe)),
    ("GET", "/v1/consumers/{name}", Some(Operation::Observe)),
    ("GET", "/v1/parked", Some(Operation::Observe)),
    ("GET", "/v1/parked/{ordinal}", Some(Operation::Observe)),
    ("GET", "/v1/doctor", Some(Operation::Observe)),
    ("GET", "/v1/parked/groups", Some(Operation::Observe)),
    ("POST", "/v1/parked/redrive", Some(Operation::Operate)),
    ("POST", "/v1/parked/{ordinal}/edit", Some(Operation::Operate)),
    ("POST", "/v1/parked/{ordinal}/drop", Some(Operation::Operate)),
    ("GET", "/v1/effects", Some(Operation::Observe)),
    ("POST", "/v1/effects/retry", Some(Operation::Operate)),
    ("POST", "/v1/consumers/{name}/pause", Some(Operation::Operate)),
    ("POST", "/v1/consumers/{name}/resume", Some(Operation::Operate)),
    ("POST", "/v1/log/reconcile", Some(Operation::Operate)),
    ("POST", "/v1/log/retire", Some(Operation::Operate)),
    ("POST", "/v1/replays/plans", Some(Operation::Operate)),
    ("GET", "/v1/replays/plans/{hash}", Some(Operation::Observe)),
    ("POST", "/v1/replays/recordings", Some(Operation::Operate)),
    ("GET", "/v1/replays", Some(Operation::Observe)),
    ("POST", "/v1/replays", Some(Operation::Operate)),
    ("GET", "/v1/replays/{id}", Some(Operation::Observe)),
    ("GET", "/v1/replays/{id}/events", Some(Operation::Events)),
    ("POST", "/v1/replays/{id}/stop", Some(Operation::Operate)),
    ("POST", "/v1/replays/{id}/work", Some(Operation::Operate)),
    ("GET", "/v1/projections", Some(Operation::Observe)),
    ("POST", "/v1/projections/{name}/rebuild", Some(Operation::Operate)),
    ("GET", "/v1/sagas", Some(Operation::Observe)),
    ("GET", "/v1/sagas/{id}", Some(Operation::Observe)),
    ("POST", "/v1/sagas", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/retry", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/skip", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/done", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/compensate", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/forward", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/cancel", Some(Operation::Operate)),
    ("POST", "/v1/sagas/{id}/signals/{step}", Some(Operation::Operate)),
    ("GET", "/v1/keys", Some(Operation::Keys)),
    ("POST", "/v1/keys", Some(Operation::Keys)),
    ("GET", "/v1/keys/{id}", Some(Operation::Keys)),
    ("DELETE", "/v1/keys/{id}", Some(Operation::Keys)),
    ("POST", "/v1/keys/{id}/rotate", Some(Operation::Keys)),
    ("GET", "/v1/subscriptions", Some(Operation::Subscribe)),
    ("POST", "/v1/subscriptions", Some(Operation::Subscribe)),
    ("GET", "/v1/subscriptions/{id}", Some(Operation::Subscribe)),
    ("PUT", "/v1/subscriptions/{id}", Some(Operation::Subscribe)),
    ("DELETE", "/v1/subscriptions/{id}", Some(Operation::Subscribe)),
    ("POST", "/v1/subscriptions/{id}/pause", Some(Operation::Subscribe)),
    ("POST", "/v1/subscriptions/{id}/resume", Some(Operation::Subscribe)),
    ("POST", "/v1/subscriptions/{id}/rotate", Some(Operation::Subscribe)),
    ("POST", "/v1/subscriptions/{id}/test", Some(Operation::Subscribe)),
    ("POST", "/v1/users", Some(Operation::Write)),
    ("GET", "/v1/users/{id}", Some(Operation::Read)),
    ("PUT", "/v1/users/{id}/following/{other}", Some(Operation::Write)),
    ("DELETE", "/v1/users/{id}/following/{other}", Some(Operation::Write)),
    ("GET", "/v1/users/{id}/followers", Some(Operation::Read)),
    ("GET", "/v1/users/{id}/following", Some(Operation::Read)),
    ("GET", "/v1/users/{id}/feed", Some(Operation::Read)),
    ("GET", "/v1/users/{id}/activity", Some(Operation::Read)),
    ("GET", "/v1/users/{id}/notifications", Some(Operation::Read)),
    ("GET", "/v1/users/{id}/notifications/stream", Some(Operation::Read)),
    ("POST", "/v1/users/{id}/notifications/{n}/read", Some(Operation::Write)),
    ("GET", "/v1/users/{id}/preferences", Some(Operation::Read)),
    ("PUT", "/v1/users/{id}/preferences", Some(Operation::Write)),
    ("POST", "/v1/documents", Some(Operation::Write)),
    ("GET", "/v1/documents", Some(Operation::Read)),
    ("GET", "/v1/documents/{id}", Some(Operation::Read)),
    ("GET", "/v1/documents/{id}/text", Some(Operation::Read)),
    ("GET", "/v1/search", Some(Operation::Read)),
    ("POST", "/v1/track", Some(Operation::Write)),
    ("GET", "/v1/stats/hourly", Some(Operation::Read)),
];

fn closed() -> Options {
    Options { authenticate: true, ..Options::default() }
}

async fn key(house: &House, scopes: &str) -> String {
    let wanted = json!({"name": "test", "scopes": scopes});
    let answer = house.inside("POST", "/v1/keys", &wanted).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["key"].as_str().unwrap().to_owned()
}

/// Whoever adds a route must say here what it needs.
#[test]
fn every_route_in_the_sources_is_in_the_table() {
    let services = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![services];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // The command line has stand-ins for routes in its tests.
            if path.is_dir() && !matches!(name.as_str(), "tests" | "target" | "tidewire-cli") {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.contains("test") {
                let source = std::fs::read_to_string(&path).unwrap();
                let source = source.split("#[cfg(test)]").next().unwrap();
                for route in source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                    found += 1;
                    assert!(
                        ROUTES.iter().any(|(_, known, _)| *known == route),
                        "{route} of {} is not in the table",
                        path.display()
                    );
                }
            }
        }
    }
    assert!(found > 30, "{found}");
}

#[tokio::test]
async fn every_route_takes_its_scope_and_no_other() {
    let house = House::with(closed(), |_| axum::Router::new()).await;
    let mut keys = Vec::new();
    for operation in Operation::ALL {
        keys.push((operation, format!("Bearer {}", key(&house, operation.name()).await)));
    }
    for (method, route, needed) in ROUTES {
        let path = route.replace(['{', '}'], "");
        let expected = needed.map_or(Need::Nothing, Need::Scope);
        assert_eq!(need(&method.parse::<Method>().unwrap(), &path), expected, "{method} {route}");
        // A stream that is let in does not end.
        let is_endless = path.ends_with("/stream");
        let nobody = house.ask(method, &path, &[]).await;
        match needed {
            None => assert!(nobody.status != 401 && nobody.status != 403, "{method} {route}: {nobody:?}"),
            Some(_) => {
                assert_eq!(nobody.problem(), (401, "auth.missing".into()), "{method} {route}");
                assert!(nobody.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{method} {route}");
            }
        }
        for (operation, key) in &keys {
            let is_allowed = needed.is_none_or(|needed| needed == *operation);
            if is_endless && is_allowed {
                continue;
            }
            let answer = house.ask(method, &path, &[("authorization", key)]).await;
            let is_refused = answer.status == 403 && answer.problem().1 == "auth.forbidden";
            assert!(
                answer.status != 401 && is_refused != is_allowed,
                "{method} {route} with {}: {answer:?}",
                operation.name()
            );
        }
    }
}

#[tokio::test]
async fn credentials_are_checked_wherever_they_are_sent() {
    for options in [closed(), Options::default()] {
        let house = House::with(options.clone(), |_| axum::Router::new()).await;
        let good = key(&house, "observe").await;
        let cases = [
            (vec![format!("Bearer {good}")], 200, ""),
            (vec![format!("bearer {good}")], 200, ""),
            (vec![format!("Bearer {good}x")], 401, "auth.invalid"),
            (vec!["Bearer tw_aaaaaaaaaaaa_b".into()], 401, "auth.invalid"),
            (vec!["Bearer a.b.c".into()], 401, "auth.invalid"),
            (vec![format!("Basic {good}")], 401, "auth.invalid"),
            (vec!["Bearer ".into()], 401, "auth.invalid"),
            (vec![format!("Bearer {good}"), format!("Bearer {good}")], 401, "auth.invalid"),
        ];
        for (sent, status, code) in cases {
            let headers: Vec<(&str, &str)> = sent.iter().map(|value| ("authorization", value.as_str())).collect();
            assert_eq!(house.ask("GET", "/v1/status", &headers).await.problem(), (status, code.to_owned()), "{sent:?}");
        }
        let nobody = house.ask("GET", "/v1/status", &[]).await;
        assert_eq!(nobody.status, if options.authenticate { 401 } else { 200 });
    }
}

#[tokio::test]
async fn a_key_lives_from_its_making_to_its_end() {
    let house = House::with(closed(), |_| axum::Router::new()).await;
    let expires = (house.clock.as_ref() as &dyn tidewire::Clock).now() + TimeDelta::days(1);
    let wanted = json!({"name": "deploy", "scopes": "observe keys", "expires": expires});
    let made = house.inside("POST", "/v1/keys", &wanted).await.json();
    let (id, first) = (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned());
    let status = |key: String| {
        let (house, header) = (&house, format!("Bearer {key}"));
        async move { house.ask("GET", "/v1/keys", &[("authorization", header.as_str())]).await }
    };
    let listed = status(first.clone()).await;
    let secret = first.rsplit('_').next().unwrap();
    assert!(listed.status == 200 && listed.text.contains(&id) && !listed.text.contains(secret), "{listed:?}");
    assert!(!listed.text.contains("digest"), "{listed:?}");

    let second = house.inside("POST", &format!("/v1/keys/{id}/rotate"), &Value::Null).await.json();
    let second = second["key"].as_str().unwrap().to_owned();
    assert_eq!(status(second.clone()).await.status, 401, "remembered as it was, for a moment");
    // Another process, which remembers nothing.
    let elsewhere = house.again(closed());
    let ask = |key: &str| {
        let header = format!("Bearer {key}");
        let elsewhere = &elsewhere;
        async move { elsewhere.ask("GET", "/v1/keys", &[("authorization", header.as_str())]).await.problem() }
    };
    assert_eq!(ask(&second).await, (200, String::new()));
    assert_eq!(ask(&first).await, (401, "auth.invalid".into()));
    house.pass(TimeDelta::days(2));
    assert_eq!(ask(&second).await, (401, "auth.expired".into()));
    assert_eq!(house.inside("DELETE", &format!("/v1/keys/{id}"), &Value::Null).await.status, 204);
    assert_eq!(house.inside("POST", &format!("/v1/keys/{id}/rotate"), &Value::Null).await.problem().0, 409);
    assert_eq!(house.inside("DELETE", "/v1/keys/nothing", &Value::Null).await.problem().0, 404);
}

#[tokio::test]
async fn nobody_emits_or_hands_out_more_than_he_may() {
    let house = House::with(closed(), |_| axum::Router::new()).await;
    let wanted = json!({"name": "social", "scopes": "emit:user.* keys", "source": "/social"});
    let made = house.inside("POST", "/v1/keys", &wanted).await.json();
    let header = format!("Bearer {}", made["key"].as_str().unwrap());
    let event = |ty: &str, source: &str, data: Value| json!({"specversion": "1.0", "id": format!("{ty}{source}"), "source": source, "type": ty, "data": data});
    let followed = json!({"follower_id": "7", "followed_id": "42"});
    let tracked = json!({"user_id": "7", "action": "x"});
    for (event, expected) in [
        (event("user.followed.v1", "/social", followed.clone()), (202, "")),
        (event("user.followed.v1", "/billing", followed), (403, "auth.source")),
        (event("activity.tracked.v2", "/social", tracked), (403, "auth.forbidden")),
    ] {
        let headers = [("authorization", header.as_str()), ("content-type", "application/cloudevents+json")];
        let answer = house.post("/v1/events", &headers, &event.to_string()).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{event}");
    }
    for (scopes, source, expected) in [
        ("emit:user.followed", Some("/social"), 201),
        ("emit:user.followed", Some("/billing"), 403),
        ("emit:user.followed", None, 403),
        ("emit", Some("/social"), 403),
        ("*", Some("/social"), 403),
    ] {
        let wanted = json!({"name": "n", "scopes": scopes, "source": source}).to_string();
        let headers = [("authorization", header.as_str()), ("content-type", "application/json")];
        assert_eq!(house.post("/v1/keys", &headers, &wanted).await.status, expected, "{scopes} {source:?}");
    }
    for bad in [json!({"name": "n"}), json!({"name": "", "scopes": "read"}), json!({"name": "n", "scopes": "reed"})] {
        assert_eq!(house.inside("POST", "/v1/keys", &bad).await.problem().0, 400, "{bad}");
    }
}

/// Also not by those who have no source of their own, and in none of the three modes.
#[tokio::test]
async fn a_source_is_its_owners_in_every_mode() {
    let house = House::with(closed(), |_| axum::Router::new()).await;
    let mut keys = Vec::new();
    for (name, source) in [("owner", Some("/social")), ("other", Some("/billing")), ("nobody's", None)] {
        let wanted = json!({"name": name, "scopes": "emit", "source": source});
        let made = house.inside("POST", "/v1/keys", &wanted).await.json();
        keys.push(format!("Bearer {}", made["key"].as_str().unwrap()));
    }
    let followed = json!({"follower_id": "7", "followed_id": "42"});
    let event = |id: &str, source: &str| json!({"specversion": "1.0", "id": id, "source": source, "type": "user.followed.v1", "data": followed});
    let refused = (403, "auth.source".to_owned());
    for (n, key) in keys.iter().enumerate() {
        let id = format!("e{n}");
        let expected = if n == 0 { (202, String::new()) } else { refused.clone() };
        let auth = ("authorization", key.as_str());
        let headers = [auth, ("content-type", "application/cloudevents+json")];
        let answer = house.post("/v1/events", &headers, &event(&id, "/social").to_string()).await;
        assert_eq!(answer.problem(), expected, "structured, {n}");
        let id = format!("b{n}");
        let binary = [
            auth,
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-type", "user.followed.v1"),
            ("ce-source", "/social"),
            ("ce-id", id.as_str()),
        ];
        let answer = house.post("/v1/events", &binary, &followed.to_string()).await;
        assert_eq!(answer.problem(), expected, "binary, {n}");
        let headers = [auth, ("content-type", "application/cloudevents-batch+json")];
        let batch = json!([event(&format!("m{n}"), "/social")]).to_string();
        let answer = house.post("/v1/events", &headers, &batch).await;
        match n {
            0 => assert_eq!(answer.status, 202),
            _ => assert_eq!(answer.json()["errors"][0]["code"], "auth.source", "batched, {n}"),
        }
    }
    let headers = [("authorization", keys[2].as_str()), ("content-type", "application/cloudevents+json")];
    let free = house.post("/v1/events", &headers, &event("f", "/nobody/yet").to_string()).await;
    assert_eq!(free.status, 202, "what belongs to nobody is anybody's");
}
