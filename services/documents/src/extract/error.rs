use serde::{Deserialize, Serialize};

/// Why a file has no text. Each message says what its sender can do.
///
/// All but [`Unavailable`](Self::Unavailable) are final: the same file fails again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExtractError {
    /// Neither text, Markdown, HTML nor PDF.
    #[error("this is {found}, which has no text that can be read; send plain text, Markdown, HTML or PDF")]
    UnsupportedMediaType {
        /// What it seems to be.
        found: String,
    },
    /// A password is needed to open it.
    #[error("the PDF is encrypted and needs a password; remove the protection and send it again")]
    Encrypted,
    /// The file is damaged, or not what it claims to be.
    #[error("the file is damaged ({reason}); open and save it again in the program that made it, then send it again")]
    Corrupt {
        /// What the parser stumbled on.
        reason: String,
    },
    /// The file has no text in it.
    #[error("there is no text in it; if these are scanned pages, run text recognition (OCR) first, then send it again")]
    Empty,
    /// The file, or the text in it, is larger than the limit.
    #[error("{what} is larger than {limit_bytes} bytes; split the document and send the parts")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The file nests its parts deeper than any honest document.
    #[error("its parts are nested too deeply; flatten it, for example by printing it to a new PDF, then send it again")]
    TooDeep,
    /// Reading the file needed more memory than is allowed.
    #[error(
        "reading it needs more than {limit_bytes} bytes of memory; make it simpler, for example by printing it to a new PDF, or split it"
    )]
    OutOfMemory {
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// Reading the file took longer than is allowed.
    #[error(
        "reading it took longer than {after_seconds} seconds; split it, or print it to a new PDF, then send it again"
    )]
    Timeout {
        /// The deadline, in seconds.
        after_seconds: u64,
    },
    /// The parser broke on this file.
    #[error("the parser broke on this file ({detail}); print it to a new PDF or send it as text")]
    Crashed {
        /// How it ended.
        detail: String,
    },
    /// The extractor itself could not be started; the file was not looked at. Try again.
    #[error("text extraction could not be started ({reason}); it is tried again")]
    Unavailable {
        /// What the operating system said.
        reason: String,
    },
}

impl ExtractError {
    /// The stable code, as `tidewire explain` knows it: `document.` and the name on the wire.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedMediaType { .. } => "document.unsupported_media_type",
            Self::Encrypted => "document.encrypted",
            Self::Corrupt { .. } => "document.corrupt",
            Self::Empty => "document.empty",
            Self::TooLarge { .. } => "document.too_large",
            Self::TooDeep => "document.too_deep",
            Self::OutOfMemory { .. } => "document.out_of_memory",
            Self::Timeout { .. } => "document.timeout",
            Self::Crashed { .. } => "document.crashed",
            Self::Unavailable { .. } => "document.unavailable",
        }
    }

    /// Whether the same file may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_on_the_wire() {
        let all = [
            ExtractError::UnsupportedMediaType { found: "a".into() },
            ExtractError::Encrypted,
            ExtractError::Corrupt { reason: "a".into() },
            ExtractError::Empty,
            ExtractError::TooLarge { what: "a".into(), limit_bytes: 1 },
            ExtractError::TooDeep,
            ExtractError::OutOfMemory { limit_bytes: 1 },
            ExtractError::Timeout { after_seconds: 1 },
            ExtractError::Crashed { detail: "a".into() },
            ExtractError::Unavailable { reason: "a".into() },
        ];
        for error in all {
            let json = serde_json::to_value(&error).unwrap();
            assert_eq!(Some(error.code()), json["code"].as_str().map(|code| format!("document.{code}")).as_deref());
            assert_eq!(serde_json::from_value::<ExtractError>(json).unwrap(), error);
        }
    }
}
