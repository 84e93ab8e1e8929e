//! The program `keyweir-bench`: reads the command line, prints the chain of causes of a failure.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use keyweir_bench::args::{Args, Command};
use keyweir_bench::{bench, child, moves, routing};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Command::Child { contender, words }) => child::run(contender, words),
        Some(Command::Moves { movers, rounds }) => moves::run(movers, *rounds),
        Some(Command::Routing { workers }) => routing::run(workers, args.seconds, &args.out),
        Some(Command::Report { results }) => bench::report(results),
        None => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause: Option<&dyn Error> = Some(error.as_ref());
            while let Some(error) = cause {
                eprintln!("keyweir-bench: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
