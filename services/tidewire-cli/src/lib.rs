//! The `tidewire` binary as a library, so that tests can run it in a child process of their own.
//!
//! [`main_with`] is the whole program. `wire` is the only place that names concrete backends; `services` the only
//! one that names every service; `instance` puts both together and runs them. Commands for operators go through
//! `client`: to a running instance over HTTP, otherwise through the same routes in this process.

mod args;
mod client;
mod command;
mod contracts;
mod demo;
mod exit;
mod failure;
mod instance;
mod legacy;
mod local;
#[cfg(test)]
mod openapi_tests;
mod output;
mod run;
mod runfile;
mod services;
mod session;
mod signals;
mod up;
mod watched;
mod wire;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tidewire::config::Env;

use args::{Cli, Command, EXTRACT_CHILD, EventsCommand};
use client::Client;
use exit::Exit;
use failure::Failure;
use output::Output;
use session::Session;

/// The whole program: `args` with the program's name first, `env` instead of the process's own environment.
///
/// Called with the hidden command `extract-child` it becomes the process that extracts the text of one document,
/// before any thread is started. Otherwise it sets up TLS and a runtime, so it is to be called once per process.
pub fn main_with(args: impl IntoIterator<Item = OsString>, env: Env) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|first| first == EXTRACT_CHILD) {
        return documents::extract::child_main();
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wants_json(&args)).into(),
    };
    let for_scripts = cli.global.output.is_for_scripts();
    let program = args.first().map_or_else(|| "tidewire".into(), |program| program.to_string_lossy().into_owned());
    let session = Session::new(cli.global, env, program);
    let ended = run_command(&session, &cli.command);
    match ended {
        Ok(()) => Exit::Ok.into(),
        // The reader has all it wanted.
        Err(failure) if failure.is_closed_pipe() => Exit::Ok.into(),
        Err(failure) => {
            let text = if for_scripts { failure.for_scripts() } else { failure.for_people() };
            // Nobody is left to tell when standard error is closed too.
            let _ = writeln!(std::io::stderr(), "{text}");
            failure.exit.into()
        }
    }
}

fn run_command(session: &Session, command: &Command) -> Result<(), Failure> {
    let mut output = session.output();
    // What needs no runtime starts none.
    match command {
        Command::Explain { code } => command::explain::run(code.as_deref(), &mut output)?,
        Command::Config(config) => command::config::run(session, config, &mut output)?,
        Command::Events(EventsCommand::Lint(lint)) => command::lint::run(lint, &mut output)?,
        Command::Completions { shell } => command::shell::completions(*shell, &mut output)?,
        Command::Man { dir } => command::shell::man(dir.as_deref(), &mut output)?,
        _ => {
            tidewire::install_tls();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::new(Exit::Error, "command.failed", format!("no runtime: {error}")))?;
            let ended = runtime.block_on(run_async(session, command, &mut output));
            // A blocking read that nobody waits for any more must not hold the process.
            runtime.shutdown_background();
            ended?;
        }
    }
    Ok(output.flush()?)
}

async fn run_async(session: &Session, command: &Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(session, args, output).await,
        Command::Run(args) => run::run(session, args, output).await,
        Command::Demo(args) => demo::run(session, args, output).await,
        Command::Schemas(schemas) => tokio::select! {
            ended = command::schemas::run(session, schemas, output) => ended,
            _ = tokio::signal::ctrl_c() => Err(signals::interrupted()),
        },
        other => {
            tokio::select! {
                ended = ask(session, other, output) => ended,
                _ = tokio::signal::ctrl_c() => Err(signals::interrupted()),
            }
        }
    }
}

async fn ask(session: &Session, command: &Command, output: &mut Output) -> Result<(), Failure> {
    let client = Client::connect(session).await?;
    let ended = match command {
        Command::Status => command::status::run(&client, output).await,
        Command::Doctor => command::doctor::run(&client, output).await,
        Command::Events(EventsCommand::Emit(emit)) => {
            command::emit::run(&client, emit, session.clock.as_ref(), output).await
        }
        Command::Events(events) => command::events::run(&client, events, output).await,
        Command::Consumers(consumers) => command::consumers::run(&client, consumers, output).await,
        Command::Parked(parked) => command::parked::run(&client, parked, output).await,
        Command::Effects(effects) => command::effects::run(&client, effects, output).await,
        Command::Sagas(sagas) => command::sagas::run(&client, sagas, output).await,
        Command::Keys(keys) => command::keys::run(&client, keys, session.clock.as_ref(), output).await,
        Command::Subscriptions(subscriptions) => command::subscriptions::run(&client, subscriptions, output).await,
        Command::Log(log) => command::log::run(&client, log, output).await,
        Command::Import(import) => command::import::run(&client, session, import, output).await,
        Command::Verify(verify) => command::verify::run(&client, session, verify, output).await,
        Command::Replay(replay) => command::replay::run(&client, replay, output).await,
        Command::Projections(projections) => command::projections::run(&client, projections, output).await,
        other => Err(Failure::new(Exit::Usage, "command.usage", format!("{other:?} is not asked of an instance"))),
    };
    client.close().await;
    ended
}

/// What clap has to say: help and version on standard output, everything else as an error of usage.
fn usage(error: &clap::Error, json: bool) -> Exit {
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Ok;
    }
    if json {
        let failure = Failure::new(Exit::Usage, "command.usage", error.to_string().trim());
        let _ = writeln!(std::io::stderr(), "{}", failure.for_scripts());
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

/// Whether a script asked, as far as a command line can tell that could not be parsed.
fn wants_json(args: &[OsString]) -> bool {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let format = |text: &str| text == "json" || text == "jsonl";
    words.windows(2).any(|pair| matches!(pair[0], "-o" | "--output") && format(pair[1]))
        || words
            .iter()
            .any(|word| word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")).is_some_and(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_recognised_before_its_words_are_understood() {
        for (line, expected) in [
            ("tidewire -o json nonsense", true),
            ("tidewire nonsense --output=jsonl", true),
            ("tidewire nonsense -ojson", true),
            ("tidewire nonsense -o table", false),
            ("tidewire explain json", false),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(wants_json(&args), expected, "{line}");
        }
    }

    fn exit_of(line: &str) -> ExitCode {
        main_with(line.split(' ').map(OsString::from), Env::default())
    }

    #[test]
    fn the_exit_code_says_what_happened() {
        for (line, exit) in [
            ("tidewire nonsense", Exit::Usage),
            ("tidewire parked redrive", Exit::Usage),
            ("tidewire explain no.such_code", Exit::NotFound),
            ("tidewire explain saga.stuck -o json", Exit::Ok),
            ("tidewire config check --no-config -o json", Exit::Ok),
            ("tidewire config check --no-config --set relay.bach=1", Exit::Findings),
            ("tidewire config show --no-config --set relay.batch=many", Exit::Invalid),
            ("tidewire config show nothing_like_it --no-config", Exit::NotFound),
            ("tidewire status --no-config --url http://127.0.0.1:1", Exit::Unavailable),
            ("tidewire status --no-config --data-dir /nonexistent/tidewire", Exit::Unavailable),
            ("tidewire status --url ftp://x", Exit::Usage),
            ("tidewire up --no-config --set store.url=mysql://localhost/x", Exit::Invalid),
            (
                "tidewire status --no-config --set store.url=postgres://127.0.0.1:1/x --set broker.url=nats://127.0.0.1:1",
                Exit::Unavailable,
            ),
        ] {
            assert_eq!(format!("{:?}", exit_of(line)), format!("{:?}", ExitCode::from(exit)), "{line}");
        }
    }

    /// Codes are string literals here: each must be in the table that `explain` prints.
    #[test]
    fn every_code_of_the_command_line_is_explained() {
        const AREAS: [&str; 9] =
            ["auth", "backend", "client", "command", "event", "listen", "role", "service", "store"];
        let mut found = 0;
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                // What follows `Exit::…,` is the code of a failure.
                for after in source.split("Exit::").skip(1) {
                    let Some(code) = after.split_once(',').and_then(|(_, rest)| rest.trim_start().strip_prefix('"'))
                    else {
                        continue;
                    };
                    let code = code.split('"').next().unwrap_or_default();
                    if AREAS.contains(&code.split('.').next().unwrap_or_default())
                        && code.contains('.')
                        && !code.contains(' ')
                    {
                        assert!(tidewire::codes::explain(code).is_some(), "{code} in {}", path.display());
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 20, "{found}");
    }
}
