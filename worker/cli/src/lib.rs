//! The command a person types: one file per subcommand, all of them thin.
//!
//! ```text
//! args.rs ──▶ run.rs ──▶ manifests.rs (YAML -> WorkerConfigs) ──▶ keyweir_worker::Host
//!        ├──▶ send.rs, parked.rs ──▶ control.rs (the socket of a running process)
//!        ├──▶ verify.rs (the oracle over event logs)
//!        ├──▶ roster.rs (members and shards, as etcd says it)
//!        └──▶ check.rs, render.rs, crds.rs, completion.rs
//! ```
//! Nothing here knows how a record is handled: that is `keyweir-worker`'s.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod age;
mod args;
mod check;
mod completion;
mod control;
mod crds;
mod exit;
mod manifests;
mod parked;
mod records;
mod render;
mod roster;
mod run;
mod say;
mod send;
mod verify;

use std::process::ExitCode;

pub use args::Arguments;
use args::Subcommand;

/// Does what was asked and says how it went: 0 = well, 1 = it could not be done, 2 = a wrong manifest or argument;
/// `run` and `verify` have codes of their own.
pub async fn execute(arguments: Arguments) -> ExitCode {
    match arguments.subcommand {
        Subcommand::Run(args) => run::run(args).await,
        Subcommand::Send(args) => send::send(args).await,
        Subcommand::Parked(args) => parked::parked(args).await,
        Subcommand::Members(args) => roster::members(&args).await,
        Subcommand::Shards(args) => roster::shards(&args).await,
        Subcommand::Verify(args) => verify::verify(&args),
        Subcommand::Check(args) => check::check(&args),
        Subcommand::Render(args) => render::render(&args),
        Subcommand::Crds => crds::crds(),
        Subcommand::Completion(args) => completion::completion(&args),
    }
}
