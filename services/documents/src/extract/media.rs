use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ExtractError, Original, decode};

/// The media types text can be extracted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MediaType {
    /// Any text: prose, JSON, source code, logs.
    #[serde(rename = "text/plain")]
    Plain,
    /// CommonMark with the usual extensions.
    #[serde(rename = "text/markdown")]
    Markdown,
    /// HTML and XHTML.
    #[serde(rename = "text/html")]
    Html,
    /// PDF.
    #[serde(rename = "application/pdf")]
    Pdf,
}

impl MediaType {
    /// The name by which the type is registered.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "text/plain",
            Self::Markdown => "text/markdown",
            Self::Html => "text/html",
            Self::Pdf => "application/pdf",
        }
    }

    fn from_declared(essence: &str) -> Option<Self> {
        match essence {
            "text/markdown" | "text/x-markdown" => Some(Self::Markdown),
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            "application/pdf" | "application/x-pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    fn from_extension(extension: &str) -> Option<Self> {
        match extension {
            "txt" | "text" | "log" | "csv" | "rst" | "json" | "yaml" | "yml" | "toml" => Some(Self::Plain),
            "md" | "markdown" | "mdown" | "mkd" => Some(Self::Markdown),
            "html" | "htm" | "xhtml" => Some(Self::Html),
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Decides what a file is. The bytes outrank the declared type, which outranks the file name,
/// because senders are often wrong and browsers guess from names.
pub(super) fn detect(original: &Original<'_>) -> Result<MediaType, ExtractError> {
    let bytes = original.bytes;
    if bytes.is_empty() {
        return Err(ExtractError::Empty);
    }
    let declared = original.content_type.map(essence).unwrap_or_default();
    let by_declaration = MediaType::from_declared(&declared);
    let by_name = original.file_name.and_then(extension).and_then(|ext| MediaType::from_extension(&ext));
    let claims_pdf =
        by_declaration == Some(MediaType::Pdf) || (by_declaration.is_none() && by_name == Some(MediaType::Pdf));

    if bytes.starts_with(b"%PDF-") || (claims_pdf && pdf_header_nearby(bytes)) {
        return Ok(MediaType::Pdf);
    }
    if let Some(found) = binary_signature(bytes) {
        return Err(ExtractError::UnsupportedMediaType { found: found.to_owned() });
    }
    if claims_pdf {
        return Err(ExtractError::Corrupt { reason: "it is called a PDF and has no PDF header".to_owned() });
    }
    if ["image/", "audio/", "video/", "font/"].iter().any(|family| declared.starts_with(family)) {
        return Err(ExtractError::UnsupportedMediaType { found: format!("declared as {declared}") });
    }
    if !decode::looks_like_text(bytes) {
        if pdf_header_nearby(bytes) {
            return Ok(MediaType::Pdf);
        }
        return Err(ExtractError::UnsupportedMediaType { found: "binary data of an unknown kind".to_owned() });
    }
    if let Some(media_type) = by_declaration.or(by_name) {
        return Ok(media_type);
    }
    Ok(if decode::starts_like_html(bytes) { MediaType::Html } else { MediaType::Plain })
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn extension(file_name: &str) -> Option<String> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    (!stem.is_empty() && extension.len() <= 8).then(|| extension.to_ascii_lowercase())
}

/// Viewers accept junk before the header; the customary window is the first kilobyte.
fn pdf_header_nearby(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(1024)].windows(5).any(|window| window == b"%PDF-")
}

/// Kinds of files people really upload, told by their first bytes.
fn binary_signature(bytes: &[u8]) -> Option<&'static str> {
    const SIGNATURES: &[(&[u8], &str)] = &[
        (b"PK\x03\x04", "a ZIP archive or an Office document"),
        (b"PK\x05\x06", "an empty ZIP archive"),
        (b"\x89PNG\r\n", "a PNG image"),
        (b"\xFF\xD8\xFF", "a JPEG image"),
        (b"GIF87a", "a GIF image"),
        (b"GIF89a", "a GIF image"),
        (b"II*\0", "a TIFF image"),
        (b"MM\0*", "a TIFF image"),
        (b"RIFF", "a WAV, AVI or WebP file"),
        (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an old Office document"),
        (b"\x1F\x8B", "a gzip file"),
        (b"BZh", "a bzip2 file"),
        (b"\xFD7zXZ\0", "an xz file"),
        (b"\x28\xB5\x2F\xFD", "a Zstandard file"),
        (b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive"),
        (b"Rar!\x1A\x07", "a RAR archive"),
        (b"\x7FELF", "a program"),
        (b"MZ\x90\0", "a program"),
        (b"\xCA\xFE\xBA\xBE", "a program"),
        (b"OggS", "an Ogg sound or video"),
        (b"ID3", "an MP3 sound"),
        (b"fLaC", "a FLAC sound"),
        (b"\x1A\x45\xDF\xA3", "a Matroska or WebM video"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"%!PS", "a PostScript file"),
        (b"{\\rtf", "a Rich Text file"),
        (b"wOFF", "a font"),
        (b"wOF2", "a font"),
    ];
    if bytes.len() > 12 && &bytes[4..8] == b"ftyp" {
        return Some("an MP4, MOV or HEIC file");
    }
    SIGNATURES.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_outrank_declaration_outranks_name() {
        type Case = (&'static [u8], Option<&'static str>, Option<&'static str>, MediaType);
        let cases: &[Case] = &[
            (b"%PDF-1.4\n", None, None, MediaType::Pdf),
            (b"%PDF-1.4\n", Some("text/plain"), Some("a.txt"), MediaType::Pdf),
            (b"junk\n%PDF-1.4\n", Some("application/pdf"), None, MediaType::Pdf),
            (b"The header is %PDF-1.4, as said", None, Some("pdf.md"), MediaType::Markdown),
            (b"<!DOCTYPE html><p>x", None, None, MediaType::Html),
            (b"\xEF\xBB\xBF \n<!-- c --> <HTML lang=en>", None, None, MediaType::Html),
            (b"<?xml version=\"1.0\"?><!doctype HTML>", Some("application/octet-stream"), None, MediaType::Html),
            (b"<p>x", Some("TEXT/HTML; charset=utf-8"), None, MediaType::Html),
            (b"<p>x", None, Some("PAGE.HTM"), MediaType::Html),
            (b"<p>x", None, None, MediaType::Plain),
            (b"# Title", Some("text/markdown"), None, MediaType::Markdown),
            (b"# Title", Some("application/octet-stream"), Some("notes.md"), MediaType::Markdown),
            (b"# Title", None, Some(".md"), MediaType::Plain),
            (b"{\"a\":1}", Some("application/json"), None, MediaType::Plain),
            (b"a=1", Some("application/x-www-form-urlencoded"), None, MediaType::Plain),
        ];
        for (bytes, content_type, file_name, want) in cases {
            let got = detect(&Original { bytes, content_type: *content_type, file_name: *file_name });
            assert_eq!(got.as_ref(), Ok(want), "{:?} {content_type:?} {file_name:?}", String::from_utf8_lossy(bytes));
        }
    }
}
