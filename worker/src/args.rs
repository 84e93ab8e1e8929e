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

    /// How this member calls itself in its event log; by default the pod's uid
    #[arg(long, default_value = "")]
    pub member: String,

    /// The pod's uid: of its workers one lives at a time, so the next one proves that the one before is dead
    #[arg(long, env = "POD_UID", value_name = "UID")]
    pub pod: Option<String>,

    /// The pod's name, which ends in the ordinal where it belongs to a StatefulSet
    #[arg(long, env = "POD_NAME")]
    pub name: Option<String>,

    /// Which one this is, from 0 on, where placement is static; by default what the pod's name ends in
    #[arg(long, env = "KEYWEIR_ORDINAL", value_name = "N")]
    pub ordinal: Option<u32>,

    /// Where other members reach this one: the pod's address
    #[arg(long, env = "POD_IP", value_name = "ADDRESS")]
    pub address: Option<IpAddr>,

    /// The container's CPU request in thousandths of a CPU, by which profiles count where it has no CPU limit; 0 = none
    #[arg(long, env = "KEYWEIR_CPU_REQUEST", value_name = "MILLICPUS", default_value_t = 0)]
    pub cpu_request: u32,
}

impl Args {
    /// How this member calls itself in its event log.
    pub(crate) fn member(&self) -> String {
        let said = Some(&self.member).filter(|member| !member.is_empty()).or(self.pod.as_ref());
        said.cloned().unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
    }

    /// Which one this is of the workers that have fixed identities.
    pub(crate) fn ordinal(&self) -> Option<u32> {
        let of_name = || self.name.as_deref()?.rsplit_once('-')?.1.parse().ok();
        self.ordinal.or_else(of_name)
    }
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
