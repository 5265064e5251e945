//! Ingestion as tables of replies and what follows from them.

use serde_json::{Value, json};
use tidewire::chrono::DateTime;
use tidewire::saga::trial::{Recording, Trial};
use tidewire::saga::{Definition, Input, SagaRef, Status, saga_id};
use tidewire::{Event, EventType, ManualClock};

use super::*;

fn submitted() -> Envelope {
    let example: DocumentSubmitted = serde_json::from_value(json!({
        "document_id": "7", "workspace": "research", "media_type": "text/html", "bytes": 9, "filename": "tides.html",
        "sha256": "00", "original": "research/7/original"
    }))
    .unwrap();
    let clock = ManualClock::new(DateTime::UNIX_EPOCH, 1);
    Draft::of(&example).unwrap().with_id("submitted-1").seal(&clock, "/documents", None)
}

fn reply(request: &Draft, ty: &str, data: Value) -> Envelope {
    let clock = ManualClock::new(DateTime::UNIX_EPOCH, 1);
    let mut data = data;
    data["document_id"] = json!("7");
    let draft = Draft { ty: ty.parse().unwrap(), data: Some(data.to_string().into()), id: None, ..request.clone() };
    SagaRef::of(&request.clone().seal(&clock, "/saga-orchestrator", None)).unwrap().stamp(draft).seal(
        &clock,
        "/documents",
        None,
    )
}

/// Answers one request after the other, each with a row of `replies`; gives what was emitted, and the end.
fn play(replies: &[(&str, Value)]) -> (Vec<Draft>, SagaLog<IngestionState>) {
    let definition = Definition::new(Ingestion::new(Policy::default())).unwrap();
    let now = DateTime::UNIX_EPOCH;
    let begun = definition.begin(&submitted(), now).unwrap().unwrap();
    let (mut emitted, mut log) = (begun.drafts, begun.log);
    for (ty, data) in replies {
        let reply = reply(emitted.last().unwrap(), ty, data.clone());
        let advanced = definition.advance(log, Input::Reply(&reply), now);
        assert_eq!(advanced.ignored, None, "{ty}");
        emitted.extend(advanced.drafts);
        log = advanced.log;
    }
    (emitted, log)
}

fn names(emitted: &[Draft]) -> Vec<&str> {
    emitted.iter().map(|draft| draft.ty.name()).collect()
}

fn data<E: Event>(draft: &Draft) -> E {
    E::decode(&draft.clone().seal(&ManualClock::new(DateTime::UNIX_EPOCH, 1), "/test", None)).unwrap()
}

fn good() -> Vec<(&'static str, Value)> {
    vec![
        (
            "document.extracted.v1",
            json!({"title": "Of tides", "media_type": "text/html", "characters": 90, "chunks": 2, "language": "de", "object": "research/7/text"}),
        ),
        ("document.stored.v1", json!({"object": "research/7/kept", "bytes": 90})),
        ("document.indexed.v1", json!({"chunks": 3})),
        (
            "document.enriched.v1",
            json!({"words": 12, "reading_seconds": 4, "keywords": ["tide"], "entities": [], "near_duplicates": []}),
        ),
    ]
}

#[test]
fn a_good_document_is_ingested() {
    let (emitted, log) = play(&good());
    assert_eq!(
        names(&emitted),
        [
            "document.extraction.requested",
            "document.storage.requested",
            "document.indexing.requested",
            "document.enrichment.requested",
            "document.ingested"
        ]
    );
    assert_eq!((log.status, log.id), (Status::Completed, saga_id("document-ingestion", "submitted-1")));
    assert!(emitted.iter().all(|draft| draft.key.as_str() == "document/7"));
    assert_eq!(data::<DocumentStorageRequested>(&emitted[1]).object, "research/7/text");
    assert_eq!(data::<DocumentIndexingRequested>(&emitted[2]).object, "research/7/kept");
    let ingested: DocumentIngested = data(&emitted[4]);
    assert_eq!(ingested.title.as_deref(), Some("Of tides"));
    assert_eq!((ingested.characters, ingested.chunks, ingested.language.as_deref()), (90, 3, Some("de")));
    assert_eq!((ingested.filename.as_deref(), ingested.keywords), (Some("tides.html"), vec!["tide".to_owned()]));
}

#[test]
fn a_bad_document_is_rejected_and_leaves_nothing() {
    let failed = |at: usize, ty: &'static str, undone: &[&'static str]| {
        let mut replies = good();
        replies.truncate(at);
        replies.push((ty, json!({"code": "document.encrypted", "reason": "it is encrypted"})));
        replies.extend(undone.iter().map(|ty| (*ty, json!({}))));
        let (emitted, log) = play(&replies);
        assert_eq!(log.status, Status::Undone, "{ty}");
        let rejected: DocumentRejected = data(emitted.last().unwrap());
        assert_eq!((rejected.code.as_str(), rejected.reason.as_str()), ("document.encrypted", "it is encrypted"));
        assert_eq!((rejected.document_id.as_str(), rejected.workspace.as_str()), ("7", "research"));
        let after = emitted[at + 1..emitted.len() - 1].iter().map(|draft| draft.ty.name().to_owned());
        after.collect::<Vec<String>>()
    };
    let undone = ["document.unindexed.v1", "document.deleted.v1", "document.extraction.undone.v1"];
    let undos = ["document.unindexing.requested", "document.deletion.requested", "document.extraction.undo_requested"];
    assert_eq!(failed(0, "document.extraction.failed.v1", &undone[3..]), undos[3..]);
    assert_eq!(failed(1, "document.storage.failed.v1", &undone[2..]), undos[2..]);
    assert_eq!(failed(2, "document.indexing.failed.v1", &undone[1..]), undos[1..]);
    assert_eq!(failed(3, "document.enrichment.failed.v1", &undone[..]), undos[..]);
}

#[test]
fn an_enrichment_nobody_answers_is_removed() {
    let definition = Definition::new(Ingestion::new(Policy { attempts: 1, undo_attempts: 1, ..Policy::default() }));
    let definition = definition.unwrap();
    let mut replies = good();
    replies.truncate(3);
    let (_, log) = play(&replies);
    let late = log.due().unwrap();
    let turned = definition.advance(log, Input::Wake, late);
    assert_eq!(names(&turned.drafts), ["document.enrichment.removal_requested"]);
    let later = turned.log.due().unwrap();
    let stuck = definition.advance(turned.log, Input::Wake, later);
    assert_eq!(names(&stuck.drafts), ["saga.stuck"]);
    let stuck: SagaStuck = data(&stuck.drafts[0]);
    assert_eq!((stuck.step.as_str(), stuck.subject.as_str()), ("enrich", "document/7"));
    assert!(stuck.reason.contains("no reply"), "{}", stuck.reason);
}

/// Every commit is a place to die, every event can be lost, late or repeated, every step and undo can fail.
#[test]
fn whatever_happens_a_document_ends_ingested_or_gone() {
    let definition = Definition::new(Ingestion::new(Policy { attempts: 2, undo_attempts: 2, ..Policy::default() }));
    let definition = definition.unwrap();
    let good = good();
    let data = |ty: &EventType| {
        let known = good.iter().find(|(known, _)| known.starts_with(ty.name()));
        let mut data =
            known.map_or_else(|| json!({"code": "test.failed", "reason": "as it happens"}), |(_, data)| data.clone());
        data["document_id"] = json!("7");
        data
    };
    let tally = Trial::new(&definition, submitted(), data).run().unwrap_or_else(|defect| panic!("{defect}"));
    assert!(tally.runs > 500 && tally.completed > 40 && tally.undone > 500 && tally.stuck > 0, "{tally:?}");
}

#[test]
fn its_steps_are_those_of_the_release() {
    // Pinned to every instance in flight: another digest stalls them. Raise the definition instead, and keep this one.
    let definition = Definition::new(Ingestion::new(Policy::default())).unwrap();
    assert_eq!((Ingestion::DEFINITION, definition.fingerprint()), (1, "b4c969115592cd4c"));
}

/// Histories of every release, by file: what was decided then is decided now, to the byte.
#[test]
fn histories_of_every_release_are_decided_as_they_were() {
    let mut found = 0;
    for entry in std::fs::read_dir(histories()).unwrap() {
        let path = entry.unwrap().path();
        let recording: Recording = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((recording.saga.as_str(), recording.definition), (Ingestion::NAME, Ingestion::DEFINITION));
        let definition = Definition::new(Ingestion::new(recorded_policy())).unwrap();
        recording.replay(&definition).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
        found += 1;
    }
    assert!(found >= 4, "{found}");
}

#[test]
fn a_history_that_is_decided_otherwise_is_noticed() {
    let definition = Definition::new(Ingestion::new(recorded_policy())).unwrap();
    let recording = record(&definition, "good");
    recording.replay(&definition).unwrap();
    let mut other = recording.clone();
    other.turns[1].emitted[0].data["object"] = json!("elsewhere");
    assert!(other.replay(&definition).unwrap_err().starts_with("turn 1"));
    let mut other = recording.clone();
    other.end["status"] = json!("undone");
    assert!(other.replay(&definition).unwrap_err().contains("/status"));
    let other = Recording { fingerprint: "00".into(), ..recording };
    assert!(other.replay(&definition).unwrap_err().contains("other steps"));
}

/// Writes the histories of this definition that are not there yet. Those that are never change.
#[test]
#[ignore = "writes files"]
fn write_the_histories() {
    let definition = Definition::new(Ingestion::new(recorded_policy())).unwrap();
    std::fs::create_dir_all(histories()).unwrap();
    for name in ["good", "rejected", "late", "stuck"] {
        let path = histories().join(format!("{}-{name}.json", Ingestion::DEFINITION));
        if !path.exists() {
            let recording = serde_json::to_string_pretty(&record(&definition, name)).unwrap();
            std::fs::write(path, format!("{recording}\n")).unwrap();
        }
    }
}

fn histories() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("histories")
}

fn recorded_policy() -> Policy {
    Policy { attempts: 2, undo_attempts: 2, ..Policy::default() }
}

/// Plays one of the histories: each input answers the last request, or lets the timer fire.
fn record(definition: &Definition<Ingestion>, name: &str) -> Recording {
    let failed = |ty: &'static str| Some((ty, json!({"code": "document.encrypted", "reason": "it is encrypted"})));
    let undone = |ty: &'static str| Some((ty, json!({})));
    let happened: Vec<_> = good().into_iter().map(Some).collect();
    let inputs: Vec<Option<(&str, Value)>> = match name {
        "good" => happened,
        "rejected" => {
            let end = [
                failed("document.indexing.failed.v1"),
                undone("document.deleted.v1"),
                undone("document.extraction.undone.v1"),
            ];
            happened[..2].iter().cloned().chain(end).collect()
        }
        "late" => [vec![None], happened].concat(),
        _ => vec![None, None, None, None],
    };
    let begun = definition.begin(&submitted(), DateTime::UNIX_EPOCH).unwrap().unwrap();
    let (mut log, mut last, mut turns) = (begun.log, begun.drafts.last().cloned(), Vec::new());
    for (n, input) in inputs.into_iter().enumerate() {
        let at = match input {
            None => log.due().unwrap(),
            Some(_) => log.updated_at + tidewire::chrono::TimeDelta::seconds(1),
        };
        let event =
            input.map(|(ty, data)| Envelope { id: format!("reply-{n}"), ..reply(last.as_ref().unwrap(), ty, data) });
        let advanced = definition.advance(log, event.as_ref().map_or(Input::Wake, Input::Reply), at);
        last = advanced.drafts.last().cloned().or(last);
        log = advanced.log;
        turns.push((at, event));
    }
    Recording::of(definition, &submitted(), &turns).unwrap()
}
