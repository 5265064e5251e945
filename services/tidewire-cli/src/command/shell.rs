//! `completions` and `man`: written from the command tree, so that they cannot be out of date.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidewire", &mut script);
    Ok(output.raw(&script)?)
}

/// Prints the main page, or writes one page per command into `dir`.
pub fn man(dir: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(output.raw(&page)?);
    };
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Error,
            "output.failed",
            format!("cannot write the manual pages to {}: {error}", dir.display()),
        )
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
}
