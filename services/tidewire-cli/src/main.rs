//! The one binary.

use std::process::ExitCode;

use tidewire::config::Env;

fn main() -> ExitCode {
    tidewire_cli::main_with(std::env::args_os(), Env::from_process())
}
