//! What a demo says at its end: one object for scripts, a page for people.

use serde_json::{Value, json};
use tidewire::operate::Audit;

use super::library::Library;
use super::people::Counted;
use crate::output::table::{self, Look, number, text};
use crate::output::text as safe;

/// How many failures and skipped files people are shown; scripts get all.
const SHOWN: usize = 20;

/// Everything a demo found out.
#[derive(Debug)]
pub struct Report {
    /// Follows, notifications, activities.
    pub people: Counted,
    /// The documents.
    pub library: Library,
    /// Every event looked up.
    pub audit: Audit,
    /// Deliveries that the inbox recognised.
    pub duplicates: u64,
    /// From the first request until everything had settled.
    pub seconds: f64,
    /// A search and its first hit.
    pub search: Option<(String, Value)>,
    /// Where it answers.
    pub url: String,
    /// Where its data is.
    pub data_dir: String,
    /// Somebody to ask about.
    pub person: String,
    /// How this program was called.
    pub program: String,
    /// Whether it stays up.
    pub stays: bool,
}

impl Report {
    /// For scripts.
    pub fn object(&self) -> Value {
        let (people, library) = (&self.people, &self.library);
        json!({
            "documents": {
                "submitted": library.submitted,
                "ingested": library.ingested,
                "undone": library.undone,
                "stuck": library.stuck,
                "refused": library.refused,
            },
            "follows": people.follows,
            "notifications": people.notifications,
            "activities": people.activities,
            "events": {
                "appended": self.audit.appended,
                "published": self.audit.published,
                "handled": self.handled(),
                "duplicates": self.duplicates,
                "parked": self.parked(),
            },
            "lost": self.audit.lost,
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "failures": library.failures,
            "skipped": library.skipped,
        })
    }

    fn handled(&self) -> u64 {
        self.audit.consumers.iter().map(|consumer| consumer.handled).sum()
    }

    fn parked(&self) -> u64 {
        self.audit.consumers.iter().map(|consumer| consumer.parked).sum()
    }

    /// For people.
    pub fn page(&self, look: &Look) -> String {
        let mut parts = vec![self.counts(look)];
        parts.extend(self.not_ingested());
        parts.extend(self.skipped());
        parts.extend(self.found());
        parts.push(self.next());
        parts.join("\n\n")
    }

    fn counts(&self, look: &Look) -> String {
        let (people, library) = (&self.people, &self.library);
        let row = |what: &str, count: u64, note: String| json!({"what": what, "count": count, "note": note});
        let mut rows = vec![
            row("follows", people.follows, format!("{} notifications", safe::count(people.notifications))),
            row("activities tracked", people.activities, "read back per user".into()),
            row(
                "documents submitted",
                library.submitted,
                format!("{} ingested, {} undone", safe::count(library.ingested), safe::count(library.undone)),
            ),
            row("events appended", self.audit.appended, format!("{} on the broker", safe::count(self.audit.published))),
            row("events handled", self.handled(), format!("by {} consumers", self.audit.consumers.len())),
            row("duplicates dropped", self.duplicates, "recognised by the inbox".into()),
            row("events parked", self.parked(), "set aside with a reason".into()),
            row("events lost", self.audit.lost, "each looked up in the log, on the broker, in every inbox".into()),
        ];
        if library.stuck > 0 {
            rows.push(row("documents stuck", library.stuck, "a person has to decide".into()));
        }
        let columns = [text("what", &["/what"]), number("count", &["/count"]), text("", &["/note"])];
        let table = table::render(&rows, &columns, &Look { wide: true, ..*look });
        format!("{table}\n\nin {:.1} s", self.seconds)
    }

    fn not_ingested(&self) -> Option<String> {
        let failures = &self.library.failures;
        if failures.is_empty() {
            return None;
        }
        let mut shown = "not ingested:".to_owned();
        for failure in failures.iter().take(SHOWN) {
            let (path, code) = (safe::printable(&failure.path), safe::printable(&failure.code));
            shown.push_str(&format!(
                "\n  {path} ({}, {code})\n    {}",
                failure.outcome,
                safe::printable(&failure.reason)
            ));
        }
        if failures.len() > SHOWN {
            shown.push_str(&format!(
                "\n  … and {} more: -o json names all of them",
                safe::count((failures.len() - SHOWN) as u64)
            ));
        }
        Some(shown)
    }

    fn skipped(&self) -> Option<String> {
        let skipped = &self.library.skipped;
        if skipped.total() == 0 {
            return None;
        }
        let mut kinds: Vec<(&String, &u64)> = skipped.types.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut words: Vec<String> =
            kinds.iter().take(8).map(|(ty, n)| format!("{} {}", safe::count(**n), safe::printable(ty))).collect();
        if kinds.len() > 8 {
            words.push("other types".into());
        }
        for (count, what) in [(skipped.hidden, "hidden"), (skipped.links, "symbolic links")] {
            if count > 0 {
                words.push(format!("{} {what}", safe::count(count)));
            }
        }
        let mut text = format!("skipped {} files: {}", safe::count(skipped.total()), words.join(", "));
        for file in skipped.files.iter().take(SHOWN) {
            text.push_str(&format!("\n  {}: {}", safe::printable(&file.path), safe::printable(&file.reason)));
        }
        let more = skipped.files.len().saturating_sub(SHOWN) as u64 + skipped.more;
        if more > 0 {
            text.push_str(&format!("\n  … and {} more: -o json names them", safe::count(more)));
        }
        Some(text)
    }

    fn found(&self) -> Option<String> {
        let (query, hit) = self.search.as_ref()?;
        let word = |name: &str| hit.get(name).and_then(Value::as_str).unwrap_or_default();
        let snippet: String = word("snippet").split_whitespace().collect::<Vec<_>>().join(" ");
        let plain = snippet.replace("<b>", "").replace("</b>", "").replace("<mark>", "").replace("</mark>", "");
        Some(format!(
            "search “{}” finds “{}”:\n  {}",
            safe::printable(query),
            safe::shortened(word("title"), 80),
            safe::shortened(&plain, 200)
        ))
    }

    fn next(&self) -> String {
        if !self.stays {
            return format!("Again, and to stay: {} demo", self.program);
        }
        let (url, person, dir, program) = (&self.url, &self.person, &self.data_dir, &self.program);
        let query = self.search.as_ref().map_or("outbox", |(query, _)| query.as_str());
        format!(
            "It stays up at {url} until Ctrl-C; {url}/console shows it all. In another terminal:\
             \n\n  curl {url}/v1/users/{person}/notifications\
             \n  curl '{url}/v1/search?q={query}&workspace={workspace}'\
             \n  curl -X POST '{url}/v1/documents?workspace={workspace}' -H 'content-type: text/markdown' --data-binary @README.md\
             \n  {program} status --data-dir {dir}\
             \n  {program} sagas list --status undone --data-dir {dir}\
             \n  {program} events tail --data-dir {dir}",
            workspace = super::library::WORKSPACE,
        )
    }
}
