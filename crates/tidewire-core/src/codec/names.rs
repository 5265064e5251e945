//! The attributes that are fields of an envelope, by every name they have on a wire.

/// An attribute that is a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    SpecVersion,
    Id,
    Source,
    Type,
    Time,
    PartitionKey,
    Subject,
    DataContentType,
    DataSchema,
    Sequence,
    CorrelationId,
    CausationId,
    TraceParent,
    RecordedTime,
    ExpiryTime,
    DataRef,
}

/// How many there are.
pub(super) const COUNT: usize = 16;

/// The names of one of them.
pub(super) struct Names {
    pub plain: &'static str,
    /// As a header of HTTP and NATS.
    pub dashed: &'static str,
    /// As a header of Kafka.
    pub underscored: &'static str,
}

macro_rules! names {
    ($name:literal) => {
        Names { plain: $name, dashed: concat!("ce-", $name), underscored: concat!("ce_", $name) }
    };
}

/// In the order of [`Known`].
const NAMES: [Names; COUNT] = [
    names!("specversion"),
    names!("id"),
    names!("source"),
    names!("type"),
    names!("time"),
    names!("partitionkey"),
    names!("subject"),
    names!("datacontenttype"),
    names!("dataschema"),
    names!("sequence"),
    names!("correlationid"),
    names!("causationid"),
    names!("traceparent"),
    names!("recordedtime"),
    names!("expirytime"),
    names!("dataref"),
];

impl Known {
    pub(super) const ALL: [Self; COUNT] = [
        Self::SpecVersion,
        Self::Id,
        Self::Source,
        Self::Type,
        Self::Time,
        Self::PartitionKey,
        Self::Subject,
        Self::DataContentType,
        Self::DataSchema,
        Self::Sequence,
        Self::CorrelationId,
        Self::CausationId,
        Self::TraceParent,
        Self::RecordedTime,
        Self::ExpiryTime,
        Self::DataRef,
    ];

    pub(super) fn names(self) -> &'static Names {
        &NAMES[self as usize]
    }

    pub(super) fn name(self) -> &'static str {
        self.names().plain
    }

    /// The one of this name in lower case.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "specversion" => Self::SpecVersion,
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "time" => Self::Time,
            "partitionkey" => Self::PartitionKey,
            "subject" => Self::Subject,
            "datacontenttype" => Self::DataContentType,
            "dataschema" => Self::DataSchema,
            "sequence" => Self::Sequence,
            "correlationid" => Self::CorrelationId,
            "causationid" => Self::CausationId,
            "traceparent" => Self::TraceParent,
            "recordedtime" => Self::RecordedTime,
            "expirytime" => Self::ExpiryTime,
            "dataref" => Self::DataRef,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_is_found_by_its_name() {
        for known in Known::ALL {
            assert_eq!(Known::of(known.name()), Some(known));
        }
        assert_eq!(Known::of("data"), None);
    }
}
