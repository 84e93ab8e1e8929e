//! `keyweir-operator`: parse, log, run, and an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use keyweir_operator::{args::Args, run::run, telemetry};
use tracing::error;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    telemetry::start(&args.log_level, args.log_format);
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(cause = telemetry::chain(&error), "the operator ended");
            ExitCode::FAILURE
        }
    }
}
