//! `keyweir completion`: the script that completes the command in a shell.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Arguments, CompletionArgs};

pub(crate) fn completion(args: &CompletionArgs) -> ExitCode {
    clap_complete::generate(args.shell, &mut Arguments::command(), "keyweir", &mut std::io::stdout());
    ExitCode::SUCCESS
}
