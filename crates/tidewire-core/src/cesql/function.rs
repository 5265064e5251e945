//! The functions of the specification. There are no others: an expression must mean the same everywhere.

use std::borrow::Cow;

use super::MAX_TEXT_BYTES;
use super::error::EvaluationError;
use super::evaluate::{Failed, Outcome, Run};
use super::parser::Node;
use super::value::{Kind, Value};

/// Name, fewest and most arguments.
const FUNCTIONS: [(&str, usize, usize); 13] = [
    ("INT", 1, 1),
    ("BOOL", 1, 1),
    ("STRING", 1, 1),
    ("LENGTH", 1, 1),
    ("CONCAT", 0, usize::MAX),
    ("CONCAT_WS", 1, usize::MAX),
    ("LOWER", 1, 1),
    ("UPPER", 1, 1),
    ("TRIM", 1, 1),
    ("LEFT", 2, 2),
    ("RIGHT", 2, 2),
    ("SUBSTRING", 2, 3),
    ("ABS", 1, 1),
];

pub(super) fn exists(name: &str, arguments: usize) -> bool {
    FUNCTIONS.iter().any(|(known, fewest, most)| *known == name && (*fewest..=*most).contains(&arguments))
}

/// What to use instead of an unknown function.
pub(super) fn known(name: &str) -> String {
    match FUNCTIONS.iter().find(|(known, _, _)| *known == name) {
        Some((_, fewest, usize::MAX)) => format!("it takes {fewest} or more"),
        Some((_, fewest, most)) if fewest == most => format!("it takes {fewest}"),
        Some((_, fewest, most)) => format!("it takes {fewest} to {most}"),
        None => format!("there are {}", FUNCTIONS.map(|(known, _, _)| known).join(", ")),
    }
}

/// Calls a function that [`exists`].
pub(super) fn call<'a>(run: &mut Run<'a>, name: &str, arguments: &'a [Node]) -> Outcome<'a> {
    match name {
        "INT" => run.operand(&arguments[0], Kind::Integer, Kind::Integer),
        "BOOL" => run.operand(&arguments[0], Kind::Boolean, Kind::Boolean),
        "STRING" => run.operand(&arguments[0], Kind::Text, Kind::Text),
        "ABS" => abs(run, &arguments[0]),
        "LENGTH" => {
            let text = text(run, &arguments[0], Kind::Integer)?;
            Ok(Value::Integer(i32::try_from(text.chars().count()).unwrap_or(i32::MAX)))
        }
        "LOWER" => Ok(text(run, &arguments[0], Kind::Text)?.to_lowercase().into()),
        "UPPER" => Ok(text(run, &arguments[0], Kind::Text)?.to_uppercase().into()),
        "TRIM" => Ok(match text(run, &arguments[0], Kind::Text)? {
            Cow::Borrowed(text) => Value::Text(Cow::Borrowed(text.trim())),
            Cow::Owned(text) => text.trim().to_owned().into(),
        }),
        "CONCAT" => join(run, "", arguments),
        "CONCAT_WS" => {
            let separator = text(run, &arguments[0], Kind::Text)?;
            join(run, &separator, &arguments[1..])
        }
        "LEFT" | "RIGHT" => side(run, name == "LEFT", arguments),
        _ => substring(run, arguments),
    }
}

fn text<'a>(run: &mut Run<'a>, node: &'a Node, own: Kind) -> Result<Cow<'a, str>, Failed<'a>> {
    match run.operand(node, Kind::Text, own)? {
        Value::Text(text) => Ok(text),
        _ => Err(Failed::With(own.zero())),
    }
}

fn number<'a>(run: &mut Run<'a>, node: &'a Node) -> Result<i64, Failed<'a>> {
    match run.operand(node, Kind::Integer, Kind::Text)? {
        Value::Integer(number) => Ok(number.into()),
        _ => Err(Failed::With(Kind::Text.zero())),
    }
}

fn abs<'a>(run: &mut Run<'a>, node: &'a Node) -> Outcome<'a> {
    match run.operand(node, Kind::Integer, Kind::Integer)? {
        Value::Integer(i32::MIN) => Err(run.fail(EvaluationError::Math("ABS"), Value::Integer(i32::MAX))),
        Value::Integer(number) => Ok(Value::Integer(number.abs())),
        other => Ok(other),
    }
}

fn join<'a>(run: &mut Run<'a>, separator: &str, arguments: &'a [Node]) -> Outcome<'a> {
    let mut joined = String::new();
    for (index, argument) in arguments.iter().enumerate() {
        let part = text(run, argument, Kind::Text)?;
        let separator = if index == 0 { "" } else { separator };
        if joined.len() + separator.len() + part.len() > MAX_TEXT_BYTES {
            let error = EvaluationError::Generic("the joined text would be longer than 64 KiB");
            return Err(run.fail(error, Kind::Text.zero()));
        }
        joined.push_str(separator);
        joined.push_str(&part);
    }
    Ok(joined.into())
}

fn side<'a>(run: &mut Run<'a>, is_left: bool, arguments: &'a [Node]) -> Outcome<'a> {
    let text = text(run, &arguments[0], Kind::Text)?;
    let Ok(wanted) = usize::try_from(number(run, &arguments[1])?) else {
        let function = if is_left { "LEFT" } else { "RIGHT" };
        let error = EvaluationError::FunctionEvaluation { function, reason: "a length cannot be negative" };
        return Err(run.fail(error, Value::Text(text)));
    };
    let length = text.chars().count();
    let range = if is_left { 0..wanted.min(length) } else { length - wanted.min(length)..length };
    Ok(Value::Text(slice(text, range.start, range.len())))
}

fn substring<'a>(run: &mut Run<'a>, arguments: &'a [Node]) -> Outcome<'a> {
    let text = text(run, &arguments[0], Kind::Text)?;
    let position = number(run, &arguments[1])?;
    let wanted = arguments.get(2).map(|node| number(run, node)).transpose()?;
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let refused = |reason| EvaluationError::FunctionEvaluation { function: "SUBSTRING", reason };
    if position > length || position < -length {
        return Err(run.fail(refused("the position is outside the text"), Kind::Text.zero()));
    }
    let Ok(wanted) = usize::try_from(wanted.unwrap_or(length)) else {
        return Err(run.fail(refused("a length cannot be negative"), Kind::Text.zero()));
    };
    let start = match position {
        0 => return Ok(Kind::Text.zero()),
        1.. => position - 1,
        _ => length + position,
    };
    Ok(Value::Text(slice(text, usize::try_from(start).unwrap_or(usize::MAX), wanted)))
}

/// `count` characters from `start` on, or as many as there are.
fn slice(text: Cow<'_, str>, start: usize, count: usize) -> Cow<'_, str> {
    let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte);
    let (from, to) = (byte(start), byte(start.saturating_add(count)));
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
        Cow::Owned(text) => Cow::Owned(text[from..to].to_owned()),
    }
}
