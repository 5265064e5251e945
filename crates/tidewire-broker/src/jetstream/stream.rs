//! The stream: made as it must be, and checked to be so.

use serde_json::{Map, Value, json};
use tidewire_core::key::BUCKETS;
use tidewire_core::{BrokerError, Clock};

use super::api::{Api, ApiError, STREAM_EXISTS, StreamInfo};
use super::options::JetStreamOptions;
use super::subject;
use crate::wire;

/// The metadata that names this stream: another one after it was made anew.
const INCARNATION: &str = "tw_incarnation";
/// The metadata that tells what settings it was made with.
const CONFIG_HASH: &str = "tw_config_hash";
/// The metadata that tells how keys were divided.
const BUCKET_COUNT: &str = "tw_buckets";

/// Settings that let a header, a client or another stream change what is stored, or an answer come before the disk.
/// They are off, or not there at all.
const FORBIDDEN: [&str; 13] = [
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_schedules",
    "allow_msg_counter",
    "allow_atomic",
    "discard_new_per_subject",
    "mirror",
    "no_ack",
    "republish",
    "sealed",
    "sources",
    "subject_delete_marker_ttl",
    "subject_transform",
];

/// What lets a stream take runs of events. Without it they go one by one, of each key one at a time: slower, and
/// otherwise the same.
const RUNS: &str = "allow_batched";

/// The stream's name.
pub(super) fn name(domain: &str) -> String {
    format!("TW_{domain}")
}

/// Makes the stream if it is not there, and checks it if it is. What differs is in the error, setting by setting.
/// A stream that does not take runs yet is allowed to, where the server can.
pub(super) async fn ensure(
    api: &Api,
    options: &JetStreamOptions,
    clock: &dyn Clock,
    can_run: bool,
) -> Result<StreamInfo, BrokerError> {
    let name = name(&options.domain);
    let wanted = wanted(options);
    if let Some(found) = api.stream(&name, None).await? {
        let found = check(&wanted, found)?;
        return Ok(if can_run && !takes_runs(&found) { allow_runs(api, &wanted, found).await } else { found });
    }
    let mut config = wanted.clone();
    if can_run {
        config.insert(RUNS.into(), true.into());
    }
    let metadata = json!({
        INCARNATION: clock.id().to_string(),
        CONFIG_HASH: hash(&wanted),
        BUCKET_COUNT: BUCKETS.to_string(),
    });
    config.insert("metadata".into(), metadata);
    match api.call::<StreamInfo>(&format!("STREAM.CREATE.{name}"), &config).await {
        Ok(created) => {
            tracing::info!(stream = name, "made the stream");
            check(&wanted, created)
        }
        // Somebody else made it at the same moment.
        Err(error) if error.is(STREAM_EXISTS) => match api.stream(&name, None).await? {
            Some(found) => check(&wanted, found),
            None => Err(BrokerError::Unavailable(format!("the stream {name} comes and goes"))),
        },
        Err(error) => Err(error.into()),
    }
}

/// Whether the stream is as it must be, without touching it.
pub(super) async fn examine(api: &Api, options: &JetStreamOptions) -> Result<(), BrokerError> {
    let name = name(&options.domain);
    match api.stream(&name, None).await? {
        Some(found) => check(&wanted(options), found).map(drop),
        None => Err(BrokerError::Misconfigured(format!("the stream {name} is not there"))),
    }
}

/// Whether the stream takes runs.
pub(super) fn takes_runs(info: &StreamInfo) -> bool {
    info.config[RUNS] == true
}

/// Allows runs, and changes nothing else. Whatever speaks against it, events still go one by one.
async fn allow_runs(api: &Api, wanted: &Map<String, Value>, found: StreamInfo) -> StreamInfo {
    let name = wanted["name"].as_str().unwrap_or_default();
    let mut config = found.config.clone();
    config[RUNS] = true.into();
    let changed = api.call::<StreamInfo>(&format!("STREAM.UPDATE.{name}"), &config).await;
    match changed.map_err(BrokerError::from).and_then(|changed| check(wanted, changed)) {
        Ok(changed) => {
            tracing::info!(stream = name, "the stream takes runs of events from now on");
            changed
        }
        Err(error) => {
            tracing::warn!(stream = name, code = error.code(), %error, "the stream takes no runs of events: publishing is slower");
            found
        }
    }
}

/// Which stream this is: what we named it, and when the server made it.
pub(super) fn incarnation(info: &StreamInfo) -> String {
    let named = info.config["metadata"][INCARNATION].as_str().unwrap_or("unnamed");
    format!("{named}@{}", info.created)
}

/// The seats' bucket: made if it is not there. What is in it may be lost, at the price of duplicates.
pub(super) async fn ensure_seats(api: &Api, options: &JetStreamOptions) -> Result<(), BrokerError> {
    let name = super::board::stream(&options.domain);
    let config = json!({
        "name": name,
        "description": "Who of each consumer group reads what (Tidewire)",
        "subjects": [format!("$KV.{}.>", super::board::bucket(&options.domain))],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "num_replicas": options.replicas,
        "max_msgs_per_subject": 1,
        "max_bytes": super::board::MAX_BYTES,
        "max_msg_size": super::board::MAX_VALUE_BYTES + 1_024,
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
    });
    match api.call::<StreamInfo>(&format!("STREAM.CREATE.{name}"), &config).await {
        Ok(_) => Ok(()),
        Err(ApiError::Refused { err_code: STREAM_EXISTS, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wanted(options: &JetStreamOptions) -> Map<String, Value> {
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let wanted = json!({
        "name": name(&options.domain),
        "subjects": [subject::all(&options.domain)],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "num_replicas": options.replicas,
        "max_bytes": options.max_bytes,
        "max_age": nanos(options.max_age),
        "max_msg_size": options.max_event_bytes,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "duplicate_window": nanos(options.dedupe_window),
        "deny_delete": true,
        "deny_purge": true,
    });
    match wanted {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn hash(wanted: &Map<String, Value>) -> String {
    let text = Value::Object(wanted.clone()).to_string();
    wire::mark("config", &text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn check(wanted: &Map<String, Value>, found: StreamInfo) -> Result<StreamInfo, BrokerError> {
    let mut differences: Vec<String> = Vec::new();
    for (setting, wanted) in wanted {
        let live = &found.config[setting];
        if live != wanted {
            differences.push(format!("{setting} is {live} there and must be {wanted}"));
        }
    }
    for setting in FORBIDDEN {
        let live = &found.config[setting];
        let is_off = live.is_null() || live == false || live == 0 || live.as_array().is_some_and(Vec::is_empty);
        if !is_off {
            differences.push(format!("{setting} is {live} there and must be off"));
        }
    }
    let persist = found.config["persist_mode"].as_str().unwrap_or("default");
    if !matches!(persist, "default" | "") {
        differences.push(format!("persist_mode is \"{persist}\" there and must be \"default\""));
    }
    let metadata = &found.config["metadata"];
    let buckets = &metadata[BUCKET_COUNT];
    if buckets != &Value::from(BUCKETS.to_string()) {
        differences.push(format!("metadata {BUCKET_COUNT} is {buckets} there and must be \"{BUCKETS}\""));
    }
    if differences.is_empty() {
        return Ok(found);
    }
    let whose = match metadata[CONFIG_HASH].as_str() {
        Some(made_with) if made_with == hash(wanted) => "; it was changed on the server after it was made",
        Some(_) => "; it was made with other settings than those here",
        None => "; it was not made by Tidewire",
    };
    let name = wanted["name"].as_str().unwrap_or_default();
    Err(BrokerError::Misconfigured(format!("the stream {name}: {}{whose}", differences.join(", "))))
}
