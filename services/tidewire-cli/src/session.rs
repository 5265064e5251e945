//! What every command starts from: the options, the environment and the clock.

use std::path::Path;
use std::sync::Arc;

use tidewire::config::{ColorChoice, Config, Env, FileSource, Flag, Sources};
use tidewire::{Clock, SystemClock};

use crate::args::{Color, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// What every command starts from.
pub struct Session {
    /// The options of every command.
    pub global: Global,
    /// The environment.
    pub env: Env,
    /// How this program was called, for commands that people are told to try: from a checkout it is on no path.
    pub program: String,
    /// Time, ids and randomness.
    pub clock: Arc<dyn Clock>,
}

impl Session {
    /// A session on the machine's own clock.
    pub fn new(global: Global, env: Env, program: String) -> Self {
        Self { global, env, program, clock: Arc::new(SystemClock) }
    }

    /// Where results go.
    pub fn output(&self) -> Output {
        Output::stdout(self.global.output, self.global.time, self.color(), SystemClock)
    }

    /// Flags and environment only: how to colour must be known also when the configuration is broken.
    fn color(&self) -> ColorChoice {
        match self.global.color {
            Some(Color::Auto) => ColorChoice::Auto,
            Some(Color::Always) => ColorChoice::Always,
            Some(Color::Never) => ColorChoice::Never,
            None if self.env.non_empty("NO_COLOR").is_some() => ColorChoice::Never,
            None if self.env.non_empty("CLICOLOR_FORCE").is_some() => ColorChoice::Always,
            None => ColorChoice::Auto,
        }
    }

    /// The configuration: these flags over the command line's own, over environment, over file.
    pub fn config(&self, more: &[Flag]) -> Result<Config, Failure> {
        Ok(Config::load(self.sources(more)?)?)
    }

    /// What the configuration is built from.
    pub fn sources(&self, more: &[Flag]) -> Result<Sources, Failure> {
        let global = &self.global;
        let file = if global.no_config {
            FileSource::None
        } else {
            FileSource::locate(global.config.clone(), &self.env, Path::new(""))
        };
        let mut flags = Vec::new();
        for text in &global.set {
            flags.push(Flag::parse_set(text).ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    "command.usage",
                    format!("--set {text}: expected KEY=VALUE, such as relay.batch=64"),
                )
            })?);
        }
        if let Some(dir) = &global.data_dir {
            let dir = dir.to_str().ok_or_else(|| {
                Failure::new(
                    Exit::Usage,
                    "command.usage",
                    format!("--data-dir {}: the path is not UTF-8", dir.display()),
                )
            })?;
            flags.push(Flag::new("data_dir", "--data-dir", dir));
        }
        if let Some(color) = global.color {
            let word = match color {
                Color::Auto => "auto",
                Color::Always => "always",
                Color::Never => "never",
            };
            flags.push(Flag::new("log.color", "--color", word));
        }
        flags.extend_from_slice(more);
        Ok(Sources { file, env: self.env.clone(), flags })
    }
}

/// `--listen` as a flag of the configuration.
pub fn listen_flag(listen: Option<&str>) -> Vec<Flag> {
    listen.map(|address| Flag::new("listen", "--listen", address)).into_iter().collect()
}
