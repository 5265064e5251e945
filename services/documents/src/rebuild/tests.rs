use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use events::{
    DocumentExtracted, DocumentIndexed, DocumentIndexingRequested, DocumentIngested, DocumentRejected,
    DocumentSubmitted, DocumentUnindexingRequested,
};
use serde_json::Value;
use tempfile::TempDir;
use tidewire::Service;
use tidewire::config::Config;
use tidewire::testing::Bench;

use super::place::{COLLECTION, ID};
use super::*;
use crate::service::{DocumentsError, service};

const DEADLINE: Duration = Duration::from_secs(30);
const WORKSPACE: &str = "w";

/// The service on a store that outlives it.
struct House {
    bench: Bench,
    config: Config,
    objects: Objects,
    dir: TempDir,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::with([("data_dir", dir.path().to_str().unwrap())]).unwrap();
        let bench = Bench::new(|_, _| Service::new("none"), &[]).await;
        Self { bench, objects: Objects::from_config(&config).unwrap(), config, dir }
    }

    fn index_dir(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    /// Starts the service anew. The lock of the last one may be held for a moment by its writer's thread.
    async fn start(&mut self) {
        self.bench.service = Service::new("none");
        let deadline = Instant::now() + DEADLINE;
        self.bench.service = loop {
            match service(&self.bench.ports, &self.config) {
                Err(DocumentsError::Index(IndexError::Locked { .. })) if Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                started => break started.unwrap(),
            }
        };
    }

    /// Lets the rebuild of the service run to its end.
    async fn rebuild(&mut self) {
        let all = &mut self.bench.service.background;
        let at = all.iter().position(|background| background.name == "documents.rebuild").unwrap();
        let run = all.remove(at).run;
        tokio::time::timeout(DEADLINE, run(CancellationToken::new())).await.unwrap();
    }

    /// A rebuild in small steps on an index of its own holding, with no service around it.
    async fn by_hand(&mut self) -> Rebuild {
        self.start().await;
        self.bench.service = Service::new("none");
        let deadline = Instant::now() + DEADLINE;
        let index = loop {
            match open(&self.index_dir(), self.bench.ports.clock.as_ref()) {
                Err(IndexError::Locked { .. }) if Instant::now() < deadline => tokio::task::yield_now().await,
                opened => break opened.unwrap(),
            }
        };
        let rebuild = Rebuild::new(self.bench.ports.clone(), self.objects.clone(), Arc::new(index));
        Rebuild { batch: 3, ..rebuild }
    }

    /// Loses the index with its folder, once nobody writes there any more.
    async fn lose_index(&mut self) {
        drop(self.by_hand().await);
        let deadline = Instant::now() + DEADLINE;
        // The engine may still be merging what nobody needs any more.
        while fs::remove_dir_all(self.index_dir()).is_err() {
            assert!(Instant::now() < deadline, "somebody keeps writing to the index");
            tokio::task::yield_now().await;
        }
    }

    /// Takes a document through the steps, up to being indexed.
    async fn index(&self, id: &str) {
        let (document_id, workspace) = (id.to_owned(), WORKSPACE.to_owned());
        let object = ObjectKey::of_document(id, "text").unwrap();
        self.objects.put(&object, Bytes::from(format!("The tide of {id}"))).await.unwrap();
        let submitted = DocumentSubmitted {
            document_id: document_id.clone(),
            workspace: workspace.clone(),
            title: None,
            media_type: "application/octet-stream".into(),
            bytes: 1,
            filename: None,
            sha256: "0".repeat(64),
            original: format!("incoming/{id}"),
        };
        let extracted = DocumentExtracted {
            document_id: document_id.clone(),
            title: Some(format!("Title {id}")),
            media_type: "text/html".into(),
            characters: 10,
            chunks: 1,
            pages: None,
            language: None,
            object: format!("extracted/{id}"),
        };
        let title = extracted.title.clone();
        let asked = DocumentIndexingRequested { document_id, workspace, title, object: object.as_str().into() };
        self.bench.emit(&submitted).await;
        self.bench.emit(&extracted).await;
        self.bench.emit(&asked).await;
    }

    async fn ingest(&self, ids: &[String]) {
        for id in ids {
            self.index(id).await;
        }
        self.bench.settle().await;
        for id in ids {
            let ingested = DocumentIngested {
                document_id: id.clone(),
                workspace: WORKSPACE.into(),
                title: Some(format!("Title {id}")),
                filename: None,
                characters: 10,
                chunks: 1,
                language: None,
                keywords: Vec::new(),
            };
            self.bench.emit(&ingested).await;
        }
        self.bench.settle().await;
    }

    async fn withdraw(&self, id: &str) {
        let (document_id, workspace) = (id.to_owned(), WORKSPACE.to_owned());
        self.bench.emit(&DocumentUnindexingRequested { document_id, workspace }).await;
    }

    async fn reject(&self, id: &str) {
        self.index(id).await;
        self.bench.settle().await;
        self.withdraw(id).await;
        let rejected = DocumentRejected {
            document_id: id.into(),
            workspace: WORKSPACE.into(),
            title: None,
            filename: None,
            code: "enrichment.failed".into(),
            reason: "for the test".into(),
        };
        self.bench.emit(&rejected).await;
        self.bench.settle().await;
    }

    /// What search answers, in an order and without scores, which depend on how the index came about.
    async fn found(&self) -> Vec<(String, Value)> {
        let answer = self.bench.get("/v1/search?q=tide&workspace=w&limit=100").await;
        let hit = |hit: &Value| {
            let mut hit = hit.clone();
            hit.as_object_mut().unwrap().remove("score");
            (hit["document"].as_str().unwrap().to_owned(), hit)
        };
        let mut hits: Vec<_> = answer["items"].as_array().unwrap().iter().map(hit).collect();
        hits.sort_by(|one, other| one.0.cmp(&other.0));
        hits
    }

    async fn has_place(&self) -> bool {
        self.bench.ports.store.documents(COLLECTION, &[ID.to_owned()]).await.unwrap()[0].is_some()
    }

    fn set_aside(&self) -> usize {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("index.damaged-2026")).count()
    }
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("d{n:02}")).collect()
}

#[tokio::test]
async fn whatever_happened_to_the_index_search_finds_everything_again() {
    let mut house = House::new().await;
    house.start().await;
    house.rebuild().await;
    assert!(!house.has_place().await, "there was nothing to rebuild");
    house.ingest(&ids(BATCH + 8)).await;
    house.reject("rejected").await;
    let before = house.found().await;
    assert_eq!(before.len(), BATCH + 8);
    let meta = |dir: &Path| dir.join("meta.json");
    let remove = |dir: &Path, extension: &str| {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|found| found == extension) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    type Damage<'a> = (&'a str, usize, &'a dyn Fn(&Path));
    let damages: [Damage; 5] = [
        ("nothing", 0, &|_| {}),
        ("garbage", 1, &|dir| fs::write(meta(dir), b"{garbage").unwrap()),
        ("segment gone", 1, &|dir| remove(dir, "idx")),
        ("outdated", 1, &|dir| {
            let text = fs::read_to_string(meta(dir)).unwrap().replace("prose1", "prose0");
            fs::write(meta(dir), text).unwrap();
        }),
        ("folder gone", 0, &|dir| fs::remove_dir_all(dir).unwrap()),
    ];
    for (name, aside, damage) in damages {
        let already = house.set_aside();
        drop(house.by_hand().await);
        damage(&house.index_dir());
        house.start().await;
        if name != "nothing" {
            assert_eq!(house.found().await, [], "{name}: nothing is rebuilt before the service has started");
        }
        house.rebuild().await;
        assert_eq!(house.found().await, before, "{name}");
        assert_eq!(house.set_aside() - already, aside, "{name}");
        assert!(!house.has_place().await, "{name}");
    }
}

#[tokio::test]
async fn after_a_kill_it_goes_on_where_it_was() {
    let mut house = House::new().await;
    house.start().await;
    house.ingest(&ids(10)).await;
    house.lose_index().await;
    let rebuild = house.by_hand().await;
    let mut place = rebuild.begin().await.unwrap();
    for _ in 0..2 {
        place = rebuild.advance(place).await.unwrap().unwrap();
    }
    assert_eq!((place.looked_at, rebuild.index.count(WORKSPACE).await.unwrap()), (6, 6));
    // Only whoever begins anew puts this one again.
    rebuild.index.remove("d00").await.unwrap();
    // Put, the place not saved, and taken back by an undo that came before the put.
    rebuild.index.put(rebuild.load("d08").await.unwrap().unwrap()).await.unwrap();
    house.withdraw("d08").await;
    drop(rebuild);

    let stopped = CancellationToken::new();
    stopped.cancel();
    house.by_hand().await.run(&stopped).await;
    assert!(house.has_place().await, "who is stopped has not finished");

    house.start().await;
    house.rebuild().await;
    let found: Vec<String> = house.found().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ["d01", "d02", "d03", "d04", "d05", "d06", "d07", "d09"]);
    assert!(!house.has_place().await);
}

#[tokio::test]
async fn a_place_reached_in_another_index_is_not_believed() {
    let mut house = House::new().await;
    house.start().await;
    house.ingest(&ids(8)).await;
    for _ in 0..2 {
        house.lose_index().await;
        let rebuild = house.by_hand().await;
        let place = rebuild.begin().await.unwrap();
        assert_eq!(place.after, None);
        rebuild.advance(place).await.unwrap().unwrap();
    }
    house.lose_index().await;
    // A kill between the index's note and the place.
    let rebuild = house.by_hand().await;
    rebuild.index.set_coverage(Coverage::Rebuilding { rebuild: "another".into() }).await.unwrap();
    assert!(house.has_place().await);
    assert_eq!(rebuild.begin().await.unwrap().after, None);
    drop(rebuild);
    house.lose_index().await;
    house.start().await;
    // Ingestion comes first: the index is not empty any more when the rebuild looks.
    house.ingest(&["e".to_owned()]).await;
    assert_eq!(house.found().await.len(), 1);
    house.start().await;
    house.rebuild().await;
    assert_eq!(house.found().await.len(), 9);
}

#[tokio::test]
async fn what_was_taken_back_or_lost_its_text_stays_out() {
    let mut house = House::new().await;
    house.start().await;
    house.ingest(&ids(4)).await;
    let rebuild = house.by_hand().await;
    let late = rebuild.load("d01").await.unwrap().unwrap();
    house.withdraw("d01").await;
    rebuild.put(vec![late]).await.unwrap();
    assert!(!rebuild.index.contains("d01").await.unwrap());
    drop(rebuild);

    house.objects.delete(&ObjectKey::of_document("d02", "text").unwrap()).await.unwrap();
    house.lose_index().await;
    house.start().await;
    house.rebuild().await;
    let found: Vec<String> = house.found().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ["d00", "d03"]);
}

/// Indexed by its own step before the index was lost, and nobody has said yet how its ingestion ends.
#[tokio::test]
async fn what_is_still_being_ingested_is_not_forgotten() {
    let mut house = House::new().await;
    house.start().await;
    house.index("early").await;
    house.bench.settle().await;
    house.lose_index().await;
    house.start().await;
    house.rebuild().await;
    let found: Vec<String> = house.found().await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ["early"]);
}

/// The listing is a projection, so after a crash it may know of less than was indexed.
#[tokio::test]
async fn the_listing_is_waited_for() {
    let mut house = House::new().await;
    house.index("late").await;
    house.bench.emit(&DocumentIndexed { document_id: "late".into(), chunks: 1 }).await;
    house.start().await;
    // Without the step that indexes, which would put it, too.
    house.bench.service.handlers.retain(|handler| handler.consumer().name == Listing::NAME);
    let all = &mut house.bench.service.background;
    let at = all.iter().position(|background| background.name == "documents.rebuild").unwrap();
    let run = tokio::spawn((all.remove(at).run)(CancellationToken::new()));
    tokio::task::yield_now().await;
    house.bench.settle().await;
    tokio::time::timeout(DEADLINE, run).await.unwrap().unwrap();
    assert_eq!(house.found().await.len(), 1);
}

/// The projection of the service.
fn search(house: &House) -> Arc<dyn tidewire::replay::Elsewhere> {
    house.bench.service.elsewhere[0].clone()
}

#[tokio::test]
async fn search_is_rebuilt_beside_the_live_index_and_takes_its_place() {
    let mut house = House::new().await;
    house.start().await;
    house.rebuild().await;
    house.ingest(&ids(BATCH + 8)).await;
    house.reject("rejected").await;
    let before = house.found().await;
    let stop = CancellationToken::new();
    let compared = search(&house).rebuild(true, &stop).await.unwrap();
    assert_eq!((compared.rows, compared.differing), (BATCH as u64 + 8, 0), "{compared:?}");
    assert_eq!(house.found().await, before);
    assert!(house.dir.path().join("index~2").is_dir() && !house.index_dir().exists());
    // What comes while the next one is built is in it, and the next start finds it.
    let later: Vec<String> = (0..20).map(|n| format!("later{n:02}")).collect();
    let (compared, ()) =
        tokio::join!(async { search(&house).rebuild(false, &stop).await.unwrap() }, house.ingest(&later));
    assert_eq!(compared.differing, 0, "{compared:?}");
    let after = house.found().await;
    assert_eq!(after.len(), BATCH + 8 + later.len());
    house.start().await;
    house.rebuild().await;
    assert_eq!(house.found().await, after);
}

#[tokio::test]
async fn a_live_index_that_lacks_something_is_told_from_the_rebuilt_one() {
    let mut house = House::new().await;
    house.start().await;
    house.rebuild().await;
    house.ingest(&ids(5)).await;
    let before = house.found().await;
    let by_hand = house.by_hand().await;
    by_hand.index.remove("d03").await.unwrap();
    drop(by_hand);
    house.start().await;
    assert_eq!(house.found().await.len(), 4);
    let stop = CancellationToken::new();
    let compared = search(&house).rebuild(true, &stop).await.unwrap();
    assert_eq!(
        (compared.differing, compared.first[0].id.as_str(), compared.first[0].what.as_str()),
        (1, "d03", "added")
    );
    assert_eq!(house.found().await.len(), 4, "it was not swapped");
    search(&house).rebuild(false, &stop).await.unwrap();
    assert_eq!(house.found().await, before);
    // Told to stop, it leaves nothing behind.
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert!(search(&house).rebuild(false, &stopped).await.unwrap_err().is_transient());
    assert_eq!(house.found().await, before);
}
