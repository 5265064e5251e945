//! `explain`: cause and cure of every stable code.

use serde_json::{Value, json};
use tidewire::codes::{self, Explanation};

use super::Noun;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{self, text};

const NOUN: Noun =
    Noun { columns: &[text("code", &["/code"]), text("what", &["/title"])], name: &["/code"], empty: "No codes." };

/// The width that running text is broken at.
const TEXT_WIDTH: usize = 96;

/// Prints the explanation of `code`, or the list of all.
pub fn run(code: Option<&str>, output: &mut Output) -> Result<(), Failure> {
    let Some(code) = code else {
        let items: Vec<Value> = codes::all().map(item).collect();
        return NOUN.page(output, &json!({ "items": items, "cursor": null }));
    };
    let Some(found) = codes::explain(code) else {
        let failure = Failure::new(Exit::NotFound, "command.unknown_code", format!("there is no code `{code}`"));
        return Err(match codes::nearest(code) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("`tidewire explain` lists every code"),
        });
    };
    let people = |look: &table::Look| {
        let head = if look.color { format!("\u{1b}[1m{}\u{1b}[0m", found.code) } else { found.code.to_owned() };
        let section = |title: &str, body: &str| format!("{title}\n{}", wrapped(body));
        format!("{head}: {}\n\n{}\n\n{}", found.title, section("Cause", found.cause), section("Cure", found.cure))
    };
    Ok(output.thing(&item(found), NOUN.name, people)?)
}

fn item(explanation: &Explanation) -> Value {
    json!({
        "code": explanation.code,
        "title": explanation.title,
        "cause": explanation.cause,
        "cure": explanation.cure,
    })
}

fn wrapped(body: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in body.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= TEXT_WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines.join("\n")
}
