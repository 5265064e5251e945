//! What a reader accepted although the specification has it otherwise.

use std::fmt;

use super::place::Place;

/// One thing that was read although it is not written as the specification has it. The event is what its writer meant:
/// nothing is accepted that could be understood in two ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What it is.
    pub kind: Departure,
    /// The attribute it is about; `data` for the payload.
    pub attribute: String,
    /// Where it was found.
    pub place: Place,
}

macro_rules! departures {
    ($($(#[doc = $doc:literal])* $kind:ident = $name:literal, $cure:literal;)*) => {
        /// The ways in which an accepted event may depart from the specification.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Departure { $($(#[doc = $doc])* $kind,)* }

        impl Departure {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its stable name, as the vectors have it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What its writer should do instead.
            pub fn cure(self) -> &'static str {
                match self { $(Self::$kind => $cure,)* }
            }
        }
    };
}

departures! {
    /// A header value holds characters that must be percent-encoded.
    NotPercentEncoded = "not_percent_encoded", "percent-encode space, quotation marks, percent signs and all that is not visible ASCII";
    /// A header value stands between quotation marks.
    QuotedValue = "quoted_value", "write the value bare, percent-encoded";
    /// An attribute's name has capitals where names are compared as they are.
    UpperCaseName = "upper_case_name", "write the attribute's name in lower case";
    /// A header is there twice, with the same value.
    RepeatedHeader = "repeated_header", "write every header once";
    /// An attribute has the prefix of another binding (`ce-` on Kafka, `ce_` on NATS).
    OtherPrefix = "other_prefix", "write `ce-` on NATS and HTTP, `ce_` on Kafka";
    /// The media type of the data is only in `Content-Type`, where it belongs into `ce-datacontenttype` (NATS).
    UnprefixedContentType = "unprefixed_content_type", "write the media type into `ce-datacontenttype`";
    /// The media type of the data is an attribute, where it belongs into `Content-Type` (HTTP, Kafka).
    PrefixedContentType = "prefixed_content_type", "write the media type of the data into the header `Content-Type`";
    /// A structured event whose content type does not say so.
    NoContentType = "no_content_type", "set the content type `application/cloudevents+json`";
    /// A content type of structured mode that does not name its format.
    FormatNotNamed = "format_not_named", "name the format: `application/cloudevents+json`";
    /// `specversion` is a number, or names the edition of the document.
    SpecVersionForm = "specversion_form", "write `\"specversion\": \"1.0\"`";
    /// An attribute that is text came as a number or boolean.
    NotText = "not_text", "write the value as a string";
    /// An attribute is null instead of absent.
    NullAttribute = "null_attribute", "leave the attribute out";
    /// An optional attribute is empty instead of absent.
    EmptyAttribute = "empty_attribute", "leave the attribute out";
    /// A time has a space where `T` belongs, or small letters.
    TimeForm = "time_form", "write times as `2026-01-31T12:00:00Z`";
    /// `dataschema` is relative.
    RelativeSchema = "relative_dataschema", "write an absolute URI";
    /// `data_base64` is in the alphabet of URLs.
    Base64Url = "base64_url", "use the standard alphabet, with `+` and `/`";
    /// `data_base64` lacks its padding.
    Base64Unpadded = "base64_unpadded", "pad to a multiple of four characters with `=`";
    /// `data_base64` is broken into lines.
    Base64Whitespace = "base64_whitespace", "write it in one piece";
    /// A byte order mark comes before the JSON.
    ByteOrderMark = "byte_order_mark", "begin with the JSON itself";
    /// Data of no length, said to be JSON.
    EmptyJson = "empty_json_data", "leave the data away, or write JSON such as `null`";
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}` at {}: {}", self.kind, self.attribute, self.place, self.kind.cure())
    }
}
