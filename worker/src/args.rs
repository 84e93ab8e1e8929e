//! What a pod's worker is started with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Runs one object of Keyweir: what the operator puts into a pod. For a laptop there is `keyweir run -f`.
#[derive(Debug, Parser)]
#[command(name = "keyweir-worker", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than to work
    #[command(subcommand)]
    pub task: Option<Task>,

    /// File with the WorkerConfig; read again while it changes
    #[arg(long, value_name = "FILE", default_value = "/etc/keyweir/worker.json")]
    pub config: PathBuf,

    /// Where /livez, /readyz and /metrics listen, unless the configuration says otherwise
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// How this member calls itself: the pod's uid
    #[arg(long, env = "POD_UID", default_value = "")]
    pub member: String,

    /// Where other members reach this one: the pod's address
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    pub address: Option<IpAddr>,
}

/// What the program does besides working.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Measures how far objects are behind, whether or not they have workers
    Meter(MeterArgs),
    /// Removes checkpoints and parked records that a deleted object leaves
    Purge(PurgeArgs),
}

/// What a meter is started with.
#[derive(Debug, clap::Args)]
pub struct MeterArgs {
    /// Directory with a WorkerConfig for each object, NAME.json; read again while it changes
    #[arg(long, value_name = "DIR", default_value = "/etc/keyweir/objects")]
    pub objects: PathBuf,

    /// Where it listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
}

/// What a purge is started with.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    /// File with the WorkerConfig of the object that was deleted
    #[arg(long, value_name = "FILE", default_value = "/etc/keyweir/worker.json")]
    pub config: PathBuf,
}
