//! What librdkafka says on the way, into our log.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Logs a line of librdkafka. Its own levels are too loud: a lost connection is an error to it, and mends itself.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    use RDKafkaLogLevel::*;
    match level {
        Emerg | Alert | Critical => tracing::error!(target: "kafka", facility, "{line}"),
        Error | Warning => tracing::warn!(target: "kafka", facility, "{line}"),
        Notice | Info | Debug => tracing::debug!(target: "kafka", facility, "{line}"),
    }
}

/// Logs an error that librdkafka deals with itself.
pub(super) fn error(error: &KafkaError, reason: &str) {
    tracing::warn!(target: "kafka", %error, "{reason}");
}

/// For clients that only ask.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self::error(&error, reason);
    }
}

impl ConsumerContext for Quiet {}
