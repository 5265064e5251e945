//! How long the fields of events may be, in characters unless said otherwise. Part of the published schemas:
//! raising one is a new version of every event that uses it.

/// A user id: what fits a URL segment and a database key without a second thought.
pub const USER_ID: usize = 64;
/// The name a user goes by.
pub const NAME: usize = 200;
/// An e-mail address, by RFC 5321.
pub const EMAIL: usize = 254;
/// What somebody did, such as `page.viewed`.
pub const ACTION: usize = 100;
/// What it was done to.
pub const OBJECT: usize = 512;
/// Members of an activity's metadata. An activity is a fact, not a dump.
pub const METADATA: usize = 64;
/// The id of a document.
pub const DOCUMENT_ID: usize = 64;
/// The name of a workspace.
pub const WORKSPACE: usize = 64;
/// A document's title. What a PDF claims as its title may be of any length; [`cut`] it.
pub const TITLE: usize = 500;
/// A file name, by the limit of most file systems.
pub const FILENAME: usize = 255;
/// A media type with its parameters, by RFC 6838 (127 for each half) and some room.
pub const MEDIA_TYPE: usize = 300;
/// The name of an object in the object store, as S3 has it.
pub const OBJECT_KEY: usize = 1_024;
/// A stable code, such as `document.encrypted`.
pub const CODE: usize = 64;
/// A reason, for people.
pub const REASON: usize = 2_000;
/// A language, as BCP 47 has it.
pub const LANGUAGE: usize = 35;
/// Keywords of one document: more than a reader takes in.
pub const KEYWORDS: usize = 32;
/// One keyword.
pub const KEYWORD: usize = 100;
/// Entities reported for one document.
pub const ENTITIES: usize = 100;
/// Near-duplicates reported for one document.
pub const DUPLICATES: usize = 20;

/// `text` without what is beyond `limit` characters; a cut text ends in an ellipsis.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("größe", 5), "größe");
        assert_eq!(cut("größer", 5), "größ…");
        assert_eq!(cut("", 0), "");
        assert_eq!(cut("ab", 1), "…");
    }
}
