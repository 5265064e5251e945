//! What Kafka's errors mean to a caller.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tidewire_core::BrokerError;

/// Whether trying again cannot help because of who is asking.
pub(super) fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    matches!(
        code,
        Authentication
            | SaslAuthenticationFailed
            | UnsupportedSASLMechanism
            | IllegalSASLState
            | TopicAuthorizationFailed
            | GroupAuthorizationFailed
            | ClusterAuthorizationFailed
            | TransactionalIdAuthorizationFailed
            | SecurityDisabled
    )
}

/// Whether the topic is not there (any more).
pub(super) fn is_unknown_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::*;
    matches!(code, UnknownTopic | UnknownTopicOrPartition | UnknownPartition | UnknownTopicId)
}

pub(super) fn from_kafka(what: &str, error: &KafkaError) -> BrokerError {
    match error {
        // librdkafka repeats the value in its description, which may be a secret.
        KafkaError::ClientConfig(_, _, name, _) => {
            BrokerError::Invalid(format!("the Kafka client does not take the setting `{name}` as it is"))
        }
        KafkaError::ClientCreation(reason) => {
            BrokerError::Invalid(format!("the Kafka client cannot be made: {reason}"))
        }
        other => match other.rdkafka_error_code() {
            Some(code) => from_code(what, code),
            None => BrokerError::Unavailable(format!("{what}: {other}")),
        },
    }
}

pub(super) fn from_code(what: &str, code: RDKafkaErrorCode) -> BrokerError {
    let text = format!("{what}: {code}");
    if is_denied(code) { BrokerError::Denied(text) } else { BrokerError::Unavailable(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_asks_for_its_own_reaction() {
        let of = |code| from_kafka("reading", &KafkaError::MetadataFetch(code));
        assert!(matches!(of(RDKafkaErrorCode::SaslAuthenticationFailed), BrokerError::Denied(_)));
        assert!(matches!(of(RDKafkaErrorCode::TopicAuthorizationFailed), BrokerError::Denied(_)));
        assert!(matches!(of(RDKafkaErrorCode::AllBrokersDown), BrokerError::Unavailable(_)));
        let mut config = rdkafka::ClientConfig::new();
        let error =
            config.set("linger.ms", "hunter2").create::<rdkafka::consumer::BaseConsumer>().map(|_| ()).unwrap_err();
        let error = from_kafka("opening", &error);
        assert!(matches!(&error, BrokerError::Invalid(reason) if !reason.contains("hunter2")), "{error}");
    }
}
