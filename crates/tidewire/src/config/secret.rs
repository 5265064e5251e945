//! Secrets: text that never prints itself, and the files it may come from.

use std::fmt;
use std::path::Path;

/// What `Debug`, `Display` and `config show` print instead of a secret.
pub const MASK: &str = "***";

/// A secret file is a password, a token or a URL; anything longer is a wrong path.
pub const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Values that a template ships and nobody may run with.
const PLACEHOLDERS: [&str; 5] = ["changeme", "change-me", "change_me", "replaceme", "replace-me"];

/// Text that must not be seen. `Debug` and `Display` print a mask; [`expose`](Self::expose) is the one way to the text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretString(String);

impl SecretString {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the call that needs it, never for a log line or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { MASK })
    }
}

impl fmt::Display for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

/// Whether `secret`, or the password inside a URL, is the placeholder of a template.
pub(super) fn is_placeholder(secret: &str) -> bool {
    let lower = secret.trim().to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|placeholder| {
        let in_url = lower.contains(&format!(":{placeholder}@"))
            || lower.contains(&format!("password={placeholder}&"))
            || lower.ends_with(&format!("password={placeholder}"));
        lower == *placeholder || (lower.contains("://") && in_url)
    })
}

/// Why a secret file was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub code: &'static str,
    pub found: String,
    pub expected: &'static str,
    pub hint: String,
}

/// Reads a secret. One trailing line end is trimmed, because editors add it; all else is kept.
/// Ownership is not checked: containers mount secrets as root and drop privileges.
pub(super) fn read_secret_file(path: &Path) -> Result<String, Refused> {
    let refuse = |code, found: String, hint: &str| {
        Err(Refused { code, found, expected: "a readable file that holds only the secret", hint: hint.into() })
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return refuse("config.secret_missing", "no such file".into(), "create the file, or unset the variable");
        }
        Err(error) => {
            return refuse("config.secret_unreadable", error.to_string(), "check the path and its permissions");
        }
    };
    if !meta.is_file() {
        return refuse("config.secret_unreadable", "not a regular file".into(), "name the file itself");
    }
    if meta.len() > SECRET_FILE_BYTES_MAX {
        let found = format!("{} bytes", meta.len());
        return refuse("config.secret_unreadable", found, "a secret file holds at most 64KiB");
    }
    if let Some(mode) = world_readable(&meta) {
        return Err(Refused {
            code: "config.secret_exposed",
            found: format!("mode {mode:04o}, readable by every user"),
            expected: "a file that other users cannot read",
            hint: format!("chmod 600 {}; in Kubernetes set `defaultMode: 0440` on the secret volume", path.display()),
        });
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return refuse("config.secret_unreadable", error.to_string(), "the file must be UTF-8 text"),
    };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return refuse(
            "config.secret_empty",
            "an empty file".into(),
            "write the secret into it, or unset the variable",
        );
    }
    Ok(text.to_owned())
}

/// The permission bits, if everybody may read.
#[cfg(unix)]
pub(super) fn world_readable(meta: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = meta.permissions().mode() & 0o7777;
    (mode & 0o004 != 0).then_some(mode)
}

/// Access lists are not read on other systems.
#[cfg(not(unix))]
pub(super) fn world_readable(_: &std::fs::Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(dir: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        path
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = SecretString::new("canary-7");
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
        assert_eq!(secret.expose(), "canary-7");
    }

    #[test]
    fn one_line_end_is_trimmed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3 \n\n", " s3 \n"), ("x", "x")] {
            let path = file(dir.path(), "s", text.as_bytes(), 0o600);
            assert_eq!(read_secret_file(&path).unwrap(), expected);
        }
    }

    #[test]
    fn files_that_cannot_hold_a_secret_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        let mut cases = vec![
            (d.join("absent"), "config.secret_missing"),
            (d.to_owned(), "config.secret_unreadable"),
            (file(d, "empty", b"", 0o600), "config.secret_empty"),
            (file(d, "blank", b" \n", 0o600), "config.secret_empty"),
            (file(d, "binary", b"\xff\xfe", 0o600), "config.secret_unreadable"),
            (file(d, "huge", &vec![b'a'; 70_000], 0o600), "config.secret_unreadable"),
        ];
        if cfg!(unix) {
            cases.push((file(d, "open", b"secret", 0o644), "config.secret_exposed"));
        }
        for (path, code) in cases {
            assert_eq!(read_secret_file(&path).unwrap_err().code, code, "{}", path.display());
        }
    }

    #[test]
    fn placeholders_are_known_alone_and_inside_urls() {
        for bad in ["changeme", "CHANGEME ", "smtp://u:changeme@host", "postgres://h/d?user=a&password=changeme"] {
            assert!(is_placeholder(bad), "{bad}");
        }
        for good in ["smtp://changeme@host", "changemenot", "postgres://u:p@changeme/d", ""] {
            assert!(!is_placeholder(good), "{good}");
        }
    }
}
