//! The child's side: limits itself, reads one file from standard input, answers with one line.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::{ExtractError, Extracted, MAX_ORIGINAL_BYTES, Original, extract};

/// Longest header line: a file name and a content type fit many times over.
const MAX_HEADER_BYTES: u64 = 16 * 1024;

/// Stack for the parser. PDF objects nest, and the parsers recurse; the pages are only reserved.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What the parent says before the bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) length: u64,
    pub(super) content_type: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
}

/// The whole life of an extraction child: call it first thing in `main`, before any runtime starts, when
/// the process was started for it, and exit with what it returns.
///
/// It reads a header line in JSON and then the file from standard input, limits its own memory and
/// processor time, and writes one JSON line to standard output. The exit code is 0 also when the file
/// cannot be read; everything else means that the parser broke.
#[must_use]
pub fn child_main() -> ExitCode {
    // A parser's panic is reported in the answer; its text on standard error would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    match run(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("text extraction failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = String::new();
    input.by_ref().take(MAX_HEADER_BYTES).read_line(&mut line)?;
    let header: Header = serde_json::from_str(&line)?;
    if header.length > MAX_ORIGINAL_BYTES as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is longer than the limit"));
    }
    limit(&header)?;
    let mut bytes = Vec::new();
    input.take(header.length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != header.length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ended early"));
    }
    let answer = on_deep_stack(&header, bytes);
    // A line of its own, whatever a parser may have printed before.
    output.write_all(b"\n")?;
    serde_json::to_writer(&mut output, &answer)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn limit(header: &Header) -> io::Result<()> {
    let at_most = |value| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::As, at_most(header.memory_bytes))?;
    // The parent's deadline is the real one; this ends a child whose parent was killed.
    setrlimit(Resource::Cpu, at_most(header.cpu_seconds))?;
    setrlimit(Resource::Core, at_most(0))?;
    Ok(())
}

fn on_deep_stack(header: &Header, bytes: Vec<u8>) -> Result<Extracted, ExtractError> {
    let (content_type, file_name) = (header.content_type.clone(), header.file_name.clone());
    let work = move || {
        extract(Original { bytes: &bytes, content_type: content_type.as_deref(), file_name: file_name.as_deref() })
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => Err(ExtractError::Crashed { detail: super::panic_text(&*panic) }),
        Err(_) => Err(ExtractError::OutOfMemory { limit_bytes: header.memory_bytes }),
    }
}
