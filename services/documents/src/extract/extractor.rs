use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::child::Header;
use super::{ExtractError, Extracted, MAX_ORIGINAL_BYTES, MAX_TEXT_BYTES, MediaType, Original, extract, media};

/// Plain text up to this size is read in this process: decoding is our own linear code, and starting a
/// child would cost more than the work.
const IN_PROCESS_PLAIN_BYTES: usize = 256 * 1024;

/// Longest answer read from a child: JSON escapes at most double the text, since it has no control
/// characters but line ends and tabs.
const MAX_ANSWER_BYTES: usize = 2 * MAX_TEXT_BYTES + 64 * 1024;

/// How much of a child's standard error is kept, to tell how it died.
const MAX_STDERR_BYTES: usize = 8 * 1024;

/// Limits for extraction children.
#[derive(Debug, Clone)]
pub struct ExtractorOptions {
    /// How long one file may take, from the start of the child. Default 60 s: the slowest honest PDF of
    /// thousands of pages takes a tenth of it.
    pub deadline: Duration,
    /// Address space of one child, in bytes. Default 1 GiB: parsers hold a file several times over.
    pub memory_bytes: u64,
    /// Children at work at the same time. Default 2; further files wait their turn.
    pub concurrency: usize,
}

impl Default for ExtractorOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(60), memory_bytes: 1024 * 1024 * 1024, concurrency: 2 }
    }
}

/// Extracts text in child processes, so that no file can harm this one.
///
/// Cloning is cheap; clones share the bound on children. Dropping a call's future kills its child.
#[derive(Debug, Clone)]
pub struct ExtractorChild {
    program: PathBuf,
    args: Vec<OsString>,
    options: ExtractorOptions,
    slots: Arc<Semaphore>,
}

impl ExtractorChild {
    /// An extractor that starts `program` with `args`; that process must call
    /// [`child_main`](super::child_main).
    pub fn new(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        options: ExtractorOptions,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(options.concurrency.max(1)));
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect(), options, slots }
    }

    /// Extracts the text of one file.
    ///
    /// # Errors
    /// [`ExtractError::Unavailable`] is worth another try, all others are final for this file.
    pub async fn extract(&self, original: Original<'_>) -> Result<Extracted, ExtractError> {
        if original.bytes.len() > MAX_ORIGINAL_BYTES {
            return Err(ExtractError::TooLarge { what: "the file".into(), limit_bytes: MAX_ORIGINAL_BYTES as u64 });
        }
        if media::detect(&original)? == MediaType::Plain && original.bytes.len() <= IN_PROCESS_PLAIN_BYTES {
            return extract(original);
        }
        let _slot = self.slots.acquire().await.map_err(unavailable)?;
        let child = self.start()?;
        match tokio::time::timeout(self.options.deadline, self.converse(child, original)).await {
            Ok(answer) => answer,
            Err(_) => Err(ExtractError::Timeout { after_seconds: self.options.deadline.as_secs().max(1) }),
        }
    }

    fn start(&self) -> Result<Child, ExtractError> {
        Command::new(&self.program)
            .args(&self.args)
            // A parser that is taken over should find no secrets.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(unavailable)
    }

    async fn converse(&self, mut child: Child, original: Original<'_>) -> Result<Extracted, ExtractError> {
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(unavailable("its pipes are missing"));
        };
        let header = self.header(&original).map_err(unavailable)?;
        let say = async move {
            // A child that dies early closes its end; how it died says more than the broken pipe.
            if stdin.write_all(&header).await.is_ok() && stdin.write_all(original.bytes).await.is_ok() {
                let _ = stdin.shutdown().await;
            }
        };
        let (answer, complaint, ()) =
            tokio::join!(read_capped(stdout, MAX_ANSWER_BYTES), read_capped(stderr, MAX_STDERR_BYTES), say);
        let Some(answer) = answer else {
            return Err(ExtractError::Crashed { detail: "it answered without end".into() });
        };
        let status = child.wait().await.map_err(unavailable)?;
        if !status.success() {
            let complaint = complaint.unwrap_or_default();
            return Err(self.cause_of_death(status, &String::from_utf8_lossy(&complaint)));
        }
        parse_answer(&answer)
    }

    fn header(&self, original: &Original<'_>) -> serde_json::Result<Vec<u8>> {
        // Only their ends and beginnings matter; a hostile length must not break the header.
        let cut = |value: &str| value.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect::<String>();
        let mut line = serde_json::to_vec(&Header {
            length: original.bytes.len() as u64,
            content_type: original.content_type.map(|value| value.chars().take(200).collect()),
            file_name: original.file_name.map(cut),
            memory_bytes: self.options.memory_bytes,
            cpu_seconds: self.options.deadline.as_secs().max(1) + 5,
        })?;
        line.push(b'\n');
        Ok(line)
    }

    fn cause_of_death(&self, status: ExitStatus, complaint: &str) -> ExtractError {
        if complaint.contains("has overflowed its stack") {
            ExtractError::TooDeep
        } else if complaint.contains("memory allocation of")
            || complaint.contains("Cannot allocate memory")
            || complaint.contains("cannot allocate memory")
        {
            ExtractError::OutOfMemory { limit_bytes: self.options.memory_bytes }
        } else {
            ExtractError::Crashed { detail: status.to_string() }
        }
    }
}

fn unavailable(reason: impl std::fmt::Display) -> ExtractError {
    ExtractError::Unavailable { reason: reason.to_string() }
}

/// Everything up to the end of the stream, or nothing if it is longer than `cap`.
async fn read_capped(stream: impl AsyncRead + Unpin, cap: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stream = stream.take(cap as u64 + 1);
    // A read error is the end of the stream: what came before it decides.
    let _ = stream.read_to_end(&mut bytes).await;
    (bytes.len() <= cap).then_some(bytes)
}

fn parse_answer(bytes: &[u8]) -> Result<Extracted, ExtractError> {
    let line = bytes.split(|byte| *byte == b'\n').rfind(|line| line.starts_with(b"{"));
    line.and_then(|line| serde_json::from_slice(line).ok())
        .unwrap_or_else(|| Err(ExtractError::Crashed { detail: "it ended without an answer".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Not a test: the process that the tests below start.
    #[test]
    #[ignore = "started as a child by the other tests"]
    fn child_entry() {
        let _ = super::super::child_main();
    }

    fn extractor(options: ExtractorOptions) -> ExtractorChild {
        let me = std::env::current_exe().unwrap();
        ExtractorChild::new(
            me,
            ["--exact", "extract::extractor::tests::child_entry", "--ignored", "--nocapture"],
            options,
        )
    }

    fn data(path: &str) -> Vec<u8> {
        std::fs::read(format!("{}/../../tests/data/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn html(bytes: &[u8]) -> Original<'_> {
        Original { bytes, content_type: Some("text/html"), file_name: None }
    }

    #[tokio::test]
    async fn a_child_gives_the_same_answer() {
        let pdf = data("documents/harbour-handover.pdf");
        let originals = [
            html(b"<title>T \"q\"</title><p>Words \\ and \xC3\xBC</p>"),
            Original { bytes: &pdf, content_type: None, file_name: Some("a.pdf") },
            Original { bytes: b"plain", content_type: None, file_name: None },
            html(b"<p></p>"),
        ];
        let extractor = extractor(ExtractorOptions::default());
        for original in originals {
            assert_eq!(extractor.extract(original).await, extract(original));
        }
    }

    #[tokio::test]
    async fn hostile_files_end_with_their_code() {
        let options = ExtractorOptions { memory_bytes: 512 * 1024 * 1024, ..ExtractorOptions::default() };
        let extractor = extractor(options);
        for (file, code) in [
            ("self-including.pdf", "too_deep"),
            ("bomb.pdf", "out_of_memory"),
            ("circular-pages.pdf", "too_deep"),
            ("deep-arrays.pdf", "corrupt"),
        ] {
            let bytes = data(&format!("hostile/{file}"));
            let error =
                extractor.extract(Original { bytes: &bytes, content_type: None, file_name: None }).await.unwrap_err();
            assert_eq!(error.code(), format!("document.{code}"), "{file}: {error}");
        }
    }

    #[tokio::test]
    async fn a_child_that_hangs_dies_floods_or_lies_is_named() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("/bin/sleep", &["600"], "timeout"),
            ("/bin/false", &[], "crashed"),
            ("/bin/true", &[], "crashed"),
            ("/bin/cat", &["/dev/zero"], "crashed"),
            ("/does/not/exist", &[], "unavailable"),
        ];
        let options = ExtractorOptions { deadline: Duration::from_secs(2), ..ExtractorOptions::default() };
        for (program, args, code) in cases {
            let begun = Instant::now();
            let error =
                ExtractorChild::new(*program, *args, options.clone()).extract(html(b"<p>x</p>")).await.unwrap_err();
            assert_eq!(error.code(), format!("document.{code}"), "{program}: {error}");
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
    }
}
