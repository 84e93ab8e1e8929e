//! `keyweir-worker`, the program of a pod.

use std::process::ExitCode;

use clap::Parser;
use keyweir_worker::{Args, Registry, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Args::parse(), Registry::default()).await
}
