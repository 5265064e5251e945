//! HTML to text with the tokenizer alone: no tree is built, so neither depth nor size can hurt, and
//! the cost is linear.

use std::cell::RefCell;

use html5ever::TokenizerResult;
use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer};

use super::{Draft, ExtractError, MAX_TEXT_BYTES};

/// The tokenizer's string type counts bytes in 32 bits and copies on growth; pieces keep it fast.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) fn extract(source: &str) -> Result<Draft, ExtractError> {
    let tokenizer = Tokenizer::new(Words::default(), Default::default());
    let input = BufferQueue::default();
    let mut rest = source;
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES.min(rest.len())));
        rest = tail;
        input.push_back(StrTendril::from_slice(piece));
        while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
        if tokenizer.sink.0.borrow().text.len() > MAX_TEXT_BYTES * 2 {
            return Err(super::text_too_large());
        }
    }
    tokenizer.end();
    let page = tokenizer.sink.0.into_inner();
    let title = Some(page.title).filter(|title| !title.trim().is_empty()).or(page.heading);
    Ok(Draft { title, text: page.text, ..Draft::default() })
}

#[derive(Default)]
struct Words(RefCell<Page>);

#[derive(Default)]
struct Page {
    text: String,
    title: String,
    heading: Option<String>,
    /// Where the first `<h1>` began, while inside it.
    heading_start: Option<usize>,
    in_title: bool,
    in_pre: u32,
    /// The element whose content is not prose, while inside it. They do not nest by the tokenizer's
    /// rules, except `template` and `svg`, for which `hidden_depth` counts.
    hidden: Option<&'static str>,
    hidden_depth: u32,
}

impl TokenSink for Words {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut page = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(words) => page.words(&words),
            Token::TagToken(tag) => {
                page.tag(&tag);
                if tag.kind == TagKind::StartTag {
                    return raw_content(&tag);
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// Elements whose content is not markup; a tree builder would tell the tokenizer the same.
fn raw_content(tag: &Tag) -> TokenSinkResult<()> {
    match &*tag.name {
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        _ => TokenSinkResult::Continue,
    }
}

impl Page {
    fn words(&mut self, words: &str) {
        if self.hidden.is_some() {
            return;
        }
        if self.in_title {
            self.title.push_str(words);
        } else if self.in_pre > 0 {
            self.text.push_str(words);
        } else {
            push_collapsed(&mut self.text, words);
        }
    }

    fn tag(&mut self, tag: &Tag) {
        let name: &str = &tag.name;
        let start = tag.kind == TagKind::StartTag;
        // Browsers leave a drawing or formula at the first block of prose, closed or not.
        if start
            && matches!(self.hidden, Some("svg" | "math"))
            && matches!(name, "p" | "div" | "h1" | "h2" | "h3" | "ul" | "ol" | "table" | "body")
        {
            self.hidden = None;
        }
        if let Some(hidden) = self.hidden {
            if name == hidden {
                self.hidden_depth = if start && !tag.self_closing {
                    self.hidden_depth + 1
                } else if start {
                    self.hidden_depth
                } else {
                    self.hidden_depth - 1
                };
                if self.hidden_depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        if start
            && !tag.self_closing
            && let Some(hidden) = ["script", "style", "template", "svg", "math", "iframe", "noembed", "noframes"]
                .iter()
                .find(|other| **other == name)
        {
            self.hidden = Some(hidden);
            self.hidden_depth = 1;
            return;
        }
        match name {
            "title" if !start => self.in_title = false,
            "title" => self.in_title = self.title.is_empty() && !tag.self_closing,
            "pre" | "textarea" | "listing" => {
                self.in_pre = if start { self.in_pre + 1 } else { self.in_pre.saturating_sub(1) };
                self.text.push_str("\n\n");
            }
            "br" => self.text.push('\n'),
            "td" | "th" if !self.text.ends_with(['\n', '\t']) => self.text.push('\t'),
            "li" | "tr" | "dt" | "dd" | "option" | "figcaption" | "caption" => self.end_line(),
            "h1" => self.heading(start),
            "p" | "div" | "section" | "article" | "header" | "footer" | "main" | "nav" | "aside" | "ul" | "ol"
            | "dl" | "table" | "blockquote" | "form" | "fieldset" | "figure" | "hr" | "address" | "details"
            | "summary" | "body" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.text.push_str("\n\n");
            }
            _ => {}
        }
    }

    fn end_line(&mut self) {
        if !self.text.trim_end_matches([' ', '\t']).ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn heading(&mut self, start: bool) {
        if start {
            self.text.push_str("\n\n");
            self.heading_start = Some(self.text.len());
        } else if let Some(from) = self.heading_start.take() {
            if self.heading.is_none() {
                self.heading = self.text.get(from..).map(str::to_owned).filter(|heading| !heading.trim().is_empty());
            }
            self.text.push_str("\n\n");
        }
    }
}

/// White space in a page means one space, wherever the tokenizer cut it.
fn push_collapsed(text: &mut String, words: &str) {
    for c in words.chars() {
        if !matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{C}') {
            text.push(c);
        } else if !text.ends_with([' ', '\n', '\t']) {
            text.push(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        extract(source).unwrap().text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn prose_without_markup() {
        let cases = [
            ("<p>Ebb &amp; flow&nbsp;&#8212; <b>bo</b>ld</p>", "Ebb & flow — bold"),
            ("<p>one<p>two<br>three<li>four", "one two three four"),
            ("<script>if (a < b) { '<p>no</p>' }</script>yes<style>p{}</style>", "yes"),
            ("<SCRIPT>no</SCRIPT >yes", "yes"),
            ("a<template>no<template>no</template>no</template>b<svg><text>no</text></svg>c", "abc"),
            ("<!-- no --><![CDATA[x]]>yes", "yes"),
            ("unclosed <script>no", "unclosed"),
            ("<table><tr><td>a<td>b<tr><td>c", "a b c"),
            ("a<svg/>b", "ab"),
            ("a<svg><path><p>b", "a b"),
        ];
        for (source, want) in cases {
            assert_eq!(words(source), want, "{source}");
        }
    }

    #[test]
    fn title_from_the_head_or_the_first_heading() {
        let cases = [
            ("<title>Tides &amp; <b>times</title><h1>No</h1>", Some("Tides & <b>times")),
            ("<title> </title><h1>Of <i>tides</i></h1><h1>No</h1>", Some("Of tides")),
            ("<h2>x</h2>", None),
        ];
        for (source, want) in cases {
            assert_eq!(extract(source).unwrap().title.as_deref(), want);
        }
    }

    #[test]
    fn depth_and_unclosed_elements_cost_nothing() {
        let deep = "<div><b><table><svg>".repeat(200_000) + "end";
        extract(&deep).unwrap();
        let open = "<a href='".repeat(200_000);
        extract(&open).unwrap();
    }
}
