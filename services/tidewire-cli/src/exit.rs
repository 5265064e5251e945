//! How the process ends: the numbers scripts branch on.

use std::process::ExitCode;

/// The exit codes. They are part of the surface: numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something went wrong that none of the others names.
    Error = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// The state has moved on, or something else holds what is needed.
    Conflict = 4,
    /// Input or configuration was refused.
    Invalid = 5,
    /// The check itself worked, and it found something.
    Findings = 6,
    /// Nothing answers, or not in time.
    Unavailable = 7,
    /// Stopped by a signal before it was done.
    Interrupted = 130,
}

/// The table as the help prints it.
pub const TABLE: &str = "\
Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 invalid input or configuration,
6 findings, 7 unavailable or timed out, 130 interrupted.
With -o json an error is one JSON object {code, message, details, hint} on stderr.";

impl Exit {
    /// What a refused HTTP request means for the caller of a command.
    pub fn of_status(status: u16) -> Self {
        match status {
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            408 | 429 | 502..=504 => Self::Unavailable,
            400..=499 => Self::Invalid,
            _ => Self::Error,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_ends_with_the_number_scripts_expect() {
        for (status, exit) in [
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (400, Exit::Invalid),
            (413, Exit::Invalid),
            (429, Exit::Unavailable),
            (503, Exit::Unavailable),
            (500, Exit::Error),
        ] {
            assert_eq!(Exit::of_status(status), exit, "{status}");
        }
    }
}
