//! `projections`: looking at read models, and building them anew.

use axum::http::Method;
use serde_json::json;

use super::Noun;
use super::parked::agree;
use super::replay::{follow, show_plan};
use crate::args::{ProjectionsCommand, Rebuild};
use crate::client::{Client, path};
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Column, number, text};

const COLUMNS: &[Column] = &[
    text("projection", &["/name"]),
    number("generation", &["/generation"]),
    number("position", &["/position"]),
    number("behind", &["/behind"]),
    number("rows", &["/rows"]),
    number("kept", &["/previous/generation"]),
    text("collections", &["/collections"]).wide(),
    text("rebuild", &["/rebuild"]).wide(),
];

const NOUN: Noun = Noun { columns: COLUMNS, name: &["/name"], empty: "No projections." };

/// Asks and prints.
pub async fn run(client: &Client, command: &ProjectionsCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        ProjectionsCommand::List => NOUN.page(output, &client.get(&path(&["v1", "projections"])).await?),
        ProjectionsCommand::Rebuild(asked) => rebuild(client, asked, output).await,
    }
}

async fn rebuild(client: &Client, asked: &Rebuild, output: &mut Output) -> Result<(), Failure> {
    let target = path(&["v1", "projections", &asked.name, "rebuild"]);
    let body = |dry_run: bool| {
        json!({
            "rollback": asked.rollback, "only_if_equal": asked.only_if_equal, "rate": asked.rate, "dry_run": dry_run,
            "reason": asked.consent.reason,
        })
    };
    if asked.consent.dry_run {
        let (_, plan) = client.send(Method::POST, &target, &body(true)).await?;
        return show_plan(&plan, output);
    }
    let what = if asked.rollback { "go back to the generation before of" } else { "rebuild" };
    agree(&asked.consent, &format!("{what} the projection {}", asked.name))?;
    let (_, job) = client.send(Method::POST, &target, &body(false)).await?;
    follow(client, job, asked.detach, output).await
}
