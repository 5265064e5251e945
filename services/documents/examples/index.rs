//! Measures the index: `cargo run --release -p documents --example index -- FOLDER N`.
//!
//! Opens the index in FOLDER, puts N small documents alone and N at once, and prints times and memory.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::DateTime;
use documents::index::{Index, IndexError, IndexedDocument, SearchRequest};

fn document(id: String) -> IndexedDocument {
    IndexedDocument {
        id,
        workspace: "w".to_owned(),
        title: Some("Of tides".to_owned()),
        text: "The water rises for six hours and falls for six. Whoever waits will see it. ".repeat(40),
        media_type: "text/plain".to_owned(),
        ingested: DateTime::UNIX_EPOCH,
    }
}

/// Resident memory that is this process's own, in KiB; nothing where it cannot be told.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?.trim().trim_end_matches(" kB").parse().ok()
}

fn report(what: &str, took: Duration) {
    println!("{what}: {took:?}, {} KiB resident", resident().unwrap_or_default());
}

#[tokio::main]
async fn main() -> Result<(), IndexError> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| "index".to_owned());
    let count: usize = args.next().and_then(|count| count.parse().ok()).unwrap_or(100);

    let begun = Instant::now();
    let index = Index::open(Path::new(&folder))?;
    report("open", begun.elapsed());
    let begun = Instant::now();
    for n in 0..count {
        index.put(document(format!("alone{n}"))).await?;
    }
    report("each put alone", begun.elapsed() / u32::try_from(count.max(1)).unwrap_or(1));
    let begun = Instant::now();
    let puts: Vec<_> = (0..count)
        .map(|n| {
            let index = index.clone();
            tokio::spawn(async move { index.put(document(format!("together{n}"))).await })
        })
        .collect();
    for put in puts {
        if let Ok(result) = put.await {
            result?;
        }
    }
    report("puts at once, all", begun.elapsed());
    let begun = Instant::now();
    let request = SearchRequest { q: "water".to_owned(), workspace: "w".to_owned(), limit: 20, offset: 0 };
    let found = index.search(request).await?;
    report("search", begun.elapsed());
    println!("{} hits of {} documents, {} flushes", found.hits.len(), index.count("w").await?, index.flushes());
    Ok(())
}
