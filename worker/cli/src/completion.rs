//! `keyweir completion`: the script that completes the command in a shell.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::{Arguments, CompletionArgs};
use crate::{exit, say};

pub(crate) fn completion(args: &CompletionArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "keyweir", &mut script);
    exit::said(say::out(String::from_utf8_lossy(&script)))
}
