//! `tidewire demo`: the first command of the README.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::house::top;
use crate::support::process::run_in;

/// The documents under `tests/data/documents` that cannot be ingested, on purpose.
const BAD: [&str; 2] = ["berth-tariffs-encrypted.pdf", "log-book-corrupt.pdf"];

fn prepared() -> usize {
    let folder = top().join("tests/data/documents");
    std::fs::read_dir(folder).expect("the documents").flatten().filter(|entry| entry.path().is_file()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_carries_real_documents_and_loses_nothing() {
    let dir = TempDir::new().expect("a folder");
    let data = dir.path().join("data");
    let args = ["demo", "--exit", "-o", "json", "--data-dir", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let finished = run_in(&top(), &args, &[]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let report = finished.json();
    assert_eq!(report["lost"], 0, "{report}");
    assert_eq!(
        (&report["follows"], &report["notifications"], &report["activities"]),
        (&json!(200), &json!(200), &json!(1000))
    );
    let documents = &report["documents"];
    assert_eq!(documents["undone"], BAD.len(), "{report}");
    let (submitted, ingested) = (documents["submitted"].as_u64().unwrap(), documents["ingested"].as_u64().unwrap());
    assert_eq!(ingested, submitted - BAD.len() as u64, "every good document: {report}");
    assert!(submitted as usize > prepared(), "the repository's own documents as well as the prepared ones: {report}");
    let events = &report["events"];
    assert_eq!(events["appended"], events["published"]);
    assert_eq!(events["parked"], 0);
    assert!(events["handled"].as_u64() > events["appended"].as_u64(), "several consumers each: {report}");
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_nobody_prepared_is_carried_as_far_as_it_goes() {
    let dir = TempDir::new().expect("a folder");
    let folder = dir.path().join("found");
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    for n in 0..40 {
        std::fs::write(folder.join(format!("deep/note-{n}.txt")), format!("Note {n} about harbours and the sea."))
            .unwrap();
    }
    std::fs::write(folder.join("empty.txt"), "").unwrap();
    std::fs::write(folder.join("picture.png"), [0x89, b'P', b'N', b'G', 0, 1, 2]).unwrap();
    std::fs::write(folder.join("liar.html"), [0u8, 159, 146, 150, 0, 0]).unwrap();
    std::fs::write(folder.join("deep/er/umläut ünd späces.md"), "# Titel\n\nEin Text über Gezeiten.").unwrap();
    let args =
        ["demo", folder.to_str().unwrap(), "--exit", "-o", "json", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let finished = run_in(dir.path(), &args, &[]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let report = finished.json();
    assert_eq!(report["lost"], 0, "{report}");
    assert_eq!(report["documents"]["ingested"], 41, "{report}");
    let text = format!("{report}{}", finished.stderr);
    for named in ["empty.txt", "liar.html"] {
        assert!(text.contains(named), "{named} is not named: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_json_asked_for_standard_output_is_json_and_nothing_else() {
    for args in [vec!["explain", "store.locked", "-o", "json"], vec!["config", "show", "-o", "json"]] {
        let finished = run_in(Path::new("/"), &args, &[]).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        finished.json();
    }
}
