//! Prints what is told from text files: `cargo run -p enrichment --example analyze -- FILE…`.

use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
        let begun = Instant::now();
        let analysis = enrichment::analysis::analyze(&text)?;
        eprintln!("{file}: {} bytes in {:?}", text.len(), begun.elapsed());
        println!("{}", serde_json::to_string_pretty(&analysis)?);
    }
    Ok(())
}
