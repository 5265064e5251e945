//! Prints what is found in files: `cargo run -p documents --example extract -- FILE…`.
//!
//! With `--summary` a line per file. It starts itself once more as the child that does the reading.

use std::process::ExitCode;
use std::time::Instant;

use documents::extract::{ExtractorChild, ExtractorOptions, Original, child_main};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--child") {
        return child_main();
    }
    let summary = args.first().is_some_and(|arg| arg == "--summary");
    if summary {
        args.remove(0);
    }
    match run(&args, summary) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(files: &[String], summary: bool) -> std::io::Result<()> {
    let extractor = ExtractorChild::new(std::env::current_exe()?, ["--child"], ExtractorOptions::default());
    for file in files {
        let bytes = std::fs::read(file)?;
        let begun = Instant::now();
        let result = extractor.extract(Original { bytes: &bytes, content_type: None, file_name: Some(file) }).await;
        let took = begun.elapsed().as_millis();
        match result {
            Ok(found) if summary => println!(
                "ok {took} ms, {} of {} pages, {} bytes, {:?}: {file}",
                found.pages.map_or(0, |pages| pages - found.unreadable_pages.min(pages)),
                found.pages.unwrap_or(0),
                found.text.len(),
                found.title.unwrap_or_default()
            ),
            Ok(found) => {
                println!("# {} ({}, {took} ms)\n\n{}\n", found.title.unwrap_or_default(), found.media_type, found.text)
            }
            Err(error) => println!("{} {took} ms, {error}: {file}", error.code()),
        }
    }
    Ok(())
}
