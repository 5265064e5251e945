//! Values that are fine alone and wrong together. Each refusal names both values and the reason.

use super::layers::Resolved;
use super::problem::{Origin, Problem};
use super::value::{Value, show_size, show_span};

/// `left` must be at least `factor` times the product of `right`.
struct AtLeast {
    left: &'static str,
    factor: u64,
    right: &'static [&'static str],
    why: &'static str,
}

const fn at_least(left: &'static str, factor: u64, right: &'static [&'static str], why: &'static str) -> AtLeast {
    AtLeast { left, factor, right, why }
}

const RULES: &[AtLeast] = &[
    at_least(
        "broker.ack_wait",
        2,
        &["consume.handler_timeout"],
        "a handler near its limit would see its event delivered again while it still works",
    ),
    at_least("relay.lease_ttl", 2, &["relay.lease_renew"], "one late renewal would lose the lease"),
    at_least("consume.backoff_max", 1, &["consume.backoff_initial"], "the first wait would be longer than the longest"),
    at_least(
        "broker.dedupe_window",
        2,
        &["relay.batch", "relay.shards"],
        "a relay that restarts sends its open batches again, and the broker must still know their ids",
    ),
    at_least(
        "broker.retention_age",
        2,
        &["consume.max_attempts", "consume.backoff_max"],
        "an event in its last retries would be older than what the broker keeps",
    ),
    at_least("broker.retention_bytes", 64, &["broker.max_event_bytes"], "a few large events would fill the broker"),
    at_least("nats.max_bytes", 64, &["broker.max_event_bytes"], "a few large events would fill the stream"),
    at_least(
        "broker.retention_age",
        1,
        &["nats.dedupe_window"],
        "the server would remember ids of events it has dropped",
    ),
    at_least("broker.max_in_flight", 1, &["consume.batch"], "a batch would never fill"),
    at_least("consume.batch_bytes", 1, &["broker.max_event_bytes"], "the largest event would not fit into a batch"),
    at_least("http.body_limit", 1, &["broker.max_event_bytes"], "the largest event could not be posted"),
    at_least(
        "http.document_limit",
        1,
        &["http.body_limit"],
        "documents would have a smaller limit than other requests",
    ),
    at_least("http.request_timeout", 1, &["http.header_timeout"], "the request would end before its headers may"),
    at_least(
        "saga.step_deadline",
        2,
        &["consume.handler_timeout"],
        "a step would be undone while its first try still works",
    ),
    at_least(
        "saga.step_deadline",
        2,
        &["documents.extract_timeout"],
        "a slow document would be undone while it is extracted",
    ),
];

/// Everything that is wrong between keys. Keys that already have a problem of their own are left out.
pub(super) fn contradictions(resolved: &Resolved) -> Vec<Problem> {
    let mut problems: Vec<Problem> = RULES.iter().filter_map(|rule| broken(rule, resolved)).collect();
    problems.extend(remote_without_auth(resolved));
    problems.extend(mail_without_sender(resolved));
    problems.extend(tokens_without_issuer(resolved));
    problems.extend(strange_domain(resolved));
    problems.extend(even_replicas(resolved));
    problems.extend(strange_settings(resolved));
    problems
}

fn broken(rule: &AtLeast, resolved: &Resolved) -> Option<Problem> {
    let left_value = resolved.values.get(rule.left)?;
    let left = measure(left_value)?;
    let mut needed = u128::from(rule.factor);
    for path in rule.right {
        needed = needed.saturating_mul(measure(resolved.values.get(path)?)?);
    }
    if left >= needed {
        return None;
    }
    let formula: Vec<String> = std::iter::once(rule.factor.to_string())
        .filter(|factor| factor != "1")
        .chain(rule.right.iter().map(|path| (*path).to_owned()))
        .collect();
    let named = std::iter::once(rule.left).chain(rule.right.iter().copied());
    Some(Problem {
        code: "config.inconsistent",
        path: rule.left.into(),
        origin: cause(rule, resolved),
        expected: format!("{} at least {} = {}", rule.left, formula.join(" × "), show_like(left_value, needed)),
        found: named.map(|path| with_origin(path, resolved)).collect::<Vec<_>>().join(", "),
        hint: rule.why.into(),
    })
}

/// The side that somebody set; the left one if both or neither were.
fn cause(rule: &AtLeast, resolved: &Resolved) -> Origin {
    let sides = std::iter::once(rule.left).chain(rule.right.iter().copied());
    let mut set = sides.filter_map(|path| resolved.origins.get(path)).filter(|origin| **origin != Origin::Default);
    set.next().cloned().unwrap_or(Origin::Default)
}

fn with_origin(path: &str, resolved: &Resolved) -> String {
    let value = resolved.values.get(path).map(Value::to_string).unwrap_or_default();
    let origin = resolved.origins.get(path).map(Origin::to_string).unwrap_or_default();
    format!("{path} = {value} ({origin})")
}

fn measure(value: &Value) -> Option<u128> {
    match value {
        Value::Count(number) | Value::Size(number) => Some(u128::from(*number)),
        Value::Span(span) => Some(span.as_millis()),
        _ => None,
    }
}

fn show_like(value: &Value, number: u128) -> String {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    match value {
        Value::Size(_) => show_size(number),
        Value::Span(_) => show_span(std::time::Duration::from_millis(number)),
        _ => number.to_string(),
    }
}

fn remote_without_auth(resolved: &Resolved) -> Option<Problem> {
    let (Some(Value::Socket(address)), Some(Value::Bool(false))) =
        (resolved.values.get("listen"), resolved.values.get("http.allow_remote"))
    else {
        return None;
    };
    let is_guarded = matches!(resolved.values.get("http.auth"), Some(Value::Text(auth)) if auth == "required");
    (!is_guarded && !address.ip().to_canonical().is_loopback()).then(|| Problem {
        code: "listen.remote_without_auth",
        path: "listen".into(),
        origin: resolved.origins.get("listen").cloned().unwrap_or(Origin::Default),
        expected: "a loopback address, as long as callers are not authenticated".into(),
        found: address.to_string(),
        hint: format!(
            "set http.auth = \"required\" and make a key with `tidewire keys create`; or listen on 127.0.0.1:{} behind a proxy that authenticates; or set http.allow_remote = true in a closed network",
            address.port()
        ),
    })
}

fn tokens_without_issuer(resolved: &Resolved) -> Option<Problem> {
    let (Some(Value::Url(url)), Some(Value::Text(issuer))) =
        (resolved.values.get("http.jwks_url"), resolved.values.get("http.jwt_issuer"))
    else {
        return None;
    };
    (!url.is_empty() && issuer.is_empty()).then(|| Problem {
        code: "config.inconsistent",
        path: "http.jwt_issuer".into(),
        origin: resolved.origins.get("http.jwt_issuer").cloned().unwrap_or(Origin::Default),
        expected: "the `iss` of tokens, because http.jwks_url is set".into(),
        found: "nothing".into(),
        hint: "keys alone say who signed a token, not for what: name the issuer exactly as his tokens do".into(),
    })
}

fn mail_without_sender(resolved: &Resolved) -> Option<Problem> {
    let (Some(Value::Url(url)), Some(Value::Text(from))) =
        (resolved.values.get("smtp.url"), resolved.values.get("smtp.from"))
    else {
        return None;
    };
    (!url.is_empty() && !from.contains('@')).then(|| Problem {
        code: "config.inconsistent",
        path: "smtp.from".into(),
        origin: resolved.origins.get("smtp.url").cloned().unwrap_or(Origin::Default),
        expected: "smtp.from to be a mail address when smtp.url is set".into(),
        found: format!("{}, {}", with_origin("smtp.url", resolved), with_origin("smtp.from", resolved)),
        hint: "set smtp.from = \"Tidewire <events@example.org>\", or leave smtp.url empty".into(),
    })
}

/// The longest domain: it is part of the names of streams, topics and groups.
const MAX_DOMAIN: usize = 32;

fn strange_domain(resolved: &Resolved) -> Option<Problem> {
    let Some(Value::Text(domain)) = resolved.values.get("broker.domain") else { return None };
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let good = (1..=MAX_DOMAIN).contains(&domain.len()) && domain.bytes().all(is_part);
    (!good).then(|| Problem {
        code: "config.invalid_value",
        path: "broker.domain".into(),
        origin: resolved.origins.get("broker.domain").cloned().unwrap_or(Origin::Default),
        expected: format!("1 to {MAX_DOMAIN} lower-case letters, digits, `-` and `_`"),
        found: domain.clone(),
        hint: "it becomes part of the names of streams, topics and consumer groups".into(),
    })
}

fn even_replicas(resolved: &Resolved) -> Option<Problem> {
    let (Some(Value::Url(url)), Some(Value::Count(replicas))) =
        (resolved.values.get("broker.url"), resolved.values.get("broker.replicas"))
    else {
        return None;
    };
    let on_nats = matches!(url.scheme(), "nats" | "tls");
    (on_nats && matches!(replicas, 2 | 4)).then(|| Problem {
        code: "config.inconsistent",
        path: "broker.replicas".into(),
        origin: resolved.origins.get("broker.replicas").cloned().unwrap_or(Origin::Default),
        expected: "broker.replicas = 1, 3 or 5 on JetStream".into(),
        found: format!("{}, {}", with_origin("broker.url", resolved), with_origin("broker.replicas", resolved)),
        hint: "an even number of copies needs as large a majority as the odd one above it, and survives no more".into(),
    })
}

fn strange_settings(resolved: &Resolved) -> Option<Problem> {
    let Some(Value::Secret(settings)) = resolved.values.get("kafka.settings") else { return None };
    super::kafka::kafka_settings(settings.expose()).is_none().then(|| Problem {
        code: "config.invalid_value",
        path: "kafka.settings".into(),
        origin: resolved.origins.get("kafka.settings").cloned().unwrap_or(Origin::Default),
        expected: "name=value; name=value".into(),
        found: super::secret::MASK.into(),
        hint: "names are those of librdkafka, such as ssl.ca.location".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<Problem> {
        Config::with(pairs.iter().copied()).map(|_| Vec::new()).unwrap_or_else(|error| error.problems)
    }

    #[test]
    fn rules_name_keys_that_exist_and_have_a_measure() {
        for rule in RULES {
            for path in rule.right.iter().chain([&rule.left]) {
                let key = super::super::keys::find(path).unwrap_or_else(|| panic!("{path}"));
                let value = key.kind.read(&super::super::value::Raw::Text(key.default.into())).unwrap();
                assert!(measure(&value).is_some(), "{path}");
            }
        }
    }

    #[test]
    fn each_contradiction_names_both_values() {
        for (pairs, both) in [
            (vec![("broker.ack_wait", "15s")], ["broker.ack_wait = 15s", "consume.handler_timeout = 10s"]),
            (vec![("consume.handler_timeout", "20s")], ["broker.ack_wait = 30s", "consume.handler_timeout = 20s"]),
            (vec![("relay.lease_ttl", "9s")], ["relay.lease_ttl = 9s", "relay.lease_renew = 5s"]),
            (vec![("consume.backoff_initial", "6m")], ["consume.backoff_max = 5m", "consume.backoff_initial = 6m"]),
            (
                vec![("broker.dedupe_window", "1024"), ("relay.shards", "2")],
                ["broker.dedupe_window = 1024", "relay.shards = 2"],
            ),
            (vec![("broker.retention_age", "1h")], ["broker.retention_age = 1h", "consume.max_attempts = 8"]),
            (vec![("broker.max_event_bytes", "2MiB")], ["http.body_limit = 1MiB", "broker.max_event_bytes = 2MiB"]),
            (
                vec![("consume.batch_bytes", "128KiB")],
                ["consume.batch_bytes = 128KiB", "broker.max_event_bytes = 256KiB"],
            ),
            (vec![("broker.max_in_flight", "10")], ["broker.max_in_flight = 10", "consume.batch = 512"]),
            (vec![("http.header_timeout", "1m")], ["http.request_timeout = 30s", "http.header_timeout = 1m"]),
            (vec![("smtp.url", "smtp://mail:25")], ["smtp.url = smtp://mail:25", "smtp.from = "]),
            (
                vec![("broker.url", "nats://h"), ("broker.replicas", "2")],
                ["broker.url = nats://h", "broker.replicas = 2"],
            ),
        ] {
            let found = problems(&pairs);
            assert_eq!(found.len(), 1, "{pairs:?}: {found:#?}");
            assert_eq!(found[0].code, "config.inconsistent");
            for value in both {
                assert!(found[0].found.contains(value), "{value}: {found:#?}");
            }
            assert!(matches!(found[0].origin, Origin::Flag(_)), "{found:#?}");
        }
    }

    #[test]
    fn names_of_others_are_checked_before_anything_is_opened() {
        for (key, value, good) in [
            ("broker.domain", "main-2_b", true),
            ("broker.domain", "Main", false),
            ("broker.domain", "a.b", false),
            ("broker.domain", "a23456789012345678901234567890123", false),
            ("broker.replicas", "2", true),
        ] {
            let found = problems(&[(key, value)]);
            assert_eq!(found.is_empty(), good, "{key} = {value}: {found:#?}");
        }
    }

    #[test]
    fn listening_beyond_loopback_needs_a_word_of_its_own() {
        for address in ["0.0.0.0:4500", "192.0.2.7:4500", "[::]:4500", "[::ffff:192.0.2.7]:1"] {
            assert_eq!(problems(&[("listen", address)])[0].code, "listen.remote_without_auth", "{address}");
            assert!(problems(&[("listen", address), ("http.allow_remote", "true")]).is_empty(), "{address}");
        }
        for address in ["127.0.0.1:0", "127.8.0.1:1", "[::1]:4500", "[::ffff:127.0.0.1]:1"] {
            assert!(problems(&[("listen", address)]).is_empty(), "{address}");
        }
    }
}
