//! `keyweir`, the command a person types.

#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How long a read of standard input that nobody answers may hold up the end.
const LEFTOVERS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = keyweir::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Whether somebody reads it or not.
            let _ = writeln!(io::stderr(), "keyweir: failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(keyweir::execute(arguments));
    runtime.shutdown_timeout(LEFTOVERS);
    code
}
