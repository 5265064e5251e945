use std::time::{Duration, Instant};

use super::*;

fn document(id: &str, workspace: &str, title: &str, text: &str) -> IndexedDocument {
    IndexedDocument {
        id: id.into(),
        workspace: workspace.into(),
        title: Some(title.into()).filter(|title: &String| !title.is_empty()),
        text: text.into(),
        media_type: "text/plain".into(),
        ingested: DateTime::from_timestamp_millis(1_780_000_000_123).unwrap(),
    }
}

async fn found(index: &Index, q: &str) -> Vec<String> {
    let request = SearchRequest { q: q.into(), workspace: "w".into(), limit: 10, offset: 0 };
    index.search(request).await.unwrap().hits.into_iter().map(|hit| hit.document).collect()
}

#[tokio::test]
async fn what_is_put_is_found_after_a_restart_and_gone_after_remove() {
    let dir = tempfile::tempdir().unwrap();
    {
        let index = Index::open(dir.path()).unwrap();
        assert_eq!(found(&index, "tide").await, [""; 0]);
        assert_eq!(index.count("w").await.unwrap(), 0);
        index.remove("never").await.unwrap();
        index.put(document("a", "w", "Of the sea", "The tides <turn> at noon & midnight.")).await.unwrap();
        index.put(document("b", "w", "", "Die Flut, les marées, 潮汐是海水的涨落")).await.unwrap();
        index.put(document("c", "other", "", "A tide elsewhere")).await.unwrap();
        index.put(document("a", "w", "Of the sea", "The tides <turn> at noon & midnight.")).await.unwrap();
    }
    let index = reopen(dir.path()).await;
    assert_eq!(index.count("w").await.unwrap(), 2);
    let request = SearchRequest { q: "tide".into(), workspace: "w".into(), limit: 10, offset: 0 };
    let results = index.search(request).await.unwrap();
    assert_eq!(results.hits.len(), 1);
    let hit = &results.hits[0];
    assert_eq!((hit.document.as_str(), hit.title.as_deref(), hit.chunk), ("a", Some("Of the sea"), 0));
    assert_eq!(hit.snippet, "The <b>tides</b> &lt;turn&gt; at noon &amp; midnight");
    assert_eq!(hit.ingested, DateTime::from_timestamp_millis(1_780_000_000_123));
    for (q, want) in
        [("sea", "a"), ("Maree", "b"), ("FLUT", "b"), ("海水", "b"), ("title:sea", "a"), ("\"at noon\"", "a")]
    {
        assert_eq!(found(&index, q).await, [want], "{q}");
    }
    index.remove("a").await.unwrap();
    index.remove("a").await.unwrap();
    assert_eq!(found(&index, "tide").await, [""; 0]);
    assert!(!index.contains("a").await.unwrap());
    assert!(index.contains("b").await.unwrap());
    assert_eq!(index.count("w").await.unwrap(), 1);
}

async fn reopen(dir: &Path) -> Index {
    reopened(dir).await.unwrap()
}

/// The lock goes with the last holder, which may be the writer's thread for a moment.
async fn reopened(dir: &Path) -> Result<Index, IndexError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Index::open(dir) {
            Err(IndexError::Locked { .. }) if Instant::now() < deadline => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

#[tokio::test]
async fn no_query_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap();
    index.put(document("a", "w", "Harbour", "The harbour gate is open at http://x.example/y")).await.unwrap();
    let deep = "(".repeat(990) + "gate";
    let quotes = "\"gate ".repeat(150);
    let signs = "+-".repeat(400) + " gate";
    let ands = "gate AND ".repeat(100);
    let cases = [
        "gate",
        "gate)",
        "(gate",
        "\"gate",
        "gate AND",
        "OR gate",
        "nosuchfield:gate",
        "gate:",
        "gate:open",
        "http://x.example/y gate",
        "gate^",
        "gate~",
        "[gate TO",
        "gate \\",
        "ingested:gate",
        "ordinal:gate gate",
        "gate\0",
        "title:[a TO z] gate",
        "IN [gate]",
        "g* gate",
        "/gate/",
        "/ga.*/ gate",
        &deep,
        &quotes,
        &signs,
        &ands,
    ];
    for q in cases {
        let begun = Instant::now();
        let got = found(&index, q).await;
        let shown: String = q.chars().take(40).collect();
        assert!(got == ["a"] || q.starts_with("+-") || q.starts_with("/gate/"), "{shown} found {got:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{shown} took {:?}", begun.elapsed());
    }
    for q in ["", "   ", "()", "-gate", "\"\"", ":", "AND", "+", "\\"] {
        assert_eq!(found(&index, q).await, [""; 0], "{q}");
    }
    assert_eq!(found(&index, "*").await, ["a"]);
    let request = SearchRequest { q: "nosuchfield:gate".into(), workspace: "w".into(), limit: 1, offset: 0 };
    assert!(!index.search(request).await.unwrap().ignored.is_empty());
}

#[tokio::test]
async fn each_document_is_found_once_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap();
    let long = "The tide comes in. The tide goes out. ".repeat(400);
    let puts =
        (0..30).map(|n| index.put(document(&format!("d{n:02}"), "w", "", if n % 2 == 0 { &long } else { "a tide" })));
    for result in futures::future::join_all(puts).await {
        result.unwrap();
    }
    let mut seen = Vec::new();
    for offset in (0..).step_by(7) {
        let request = SearchRequest { q: "tide".into(), workspace: "w".into(), limit: 7, offset };
        let page = index.search(request).await.unwrap();
        seen.extend(page.hits.into_iter().map(|hit| hit.document));
        if !page.more {
            break;
        }
    }
    assert_eq!(seen.len(), 30);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 30);
    for (limit, offset) in [(0, 0), (10, 30), (10, usize::MAX), (usize::MAX, 2000)] {
        let request = SearchRequest { q: "tide".into(), workspace: "w".into(), limit, offset };
        assert_eq!(index.search(request).await.unwrap().hits, [], "{limit} {offset}");
    }
}

#[tokio::test]
async fn changes_at_the_same_time_share_flushes_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap();
    let mut changes = Vec::new();
    for n in 0..100 {
        let index = index.clone();
        changes.push(tokio::spawn(async move {
            let id = format!("d{n}");
            index.put(document(&id, "w", "", "first")).await.unwrap();
            index.put(document(&id, "w", "", "second")).await.unwrap();
            if n % 2 == 0 {
                index.remove(&id).await.unwrap();
            }
            assert_eq!(index.contains(&id).await.unwrap(), n % 2 == 1);
        }));
    }
    for change in changes {
        change.await.unwrap();
    }
    assert_eq!(index.count("w").await.unwrap(), 50);
    assert_eq!(found(&index, "first").await, [""; 0]);
    assert!(index.flushes() < 250 / 4, "{} flushes for 250 changes", index.flushes());
}

#[tokio::test]
async fn one_process_and_a_clear_word_to_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let _index = Index::open(dir.path()).unwrap();
    assert!(matches!(Index::open(dir.path()), Err(IndexError::Locked { .. })));
    assert!(matches!(Index::set_aside(dir.path(), DateTime::UNIX_EPOCH), Err(IndexError::Locked { .. })));
}

#[tokio::test]
async fn a_damaged_index_is_named_and_can_be_rebuilt() {
    type Damage = fn(&Path);
    fn cut(dir: &Path, extension: &str) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|found| found == extension) {
                File::options().write(true).open(path).unwrap().set_len(3).unwrap();
            }
        }
    }
    let damages: &[(&str, Damage)] = &[
        ("list of segments is garbage", |dir| fs::write(dir.join("meta.json"), b"{garbage").unwrap()),
        ("list of segments is empty", |dir| fs::write(dir.join("meta.json"), b"").unwrap()),
        ("list of segments is gone", |dir| fs::remove_file(dir.join("meta.json")).unwrap()),
        ("terms cut", |dir| cut(dir, "term")),
        ("store cut", |dir| cut(dir, "store")),
        ("segment gone", |dir| {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|found| found == "idx") {
                    fs::remove_file(path).unwrap();
                }
            }
        }),
    ];
    for (name, damage) in damages {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("index");
        let index = Index::open(&dir).unwrap();
        index.put(document("a", "w", "", "tide")).await.unwrap();
        drop(index);
        drop(reopen(&dir).await);
        damage(&dir);
        let error = match Index::open(&dir) {
            Err(error) => error,
            Ok(index) => {
                let request = SearchRequest { q: "tide".into(), workspace: "w".into(), limit: 1, offset: 0 };
                index.search(request).await.expect_err(name)
            }
        };
        assert!(matches!(error, IndexError::Corrupt { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("rebuilt at the next start"));
        // Damage that only a search came upon is remembered, too.
        assert!(matches!(reopened(&dir).await, Err(IndexError::Corrupt { .. })), "{name}");
        let aside = Index::set_aside(&dir, DateTime::UNIX_EPOCH).unwrap();
        assert_ne!(aside, Index::set_aside(&dir, DateTime::UNIX_EPOCH).unwrap());
        assert!(fs::read_dir(&aside).unwrap().count() > 1, "{name}: the evidence is kept");
        let index = Index::open(&dir).unwrap();
        index.put(document("a", "w", "", "tide")).await.unwrap();
        assert_eq!(found(&index, "tide").await, ["a"], "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_indexed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap();
    for (id, workspace) in [("", "w"), ("a", ""), (&*"x".repeat(MAX_ID_BYTES + 1), "w")] {
        let result = index.put(document(id, workspace, "", "text")).await;
        assert!(matches!(result, Err(IndexError::Invalid { .. })));
    }
    index.put(document("a", "w", "Only a title", "")).await.unwrap();
    assert_eq!(found(&index, "title").await, ["a"]);
}
