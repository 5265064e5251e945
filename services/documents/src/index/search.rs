use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, Query, QueryParser, TermQuery};
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::snippet::SnippetGenerator;
use tantivy::{DocAddress, Score, Searcher, TantivyDocument, Term};

use super::schema::{self, Fields};
use super::{Opened, exactly};

/// Longest query that is read, in characters; the rest is ignored.
pub const MAX_QUERY_CHARS: usize = 1000;

/// How deep into the results one may page, in hits: beyond it a better query helps more.
pub const MAX_REACH: usize = 1000;

/// Most chunks looked at for one page. A document with thousands of matching chunks may fill it.
const MAX_CHUNKS: usize = 20_000;

/// Deepest nesting of parentheses that is read as such: the parser recurses.
const MAX_PARENTHESES: usize = 16;

/// A found word in the title counts as much as two in the text.
const TITLE_BOOST: Score = 2.0;

/// Length of a snippet, in bytes.
const SNIPPET_BYTES: usize = 240;

/// What is searched for.
#[derive(Debug, Clone, Default)]
pub struct SearchRequest {
    /// The query: words, `"a phrase"`, `+must`, `-not`, `AND`, `OR`, parentheses, `title:word`. Anything else is
    /// read as words. Any of the words suffices; more of them rank higher.
    pub q: String,
    /// The workspace to search in.
    pub workspace: String,
    /// Most hits to return.
    pub limit: usize,
    /// Hits to skip. `offset` and `limit` together reach [`MAX_REACH`] at most; what lies beyond is empty.
    pub offset: usize,
}

/// A document found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The document's identifier.
    pub document: String,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// How well its best chunk fits; comparable within one answer only.
    pub score: f32,
    /// The best place in it: HTML, escaped, with the words found between `<b>` and `</b>`.
    pub snippet: String,
    /// The chunk the snippet is from.
    pub chunk: u32,
    /// Its media type.
    pub media_type: String,
    /// When it was ingested.
    pub ingested: Option<DateTime<Utc>>,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SearchResults {
    /// The documents found, best first, each once.
    pub hits: Vec<Hit>,
    /// Whether there are more after these.
    pub more: bool,
    /// What could not be read in the query, in words; empty if it was all understood.
    pub ignored: Vec<String>,
}

pub(super) fn search(opened: &Opened, request: &SearchRequest) -> tantivy::Result<SearchResults> {
    let (query, ignored) = parse(opened, &request.q);
    let reach = request.offset.saturating_add(request.limit).min(MAX_REACH);
    if reach <= request.offset || query.is::<EmptyQuery>() {
        return Ok(SearchResults { ignored, ..SearchResults::default() });
    }
    let searcher = opened.reader.searcher();
    let workspace = exactly(Term::from_field_text(opened.fields.workspace, &request.workspace));
    let scoped = BooleanQuery::new(vec![
        (Occur::Must, query.box_clone()),
        (Occur::Must, Box::new(ConstScoreQuery::new(workspace, 0.0))),
    ]);
    let found = best_chunks(&searcher, opened.fields, &scoped, reach + 1)?;
    let more = found.len() > reach;
    let mut snippets = SnippetGenerator::create(&searcher, &*query, opened.fields.body)?;
    snippets.set_max_num_chars(SNIPPET_BYTES);
    let page = found.into_iter().take(reach).skip(request.offset);
    let hits = page.map(|(score, entry)| hit(opened.fields, &snippets, score, &entry)).collect();
    Ok(SearchResults { hits, more, ignored })
}

/// The best chunk of each document, best first: `wanted` of them, or all there are.
fn best_chunks(
    searcher: &Searcher,
    fields: Fields,
    query: &dyn Query,
    wanted: usize,
) -> tantivy::Result<Vec<(Score, TantivyDocument)>> {
    let mut look_at = (wanted * 4).min(MAX_CHUNKS);
    loop {
        let chunks: Vec<(Score, DocAddress)> =
            searcher.search(query, &TopDocs::with_limit(look_at).order_by_score())?;
        let exhausted = chunks.len() < look_at || look_at == MAX_CHUNKS;
        let mut seen = HashMap::new();
        let mut best = Vec::new();
        for (score, address) in chunks {
            let entry: TantivyDocument = searcher.doc(address)?;
            if best.len() < wanted && seen.insert(text(&entry, fields.document), ()).is_none() {
                best.push((score, entry));
            }
        }
        if exhausted || best.len() == wanted {
            return Ok(best);
        }
        look_at = (look_at * 4).min(MAX_CHUNKS);
    }
}

fn hit(fields: Fields, snippets: &SnippetGenerator, score: Score, entry: &TantivyDocument) -> Hit {
    let body = text(entry, fields.body);
    let snippet = snippets.snippet(&body);
    let snippet = if snippet.is_empty() { escape(beginning(&body)) } else { snippet.to_html() };
    let number = entry.get_first(fields.ordinal).and_then(|value| value.as_u64()).unwrap_or_default();
    let ingested = entry.get_first(fields.ingested).and_then(|value| value.as_datetime());
    Hit {
        document: text(entry, fields.document),
        title: Some(text(entry, fields.title)).filter(|title| !title.is_empty()),
        score,
        snippet: snippet.split_whitespace().collect::<Vec<_>>().join(" "),
        chunk: u32::try_from(number).unwrap_or(u32::MAX),
        media_type: text(entry, fields.media_type),
        ingested: ingested.and_then(|time| DateTime::from_timestamp_millis(time.into_timestamp_millis())),
    }
}

fn text(entry: &TantivyDocument, field: Field) -> String {
    entry.get_first(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

fn beginning(body: &str) -> &str {
    let cut = &body[..body.floor_char_boundary(SNIPPET_BYTES)];
    let word = cut.rfind(char::is_whitespace).filter(|_| cut.len() < body.len());
    &cut[..word.unwrap_or(cut.len())]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#x27;")
}

/// Reads a query as well as possible, and says what could not be read.
fn parse(opened: &Opened, q: &str) -> (Box<dyn Query>, Vec<String>) {
    let q: String = q.trim().chars().take(MAX_QUERY_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let q = if nesting(&q) > MAX_PARENTHESES { q.replace(['(', ')'], " ") } else { q };
    let mut parser = QueryParser::for_index(&opened.engine, vec![opened.fields.title, opened.fields.body]);
    parser.set_field_boost(opened.fields.title, TITLE_BOOST);
    let (query, errors) = parser.parse_query_lenient(&q);
    if errors.is_empty() {
        return (query, Vec::new());
    }
    let ignored = errors.iter().map(ToString::to_string).collect();
    let mut terms = 0usize;
    query.query_terms(&mut |_, _| terms += 1);
    (if terms == 0 { words(opened.fields, &q) } else { query }, ignored)
}

fn nesting(q: &str) -> usize {
    let mut open = 0usize;
    let depths = q.chars().map(|c| {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        open
    });
    depths.max().unwrap_or_default()
}

/// The query as plain words, for when it is nothing else.
fn words(fields: Fields, q: &str) -> Box<dyn Query> {
    let mut analyzer = schema::analyzer();
    let mut wanted: Vec<(Occur, Box<dyn Query>)> = Vec::new();
    for part in q.split_whitespace().filter(|part| !part.starts_with('-')) {
        analyzer.token_stream(part).process(&mut |token| {
            for field in [fields.title, fields.body] {
                let term = Term::from_field_text(field, &token.text);
                wanted.push((Occur::Should, Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))));
            }
        });
    }
    if wanted.is_empty() { Box::new(EmptyQuery) } else { Box::new(BooleanQuery::new(wanted)) }
}
