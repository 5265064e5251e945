//! Log lines: to stderr and nowhere else, as text for people or JSON for machines.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not a filter. The configuration checks this, so only a value changed in code gets here.
    #[error("log.level is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Somebody has set up logging already. Keep that one; lines go where it sends them.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up logging for the whole process; call it once, in the binary, before any other work.
///
/// Text carries colours where `log.color` and the terminal allow it (`NO_COLOR` arrives through the
/// configuration). A stderr that is closed or full loses lines and harms nothing else.
///
/// # Errors
/// [`TelemetryError`]; the process may go on without its own logging.
pub fn init(log: &LogConfig) -> Result<(), TelemetryError> {
    let terminal = io::stderr().is_terminal();
    subscriber(log, terminal, || Lossy(io::stderr()))?.try_init()?;
    Ok(())
}

type Boxed = Box<dyn Subscriber + Send + Sync>;

fn subscriber<W>(log: &LogConfig, terminal: bool, writer: W) -> Result<Boxed, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(&log.level)?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    Ok(if json {
        // JSON strings escape control characters by themselves.
        Box::new(registry.with(layer.json().flatten_event(true).with_ansi(false)))
    } else {
        let fields = format::debug_fn(write_field).delimited(" ");
        Box::new(registry.with(layer.fmt_fields(fields).with_ansi(log.color.on(terminal))))
    })
}

/// `name=value` with every control character of the value made visible: text from outside can
/// neither start a line of its own nor send escapes to a terminal.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let name = field.name().trim_start_matches("r#");
    if name != "message" && writer.has_ansi_escapes() {
        write!(writer, "\u{1b}[2m{name}=\u{1b}[0m")?;
    } else if name != "message" {
        write!(writer, "{name}=")?;
    }
    write!(Escaped(writer), "{value:?}")
}

struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            // U+2028 and U+2029 end lines in some viewers; the bidirectional marks reorder them.
            let forges = c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if forges {
                write!(self.0, "{}", c.escape_default())?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A sink that never fails: a closed stderr must not stop the work that is being logged.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(pairs: &[(&str, &str)], terminal: bool, log: impl FnOnce()) -> String {
        let config = Config::with(pairs.iter().copied()).unwrap();
        let buffer = Buffer::default();
        let sink = buffer.clone();
        let subscriber = subscriber(&config.log, terminal, move || sink.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    const FORGED: &str = "x\n2026-01-01 ERROR forged\u{1b}[31m\u{2028}y";

    fn hostile() {
        let span = tracing::info_span!("handle", key = %FORGED);
        let _guard = span.enter();
        tracing::info!(text = FORGED, display = %FORGED, "message {FORGED}");
    }

    #[test]
    fn values_cannot_forge_lines_or_send_escapes() {
        for format in ["text", "json"] {
            let out = lines(&[("log.format", format)], false, hostile);
            assert_eq!(out.lines().count(), 1, "{out}");
            assert!(out.contains("forged"), "{out}");
            let raw = if format == "json" { &out.replace('\u{2028}', "") } else { &out };
            assert!(!raw.trim_end().chars().any(|c| c.is_control() || c == '\u{2028}'), "{out:?}");
        }
    }

    #[test]
    fn auto_is_text_on_a_terminal_and_json_elsewhere() {
        let log = || tracing::info!(consumer = "feed", "ready");
        let plain = lines(&[("log.color", "never")], true, log);
        assert!(plain.contains("ready consumer=\"feed\"") && !plain.contains('\u{1b}'), "{plain:?}");
        assert!(lines(&[], true, log).contains('\u{1b}'));
        let json: serde_json::Value = serde_json::from_str(&lines(&[], false, log)).unwrap();
        assert_eq!((json["message"].as_str(), json["consumer"].as_str()), (Some("ready"), Some("feed")));
    }

    #[test]
    fn the_level_filters() {
        let out = lines(&[("log.level", "warn"), ("log.format", "text")], false, || {
            tracing::info!("quiet");
            tracing::warn!("loud");
        });
        assert!(out.contains("loud") && !out.contains("quiet"), "{out}");
    }

    #[test]
    fn a_broken_sink_is_not_an_error() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut sink = Lossy(Broken);
        assert_eq!(sink.write(b"line").unwrap(), 4);
        sink.flush().unwrap();
    }
}
