//! The command line. Each option can be given by an environment variable too; nothing else is read from there.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

use crate::telemetry::{self, LogFormat};

/// Turns StreamConsumer objects into running workers.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Args {
    /// Look after objects of this class only; without it, after those that name none.
    #[arg(long, env = "KEYWEIR_CLASS", default_value = "")]
    pub class: String,
    /// Look after these namespaces only; without it, after all.
    #[arg(long = "namespace", env = "KEYWEIR_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Ask a running operator whether it is ready, and end: http://host:port/readyz.
    #[arg(long)]
    pub probe: Option<String>,
    /// The workers' image.
    #[arg(long, env = "KEYWEIR_WORKER_IMAGE", default_value = "keyweir-worker")]
    pub worker_image: String,
    /// When the workers' image is pulled.
    #[arg(long, env = "KEYWEIR_WORKER_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub worker_image_pull_policy: String,
    /// File with the installation's defaults for objects, as YAML.
    #[arg(long, env = "KEYWEIR_DEFAULTS")]
    pub defaults: Option<PathBuf>,
    /// Address and port of /livez, /readyz and /metrics.
    #[arg(long, env = "KEYWEIR_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address and port of the status page, which has no login: a loopback address, reached by kubectl port-forward.
    #[arg(long, env = "KEYWEIR_STATUS_PAGE", default_value = "127.0.0.1:8081")]
    pub status_page: SocketAddr,
    /// Name of this replica.
    #[arg(long, env = "POD_NAME")]
    pub instance: Option<String>,
    /// Namespace of this replica, and of the Lease by which replicas choose the one that leads.
    #[arg(long, env = "POD_NAMESPACE")]
    pub instance_namespace: Option<String>,
    /// Name of that Lease; without it, this replica leads without asking.
    #[arg(long, env = "KEYWEIR_LEASE")]
    pub lease: Option<String>,
    /// Objects that are reconciled at a time.
    #[arg(long, env = "KEYWEIR_CONCURRENCY", default_value_t = 16)]
    pub concurrency: u16,
    /// Objects whose workers are replaced at a time after an upgrade of the operator. One that does not become ready
    /// keeps its place.
    #[arg(long, env = "KEYWEIR_UPGRADE_LIMIT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub upgrade_limit: u16,
    /// Requests to the API server, each second.
    #[arg(long, env = "KEYWEIR_API_RATE", default_value_t = 200)]
    pub api_rate: u32,
    /// Requests to the API server at once after a silence.
    #[arg(long, env = "KEYWEIR_API_BURST", default_value_t = 400)]
    pub api_burst: u32,
    /// From which level on things are logged; a level, or a list such as info,kube=warn.
    #[arg(long, env = "KEYWEIR_LOG_LEVEL", default_value = "info", value_parser = telemetry::filter)]
    pub log_level: String,
    /// How log lines look.
    #[arg(long, env = "KEYWEIR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
}
