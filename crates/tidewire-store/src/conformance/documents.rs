//! Documents.

use bytes::Bytes;
use futures::future::join_all;
use tidewire_core::store::{Conflict, Document, DocumentQuery};
use tidewire_core::{Commit, DocumentWrite, ExpectDocument, StoreError};

use super::{Rig, applied, conflict};

fn write(id: &str, expect: ExpectDocument, value: Option<&str>) -> Commit {
    let value = value.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let write = DocumentWrite { collection: "c".into(), id: id.into(), expect, value };
    Commit { documents: vec![write], ..Commit::default() }
}

async fn get(rig: &Rig, id: &str) -> Option<Document> {
    rig.store.documents("c", &[id.to_owned()]).await.unwrap().remove(0)
}

pub(super) async fn revisions_guard_writes(rig: Rig) {
    use ExpectDocument::{Absent, Any, Revision};
    assert_eq!(get(&rig, "d").await, None);
    let found = conflict(&rig, write("d", Revision(1), Some("0"))).await;
    assert!(matches!(found, Conflict::Document { expected: 1, found: 0, .. }), "{found:?}");
    applied(&rig, write("d", Absent, Some("1"))).await;
    let first = get(&rig, "d").await.unwrap();
    assert_eq!((first.id.as_str(), &first.value[..]), ("d", &b"1"[..]));
    assert!(matches!(conflict(&rig, write("d", Absent, Some("2"))).await, Conflict::Document { expected: 0, .. }));
    applied(&rig, write("d", Revision(first.revision), Some("2"))).await;
    let second = get(&rig, "d").await.unwrap();
    assert_ne!(second.revision, first.revision);
    conflict(&rig, write("d", Revision(first.revision), Some("3"))).await;
    conflict(&rig, write("d", Revision(first.revision), None)).await;
    applied(&rig, write("d", Any, Some(""))).await;
    assert_eq!(&get(&rig, "d").await.unwrap().value[..], b"");
    applied(&rig, write("d", Any, None)).await;
    assert_eq!(get(&rig, "d").await, None);
    applied(&rig, write("d", Any, None)).await;
    applied(&rig, write("d", Absent, Some("4"))).await;
    // Collections are apart.
    assert_eq!(rig.store.documents("other", &["d".into()]).await.unwrap(), [None]);
}

pub(super) async fn are_listed_by_id(rig: Rig) {
    for id in ["b/1", "a/2", "a/1", "a", "a/10", "a0", "á", "_", "a%", "a/\u{10ffff}"] {
        applied(&rig, write(id, ExpectDocument::Absent, Some(id))).await;
    }
    let list = |query: DocumentQuery| {
        let store = rig.store.clone();
        async move {
            let query = DocumentQuery { collection: "c".into(), ..query };
            store.list(&query).await.unwrap().into_iter().map(|document| document.id).collect::<Vec<_>>()
        }
    };
    let under = |limit| DocumentQuery { prefix: "a/".into(), limit, ..Default::default() };
    assert_eq!(list(under(9)).await, ["a/1", "a/10", "a/2", "a/\u{10ffff}"]);
    assert_eq!(list(under(2)).await, ["a/1", "a/10"]);
    assert_eq!(list(DocumentQuery { after: Some("a/10".into()), ..under(9) }).await, ["a/2", "a/\u{10ffff}"]);
    assert_eq!(list(DocumentQuery { after: Some("a/2".into()), backwards: true, ..under(9) }).await, ["a/10", "a/1"]);
    assert_eq!(list(DocumentQuery { prefix: "a%".into(), ..under(9) }).await, ["a%"]);
    assert_eq!(list(DocumentQuery { prefix: "_".into(), ..under(9) }).await, ["_"]);
    assert_eq!(list(DocumentQuery { limit: 100, ..Default::default() }).await.len(), 10);
    assert_eq!(rig.store.count("c", "a/").await.unwrap(), 4);
    assert_eq!(rig.store.count("c", "").await.unwrap(), 10);
    assert_eq!(rig.store.count("other", "").await.unwrap(), 0);
}

pub(super) async fn racing_writers_lose_no_update(rig: Rig) {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    applied(&rig, write("n", ExpectDocument::Absent, Some("0"))).await;
    let writers = (0..WRITERS).map(|_| {
        let rig = rig.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let found = get(&rig, "n").await.unwrap();
                let n: usize = std::str::from_utf8(&found.value).unwrap().parse().unwrap();
                let next = (n + 1).to_string();
                match rig.store.commit(write("n", ExpectDocument::Revision(found.revision), Some(&next))).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(get(&rig, "n").await.unwrap().value, (WRITERS * EACH).to_string());
}
