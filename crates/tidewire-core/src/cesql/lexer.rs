//! Text to tokens.

use super::error::ParseError;

/// A piece of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits and underscores; not only digits. Keywords are words.
    Word(String),
    /// Digits only, without a sign: which is the parser's to place.
    Digits(String),
    /// A string, unquoted.
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
}

impl Token {
    /// As it is shown in errors.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(text) | Self::Digits(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
            Self::Text(_) => "a string".to_owned(),
            Self::Symbol(symbol) => format!("`{symbol}`"),
        }
    }
}

/// Longer ones first: `<=` is one symbol.
const SYMBOLS: [&str; 15] = ["!=", "<>", "<=", ">=", "(", ")", ",", "*", "/", "%", "+", "-", "=", "<", ">"];

/// The tokens of `text`, each with where it starts, in characters.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ParseError> {
    let mut tokens = Vec::new();
    let (mut rest, mut at) = (text, 0);
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        at += rest.chars().count() - trimmed.chars().count();
        rest = trimmed;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, length) = match first {
            '\'' | '"' => string(rest, first, at)?,
            c if c.is_ascii_alphanumeric() => word(rest),
            c => symbol(rest)
                .ok_or_else(|| ParseError { at, reason: format!("`{}` has no meaning here", c.escape_debug()) })?,
        };
        tokens.push((at, token));
        at += rest[..length].chars().count();
        rest = &rest[length..];
    }
}

fn word(rest: &str) -> (Token, usize) {
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let text = rest[..length].to_owned();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    (if is_number { Token::Digits(text) } else { Token::Word(text) }, length)
}

fn symbol(rest: &str) -> Option<(Token, usize)> {
    SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)).map(|symbol| (Token::Symbol(symbol), symbol.len()))
}

/// A quoted string. The quote itself may be inside after a backslash, or doubled; any other backslash stands for
/// itself (`LIKE` gives two of them a meaning).
fn string(rest: &str, quote: char, at: usize) -> Result<(Token, usize), ParseError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((position, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        match (c, next) {
            ('\\', Some(escaped)) => {
                if escaped != quote {
                    text.push('\\');
                }
                text.push(escaped);
                chars.next();
            }
            (c, Some(next)) if c == quote && next == quote => {
                text.push(quote);
                chars.next();
            }
            (c, _) if c == quote => return Ok((Token::Text(text), position + 1)),
            (c, _) => text.push(c),
        }
    }
    Err(ParseError { at, reason: format!("the string that starts here has no closing {quote}") })
}
