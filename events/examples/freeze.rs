//! Writes the schema and the fixture of every new event type or version, and their digests.
//! What is published is never overwritten: `cargo run -p events --example freeze`.

use std::process::ExitCode;

use events::frozen;

fn main() -> std::io::Result<ExitCode> {
    let root = frozen::repository();
    for path in frozen::freeze(&root)? {
        println!("wrote {path}");
    }
    let findings = frozen::check(&root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
