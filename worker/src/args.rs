//! What a pod's worker is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Runs one object of Keyweir: what the operator puts into a pod. For a laptop there is `keyweir run -f`.
#[derive(Debug, Parser)]
#[command(name = "keyweir-worker", version)]
pub struct Args {
    /// File with the WorkerConfig; read again while it changes
    #[arg(long, value_name = "FILE", default_value = "/etc/keyweir/worker.json")]
    pub config: PathBuf,

    /// Where /livez, /readyz and /metrics listen, unless the configuration says otherwise
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// How this member calls itself: the pod's uid
    #[arg(long, env = "POD_UID", default_value = "")]
    pub member: String,
}
