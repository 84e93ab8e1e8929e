//! The newer etcd: its server, `etcdctl` and `etcdutl`, built once from their Go modules. Debian has 3.4.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, CacheError};
use crate::process::{self, ProcessError};

const MODULES: &str = include_str!("../../etcd/go.mod");
const SUMS: &str = include_str!("../../etcd/go.sum");

/// The programs, and the packages that they are.
const PROGRAMS: [(&str, &str); 3] = [
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
    ("etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
];

/// One of the programs.
pub(super) fn program(name: &str) -> Result<PathBuf, CacheError> {
    let recipe = cache::key(&[MODULES, SUMS, include_str!("tools.rs")]);
    Ok(cache::once(&format!("etcd-{recipe}"), build)?.join(name))
}

fn build(dir: &Path) -> Result<(), ProcessError> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("etcd");
    for (name, package) in PROGRAMS {
        let mut go = Command::new("nice");
        go.args(["-n", "19", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o"])
            .arg(dir.join(name))
            .arg(package);
        go.current_dir(&modules).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false -mod=readonly");
        process::run("go build of etcd (minutes, once)", go)?;
    }
    Ok(())
}
