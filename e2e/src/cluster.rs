//! A real Kubernetes for tests: the one that `e2e/cluster` boots, or any that `KUBECONFIG` names.
//!
//! Tests speak to it as a user does, by kubectl and helm. Each has a namespace of its own; what stands for the
//! whole cluster (definitions, the operator) is installed once and left there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::{self, TimedOut};

/// The address of this machine at which pods reach what a test runs on the host.
pub const HOST_ADDRESS: &str = "KEYWEIR_HOST_ADDRESS";

/// Why the cluster is not there, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program could not be run.
    #[error("failed to run {program}")]
    Run {
        /// Which.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program said no.
    #[error("failed to have {command} done: {answer}")]
    Refused {
        /// The command line.
        command: String,
        /// What it printed.
        answer: String,
    },
    /// It printed what can't be read.
    #[error("failed to read the answer to {command}")]
    Answer {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something did not come about in time.
    #[error("failed to wait; last seen:\n{seen}")]
    Wait {
        /// What was waited for.
        #[source]
        source: TimedOut,
        /// What was there instead.
        seen: String,
    },
}

/// A cluster that is up.
#[derive(Debug, Clone)]
pub struct Cluster {
    environment: BTreeMap<String, String>,
    host: String,
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, else the project's own, booted if it is not up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn get() -> Result<Cluster, ClusterError> {
        if let (Ok(_), Ok(host)) = (std::env::var("KUBECONFIG"), std::env::var(HOST_ADDRESS)) {
            return Ok(Cluster { environment: BTreeMap::new(), host });
        }
        static BOOTING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = BOOTING.lock();
        let printed = run(Command::new(script("up.sh")), None)?;
        let file = printed.lines().last().unwrap_or_default().to_owned();
        let exports =
            std::fs::read_to_string(&file).map_err(|source| ClusterError::Run { program: file, source })?;
        let environment = read_exports(&exports);
        let host = environment.get(HOST_ADDRESS).cloned().unwrap_or_default();
        Ok(Cluster { environment, host })
    }

    /// Whether it is the project's own: of any other a test may not kill the parts.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !self.environment.is_empty()
    }

    /// Kills a part of the project's own cluster, such as `kubelet`, and starts it again after so many seconds; returns
    /// when it works again.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&self, part: &str, seconds: u32) -> Result<(), ClusterError> {
        let script = script("restart.sh").display().to_string();
        run(self.command(&script, &[part, &seconds.to_string()]), None).map(drop)
    }

    /// Runs a line as a person types it, in the checkout, with the cluster's environment; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn type_in(&self, line: &str) -> Result<String, ClusterError> {
        let mut command = self.command("bash", &["-ec", line]);
        command.current_dir(crate::source::workspace_root());
        run(command, None)
    }

    /// The address of this machine at which pods reach what a test runs on the host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Makes images of the programs that this build has made, and puts them into the cluster; once is enough for a
    /// run.
    ///
    /// # Errors
    /// When something can't be built or imported.
    pub fn images(&self) -> Result<(), ClusterError> {
        static MADE: Mutex<bool> = Mutex::new(false);
        let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !*made {
            let mut command = self.command(&script("images.sh").display().to_string(), &[]);
            command.env("KEYWEIR_BUILT", "1");
            run(command, None)?;
            *made = true;
        }
        Ok(())
    }

    /// Runs kubectl; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        run(self.command("kubectl", arguments), None)
    }

    /// Runs helm; what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, ClusterError> {
        run(self.command("helm", arguments), None)
    }

    /// Applies a manifest, as `kubectl apply -f -` does.
    ///
    /// # Errors
    /// When the API server refuses it, with the message that a user would see.
    pub fn apply(&self, namespace: &str, manifest: &str) -> Result<String, ClusterError> {
        run(self.command("kubectl", &["--namespace", namespace, "apply", "-f", "-"]), Some(manifest))
    }

    /// What `kubectl get -o json` prints.
    ///
    /// # Errors
    /// When there is no such thing.
    pub fn json(&self, namespace: &str, what: &[&str]) -> Result<Value, ClusterError> {
        let mut arguments = vec!["--namespace", namespace, "get", "-o", "json"];
        arguments.extend(what);
        let printed = self.kubectl(&arguments)?;
        serde_json::from_str(&printed)
            .map_err(|source| ClusterError::Answer { command: what.join(" "), source })
    }

    /// Looks at an object until `done` says yes of it; the object then.
    ///
    /// # Errors
    /// When it does not within the time, with what was there at the end.
    pub fn until(
        &self,
        namespace: &str,
        what: &[&str],
        within: Duration,
        done: impl Fn(&Value) -> bool,
    ) -> Result<Value, ClusterError> {
        let mut seen = String::new();
        let found = wait::some(&what.join(" "), within, || match self.json(namespace, what) {
            Ok(object) if done(&object) => Some(object),
            Ok(object) => {
                seen = format!("{object:#}");
                std::thread::sleep(Duration::from_millis(200));
                None
            }
            Err(error) => {
                seen = error.to_string();
                None
            }
        });
        found.map_err(|source| ClusterError::Wait { source, seen })
    }

    /// A new namespace, deleted again when it is dropped.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn namespace(&self, prefix: &str) -> Result<Namespace, ClusterError> {
        let name = crate::kafka::unique(prefix).replace(['_', '.'], "-").to_lowercase();
        self.kubectl(&["create", "namespace", &name])?;
        Ok(Namespace { cluster: self.clone(), name })
    }

    /// Forwards a port of this machine to that one of a pod, as `kubectl port-forward` does, until it is dropped.
    ///
    /// # Errors
    /// When there is no such pod, or it does not come about in time.
    pub fn forward(&self, namespace: &str, what: &str, port: u16) -> Result<Forward, ClusterError> {
        let failed = |source| ClusterError::Run { program: "kubectl port-forward".to_owned(), source };
        let (files, own) = (Scratch::make("forward").map_err(failed)?, Port::take().map_err(failed)?);
        let pair = format!("{}:{port}", own.number());
        let command = self.command("kubectl", &["--namespace", namespace, "port-forward", what, &pair]);
        let log = files.path().join("log");
        let process = Process::start("kubectl port-forward", command, &log)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        let forward = Forward { _process: process, port: own, files };
        let answers = || wait::answers(&forward.address());
        wait::until(what, Duration::from_secs(30), answers).map_err(|source| {
            let seen = std::fs::read_to_string(forward.files.path().join("log")).unwrap_or_default();
            ClusterError::Wait { source, seen }
        })?;
        Ok(forward)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("env");
        command.envs(&self.environment).arg(program).args(arguments);
        command
    }
}

/// A port that leads into a pod while it lives.
#[derive(Debug)]
pub struct Forward {
    _process: Process,
    port: Port,
    files: Scratch,
}

impl Forward {
    /// `host:port` on this machine.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }
}

/// A namespace of a test's own.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    name: String,
}

impl Namespace {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nobody waits for it, and a test that fails tells more than a namespace that stays.
        let _ = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// Truth and reason of a condition of an object; empty where it has none of that type.
#[must_use]
pub fn condition(object: &Value, type_: &str) -> (String, String) {
    let list = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = list.into_iter().flatten().find(|condition| condition["type"] == type_);
    let text =
        |name: &str| found.and_then(|condition| condition[name].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(name)
}

/// `export NAME=value` lines; `$PATH` in a value is ours.
fn read_exports(text: &str) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.replace("$PATH", &path)))
        .collect()
}

fn run(mut command: Command, input: Option<&str>) -> Result<String, ClusterError> {
    let line = format!("{command:?}");
    let failed = |source| ClusterError::Run { program: line.clone(), source };
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).map_err(failed)?;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().map_err(failed)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let answer = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Err(ClusterError::Refused { command: line, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_read_with_our_own_path() {
        let read = read_exports("# why\nexport KUBECONFIG=/a/b\nexport PATH=/bin/kube:$PATH\n");
        assert_eq!(read.get("KUBECONFIG").map(String::as_str), Some("/a/b"));
        assert!(read["PATH"].starts_with("/bin/kube:") && read["PATH"].len() > "/bin/kube:".len());
        assert_eq!(read.len(), 2);
    }
}
