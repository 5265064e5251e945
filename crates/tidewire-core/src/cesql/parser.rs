//! Tokens to a tree.

use super::error::ParseError;
use super::lexer::{Token, tokens};
use super::like::Pattern;
use super::value::Value;
use super::{MAX_DEPTH, MAX_EXPRESSION_BYTES, function};

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Literal(Value<'static>),
    /// Its name, in lower case.
    Attribute(String),
    Exists(String),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Binary, Box<Node>, Box<Node>),
    Like {
        subject: Box<Node>,
        pattern: Pattern,
        negated: bool,
    },
    In {
        subject: Box<Node>,
        set: Vec<Node>,
        negated: bool,
    },
    /// Its name in upper case, where it stands, and its arguments.
    Call {
        name: String,
        at: usize,
        arguments: Vec<Node>,
    },
}

/// The operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Multiply,
    Divide,
    Remainder,
    Add,
    Subtract,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
}

impl Node {
    /// The first call of a function that does not exist.
    pub(super) fn unknown_function(&self) -> Option<(usize, &str, usize)> {
        match self {
            Self::Literal(_) | Self::Attribute(_) | Self::Exists(_) => None,
            Self::Not(node) | Self::Negate(node) | Self::Like { subject: node, .. } => node.unknown_function(),
            Self::Binary(_, left, right) => left.unknown_function().or_else(|| right.unknown_function()),
            Self::In { subject, set, .. } => {
                subject.unknown_function().or_else(|| set.iter().find_map(Self::unknown_function))
            }
            Self::Call { name, at, arguments } => match function::exists(name, arguments.len()) {
                false => Some((*at, name, arguments.len())),
                true => arguments.iter().find_map(Self::unknown_function),
            },
        }
    }
}

/// Parses `text`.
pub(super) fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        let reason = format!("the expression is {} bytes long; at most {MAX_EXPRESSION_BYTES} are taken", text.len());
        return Err(ParseError { at: 0, reason });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.chars().count(), depth: 0 };
    let root = parser.logic()?;
    match parser.peek() {
        None => Ok(root),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn unexpected(&self, wanted: &str) -> ParseError {
        let found = self.peek().map_or_else(|| "the end".to_owned(), Token::shown);
        ParseError { at: self.at(), reason: format!("expected {wanted}, found {found}") }
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol);
        self.next += usize::from(is_next);
        is_next
    }

    fn is_keyword(&self, ahead: usize, keyword: &str) -> bool {
        let token = self.tokens.get(self.next + ahead).map(|(_, token)| token);
        matches!(token, Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_next = self.is_keyword(0, keyword);
        self.next += usize::from(is_next);
        is_next
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), ParseError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// Every recursion passes here, and every chain of operators is counted: the tree is as deep as its chains are
    /// long, and evaluating it recurses.
    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError { at: self.at(), reason: format!("nested more than {MAX_DEPTH} deep") });
        }
        self.depth += 1;
        let found = inside(self);
        self.depth -= 1;
        found
    }

    fn logic(&mut self) -> Result<Node, ParseError> {
        self.deeper(|parser| {
            parser.chain(Self::comparison, |parser| {
                let words = [("and", Binary::And), ("or", Binary::Or), ("xor", Binary::Xor)];
                words.iter().find(|(word, _)| parser.take_keyword(word)).map(|(_, operator)| *operator)
            })
        })
    }

    fn comparison(&mut self) -> Result<Node, ParseError> {
        self.chain(Self::sum, |parser| {
            parser.operator(&[
                ("=", Binary::Equal),
                ("!=", Binary::NotEqual),
                ("<>", Binary::NotEqual),
                (">=", Binary::GreaterOrEqual),
                ("<=", Binary::LessOrEqual),
                ("<", Binary::Less),
                (">", Binary::Greater),
            ])
        })
    }

    fn sum(&mut self) -> Result<Node, ParseError> {
        self.chain(Self::product, |parser| parser.operator(&[("+", Binary::Add), ("-", Binary::Subtract)]))
    }

    fn product(&mut self) -> Result<Node, ParseError> {
        self.chain(Self::membership, |parser| {
            parser.operator(&[("*", Binary::Multiply), ("/", Binary::Divide), ("%", Binary::Remainder)])
        })
    }

    fn operator(&mut self, known: &[(&str, Binary)]) -> Option<Binary> {
        known.iter().find(|(symbol, _)| self.take_symbol(symbol)).map(|(_, operator)| *operator)
    }

    /// Operators of one precedence, from the left.
    fn chain(
        &mut self,
        operand: impl Fn(&mut Self) -> Result<Node, ParseError>,
        operator: impl Fn(&mut Self) -> Option<Binary>,
    ) -> Result<Node, ParseError> {
        let mut left = operand(self)?;
        let mut length = 0;
        while let Some(operator) = operator(self) {
            length += 1;
            if length > MAX_DEPTH {
                let reason = format!("more than {MAX_DEPTH} operators in a row; use parentheses");
                return Err(ParseError { at: self.at(), reason });
            }
            let right = operand(self)?;
            left = Node::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    /// `x [NOT] LIKE 'pattern'` and `x [NOT] IN (…)`.
    fn membership(&mut self) -> Result<Node, ParseError> {
        let mut subject = self.unary()?;
        for _ in 0..MAX_DEPTH {
            let negated = self.is_keyword(0, "not");
            let ahead = usize::from(negated);
            if self.is_keyword(ahead, "like") {
                self.next += ahead + 1;
                let Some(Token::Text(pattern)) = self.peek() else {
                    return Err(self.unexpected("a string in quotes"));
                };
                let pattern = Pattern::new(pattern);
                self.next += 1;
                subject = Node::Like { subject: Box::new(subject), pattern, negated };
            } else if self.is_keyword(ahead, "in") {
                self.next += ahead + 1;
                self.expect_symbol("(")?;
                let set = self.list()?;
                subject = Node::In { subject: Box::new(subject), set, negated };
            } else {
                return Ok(subject);
            }
        }
        Err(ParseError { at: self.at(), reason: format!("more than {MAX_DEPTH} operators in a row; use parentheses") })
    }

    fn unary(&mut self) -> Result<Node, ParseError> {
        if self.take_keyword("not") {
            return Ok(Node::Not(Box::new(self.deeper(Self::unary)?)));
        }
        let is_signed = matches!(self.tokens.get(self.next + 1), Some((_, Token::Digits(_))));
        if is_signed && self.take_symbol("+") {
            return self.number("");
        }
        if is_signed && self.take_symbol("-") {
            return self.number("-");
        }
        if self.take_symbol("-") {
            return Ok(Node::Negate(Box::new(self.deeper(Self::unary)?)));
        }
        self.atom()
    }

    fn number(&mut self, sign: &str) -> Result<Node, ParseError> {
        let Some(Token::Digits(digits)) = self.peek() else { return Err(self.unexpected("a number")) };
        let Ok(number) = format!("{sign}{digits}").parse() else {
            return Err(ParseError { at: self.at(), reason: "the number does not fit into 32 bits".into() });
        };
        self.next += 1;
        Ok(Node::Literal(Value::Integer(number)))
    }

    fn atom(&mut self) -> Result<Node, ParseError> {
        let at = self.at();
        match self.peek().cloned() {
            Some(Token::Digits(_)) => self.number(""),
            Some(Token::Text(text)) => {
                self.next += 1;
                Ok(Node::Literal(text.into()))
            }
            Some(Token::Symbol("(")) => {
                self.next += 1;
                let inside = self.logic()?;
                self.expect_symbol(")")?;
                Ok(inside)
            }
            Some(Token::Word(word)) => {
                self.next += 1;
                self.word(&word, at)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn word(&mut self, word: &str, at: usize) -> Result<Node, ParseError> {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "true" => return Ok(Node::Literal(Value::Boolean(true))),
            "false" => return Ok(Node::Literal(Value::Boolean(false))),
            "exists" => {
                let Some(Token::Word(name)) = self.peek().cloned() else {
                    return Err(self.unexpected("the name of an attribute"));
                };
                let named_at = self.at();
                self.next += 1;
                return Ok(Node::Exists(identifier(&name, named_at)?));
            }
            _ => {}
        }
        if self.take_symbol("(") {
            let arguments = if self.take_symbol(")") { Vec::new() } else { self.list()? };
            return Ok(Node::Call { name: word.to_ascii_uppercase(), at, arguments });
        }
        Ok(Node::Attribute(identifier(word, at)?))
    }

    /// Values between commas, up to the closing bracket.
    fn list(&mut self) -> Result<Vec<Node>, ParseError> {
        let mut nodes = vec![self.logic()?];
        while self.take_symbol(",") {
            nodes.push(self.logic()?);
        }
        self.expect_symbol(")")?;
        Ok(nodes)
    }
}

/// Keywords are never attributes: who forgets an operand should be told.
fn identifier(word: &str, at: usize) -> Result<String, ParseError> {
    const KEYWORDS: [&str; 9] = ["and", "or", "xor", "not", "like", "in", "exists", "true", "false"];
    let name = word.to_ascii_lowercase();
    if KEYWORDS.contains(&name.as_str()) {
        return Err(ParseError { at, reason: format!("expected a value, found `{word}`") });
    }
    if name.contains('_') {
        return Err(ParseError { at, reason: format!("`{word}` is no attribute: their names are letters and digits") });
    }
    Ok(name)
}
