//! Domain events as Rust types.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::draft::Draft;
use crate::envelope::Envelope;
use crate::event_type::EventType;
use crate::key::Key;

/// A domain event: what happened, as data. Its schema is part of the contract with every consumer, so a
/// published version never changes; a new shape is a new version with an [`Event::upcast`] from the last.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidewire_core::{Event, EventType, Key, SchemaError, serde_json::{Value, json}};
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced { order_id: String, currency: String }
///
/// impl Event for OrderPlaced {
///     const TYPE: EventType = EventType::new("order.placed", 2);
///     fn key(&self) -> Key { Key::of("order", &self.order_id) }
///     fn upcast(from: u16, mut data: Value) -> Result<Value, SchemaError> {
///         match from {
///             // Before version 2 there was one currency.
///             1 => { data["currency"] = json!("EUR"); Ok(data) }
///             _ => Err(SchemaError::no_upcast::<Self>(from)),
///         }
///     }
/// }
/// # let upcast = OrderPlaced::upcast(1, json!({"order_id": "1"})).unwrap();
/// # assert_eq!(upcast["currency"], "EUR");
/// ```
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name and current schema version.
    const TYPE: EventType;

    /// The ordering unit this event belongs to.
    fn key(&self) -> Key;

    /// Takes data of version `from` to version `from + 1`. Called as often as needed to reach the current
    /// version. Pure; the default knows no older version.
    fn upcast(from: u16, data: Value) -> Result<Value, SchemaError> {
        let _ = data;
        Err(SchemaError::no_upcast::<Self>(from))
    }

    /// Reads the event from an envelope, through upcasts where the data is older. A newer version than this
    /// build knows is [`SchemaError::Newer`]: park it, a later build will read it.
    fn decode(envelope: &Envelope) -> Result<Self, SchemaError> {
        let found = &envelope.ty;
        if found.name() != Self::TYPE.name() {
            return Err(SchemaError::OtherType { expected: Self::TYPE, found: found.clone() });
        }
        if found.version() > Self::TYPE.version() {
            return Err(SchemaError::Newer { found: found.clone(), known: Self::TYPE.version() });
        }
        let malformed =
            |error: serde_json::Error| SchemaError::Malformed { ty: found.clone(), reason: error.to_string() };
        let data = envelope.data.as_deref().unwrap_or(b"null");
        if found.version() == Self::TYPE.version() {
            return serde_json::from_slice(data).map_err(malformed);
        }
        let mut value: Value = serde_json::from_slice(data).map_err(malformed)?;
        for version in found.version()..Self::TYPE.version() {
            value = Self::upcast(version, value)?;
        }
        serde_json::from_value(value).map_err(malformed)
    }
}

/// A closed set of events, usually an enum made by [`event_set!`](crate::event_set): what one aggregate
/// emits, or one handler reads.
pub trait EventSet: Sized + Send + Sync + 'static {
    /// The current type of each member.
    fn types() -> Vec<EventType>;

    /// Reads a member; `Ok(None)` when the envelope's type is not in the set.
    fn decode(envelope: &Envelope) -> Result<Option<Self>, SchemaError>;

    /// The member as a draft, ready to be appended.
    fn draft(&self) -> Result<Draft, SchemaError>;
}

/// Why data does not fit its event type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The data does not follow the schema. Permanent.
    #[error("data of `{ty}` does not follow its schema: {reason}")]
    Malformed {
        /// The type it claims.
        ty: EventType,
        /// What the parser found.
        reason: String,
    },
    /// Written by a newer build. Park it until this build is replaced; never drop it.
    #[error("`{found}` is newer than this build, which knows up to version {known}")]
    Newer {
        /// The type found.
        found: EventType,
        /// The newest version known here.
        known: u16,
    },
    /// The event type has no upcast from this version. Permanent; a defect of the type.
    #[error("`{ty}` has no upcast from version {from}")]
    NoUpcast {
        /// The current type.
        ty: EventType,
        /// The version that cannot be left.
        from: u16,
    },
    /// The caller asked for another type. Permanent; a defect of the caller.
    #[error("expected `{expected}`, found `{found}`")]
    OtherType {
        /// What was asked for.
        expected: EventType,
        /// What the envelope holds.
        found: EventType,
    },
}

impl SchemaError {
    /// What the default upcast answers, and what a match over known versions ends with.
    pub fn no_upcast<E: Event>(from: u16) -> Self {
        Self::NoUpcast { ty: E::TYPE, from }
    }

    /// The stable code for operators and clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "event.newer_version",
            Self::Malformed { .. } | Self::NoUpcast { .. } | Self::OtherType { .. } => "event.schema_invalid",
        }
    }
}

/// Makes an enum of events an [`EventSet`].
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidewire_core::{Event, EventType, Key, event_set};
/// # #[derive(Serialize, Deserialize)] pub struct Opened { id: String }
/// # impl Event for Opened { const TYPE: EventType = EventType::new("door.opened", 1); fn key(&self) -> Key { Key::of("door", &self.id) } }
/// # #[derive(Serialize, Deserialize)] pub struct Closed { id: String }
/// # impl Event for Closed { const TYPE: EventType = EventType::new("door.closed", 1); fn key(&self) -> Key { Key::of("door", &self.id) } }
/// event_set! {
///     /// What happens to doors.
///     pub enum DoorEvent { Opened(Opened), Closed(Closed) }
/// }
/// let event: DoorEvent = Opened { id: "1".into() }.into();
/// ```
#[macro_export]
macro_rules! event_set {
    ($(#[$meta:meta])* $vis:vis enum $set:ident { $($variant:ident($event:ty)),+ $(,)? }) => {
        $(#[$meta])*
        $vis enum $set {
            $(#[allow(missing_docs)] $variant($event),)+
        }
        impl $crate::EventSet for $set {
            fn types() -> ::std::vec::Vec<$crate::EventType> {
                ::std::vec![$(<$event as $crate::Event>::TYPE),+]
            }
            fn decode(envelope: &$crate::Envelope) -> ::std::result::Result<::std::option::Option<Self>, $crate::SchemaError> {
                $(if envelope.ty.name() == <$event as $crate::Event>::TYPE.name() {
                    return <$event as $crate::Event>::decode(envelope).map(|event| ::std::option::Option::Some(Self::$variant(event)));
                })+
                ::std::result::Result::Ok(::std::option::Option::None)
            }
            fn draft(&self) -> ::std::result::Result<$crate::Draft, $crate::SchemaError> {
                match self { $(Self::$variant(event) => $crate::Draft::of(event)),+ }
            }
        }
        $(impl ::std::convert::From<$event> for $set {
            fn from(event: $event) -> Self { Self::$variant(event) }
        })+
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Placed {
        id: String,
        currency: String,
        lines: u32,
    }
    impl Event for Placed {
        const TYPE: EventType = EventType::new("order.placed", 3);
        fn key(&self) -> Key {
            Key::of("order", &self.id)
        }
        fn upcast(from: u16, mut data: Value) -> Result<Value, SchemaError> {
            match from {
                1 => data["currency"] = json!("EUR"),
                2 => data["lines"] = json!(1),
                _ => return Err(SchemaError::no_upcast::<Self>(from)),
            }
            Ok(data)
        }
    }
    event_set! { #[derive(Debug, PartialEq)] enum Orders { Placed(Placed) } }

    fn envelope(version: u16, data: Value) -> Envelope {
        let clock = ManualClock::new(Default::default(), 1);
        let mut draft = Draft::of(&Placed { id: "1".into(), currency: "USD".into(), lines: 2 }).unwrap();
        draft.data = Some(data.to_string().into());
        let mut envelope = draft.seal(&clock as &dyn Clock, "/orders", None);
        envelope.ty = envelope.ty.at(version);
        envelope
    }

    #[test]
    fn old_data_is_read_through_every_upcast() {
        let found = Orders::decode(&envelope(1, json!({"id": "1"}))).unwrap();
        assert_eq!(found, Some(Orders::Placed(Placed { id: "1".into(), currency: "EUR".into(), lines: 1 })));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert!(matches!(Placed::decode(&envelope(4, json!({}))), Err(SchemaError::Newer { known: 3, .. })));
        assert!(matches!(Placed::decode(&envelope(3, json!({}))), Err(SchemaError::Malformed { .. })));
        let mut other = envelope(1, json!({}));
        other.ty = EventType::new("order.cancelled", 1);
        assert_eq!(Orders::decode(&other), Ok(None));
    }
}
