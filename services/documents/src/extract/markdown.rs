//! Markdown to text: words only, one paragraph per block.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Draft, ExtractError, MAX_TEXT_BYTES, html};

/// Nesting beyond which block containers are refused: each line is matched against all open ones,
/// so depth times lines is the cost.
const MAX_CONTAINERS: usize = 200;

pub(super) fn extract(source: &str) -> Result<Draft, ExtractError> {
    if source.lines().any(|line| container_markers(line) > MAX_CONTAINERS) {
        return Err(ExtractError::TooDeep);
    }
    let (front_matter, body) = split_front_matter(source);
    let mut writer = Writer::default();
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for event in Parser::new_ext(body, options) {
        writer.event(event)?;
        if writer.text.len() > MAX_TEXT_BYTES * 2 {
            return Err(super::text_too_large());
        }
    }
    writer.flush_html()?;
    let title = front_matter.and_then(front_matter_title).or(writer.title);
    Ok(Draft { title, text: writer.text, ..Draft::default() })
}

/// How many quotes and lists the beginning of a line opens or continues, at most.
fn container_markers(line: &str) -> usize {
    let rule = |c: char| line.contains(c) && line.trim_matches([c, ' ', '\t', '\r']).is_empty();
    if rule('-') || rule('*') {
        return 0;
    }
    let mut rest = line.as_bytes();
    let mut markers = 0;
    loop {
        rest = match rest {
            [b'>', ..] => {
                markers += 1;
                &rest[1..]
            }
            [b'-' | b'+' | b'*' | b'.' | b')', b' ' | b'\t', ..] => {
                markers += 1;
                &rest[2..]
            }
            [b' ' | b'\t' | b'0'..=b'9', ..] => &rest[1..],
            _ => return markers,
        };
    }
}

/// YAML between `---` lines at the top, as site generators use it.
fn split_front_matter(source: &str) -> (Option<&str>, &str) {
    let Some(rest) = source.strip_prefix("---\n").or_else(|| source.strip_prefix("---\r\n")) else {
        return (None, source);
    };
    let end = rest.find("\n---\n").map(|at| (at, 5)).or_else(|| rest.find("\n---\r\n").map(|at| (at, 6)));
    match end {
        Some((at, length)) if at < 16 * 1024 => (Some(&rest[..at]), &rest[at + length..]),
        _ => (None, source),
    }
}

fn front_matter_title(front_matter: &str) -> Option<String> {
    let value = front_matter.lines().find_map(|line| line.strip_prefix("title:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

#[derive(Default)]
struct Writer {
    text: String,
    title: Option<String>,
    /// Start of the first heading's words, while inside it.
    heading: Option<usize>,
    /// Raw HTML comes in pieces (a line each); it is read as one.
    html: String,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) -> Result<(), ExtractError> {
        if let Event::Html(piece) | Event::InlineHtml(piece) = &event {
            self.html.push_str(piece);
            return Ok(());
        }
        self.flush_html()?;
        match event {
            Event::Start(Tag::Heading { .. }) if self.title.is_none() => self.heading = Some(self.text.len()),
            Event::End(tag) => self.end(tag),
            Event::Text(words) | Event::Code(words) => self.text.push_str(&words),
            Event::InlineMath(words) | Event::DisplayMath(words) => self.text.push_str(&words),
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.text.push_str("\n\n"),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                if let Some(start) = self.heading.take() {
                    self.title = self.text.get(start..).map(str::to_owned).filter(|title| !title.trim().is_empty());
                }
                self.text.push_str("\n\n");
            }
            TagEnd::Paragraph | TagEnd::CodeBlock | TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Table => {
                self.text.push_str("\n\n")
            }
            TagEnd::Item | TagEnd::TableRow | TagEnd::TableHead => self.text.push('\n'),
            TagEnd::TableCell => self.text.push('\t'),
            _ => {}
        }
    }

    fn flush_html(&mut self) -> Result<(), ExtractError> {
        if self.html.is_empty() {
            return Ok(());
        }
        let page = html::extract(&std::mem::take(&mut self.html))?;
        self.text.push_str(&page.text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_marks() {
        let cases = [
            ("# The *tide*\n\nIt **turns** at [noon](http://x).", Some("The tide"), "The tide It turns at noon."),
            ("Text\n\n## Later heading", Some("Later heading"), "Text Later heading"),
            ("---\ntitle: \"From the front\"\n---\n# Other", Some("From the front"), "Other"),
            ("- one\n- two\n\n> quote\n\n```rust\nlet x;\n```", None, "one two quote let x;"),
            ("| a | b |\n|---|---|\n| 1 | 2 |", None, "a b 1 2"),
            ("Hi <b>bold</b>\n\n<script>alert(1)</script>\n\n<div>block</div>", None, "Hi bold block"),
        ];
        for (source, title, words) in cases {
            let got = extract(source).unwrap();
            assert_eq!(got.title.as_deref(), title);
            assert_eq!(got.text.split_whitespace().collect::<Vec<_>>().join(" "), words);
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_rules_are_not() {
        assert_eq!(extract(&"> ".repeat(100_000)).unwrap_err(), ExtractError::TooDeep);
        assert_eq!(extract(&">".repeat(100_000)).unwrap_err(), ExtractError::TooDeep);
        assert_eq!(extract(&("- ".repeat(100_000) + "end")).unwrap_err(), ExtractError::TooDeep);
        assert_eq!(extract(&("1. + ".repeat(100_000) + "end")).unwrap_err(), ExtractError::TooDeep);
        assert!(extract(&format!("a\n\n{}\n\n{}\n\n{}", "-".repeat(500), "*".repeat(500), "- ".repeat(40))).is_ok());
    }
}
