//! What keeps pods from running, as the kubelet says it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::{handler::HANDLER, pod::WORKER};

/// Words of the kubelet that mean: the same will happen again until somebody changes something.
const LASTING: [&str; 8] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// A container that can't run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whose container it is.
    pub of: Whose,
    /// The kubelet's word.
    pub word: String,
    /// Pod, word and message in one sentence.
    pub message: String,
}

/// Whose container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The user's handler.
    Handler,
    /// The worker.
    Worker,
}

impl Trouble {
    /// Whether the container starts and ends again and again; otherwise it does not even start.
    pub fn crashes(&self) -> bool {
        self.word == "CrashLoopBackOff"
    }
}

/// The worst trouble among the pods: a handler's before a worker's, for the worker waits for its handler.
pub fn worst(pods: &[Pod]) -> Option<Trouble> {
    [Whose::Handler, Whose::Worker].into_iter().find_map(|whose| pods.iter().find_map(|pod| of(pod, whose)))
}

fn of(pod: &Pod, whose: Whose) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let (containers, name) = match whose {
        Whose::Handler => (&status.init_container_statuses, HANDLER),
        Whose::Worker => (&status.container_statuses, WORKER),
    };
    let container = containers.iter().flatten().find(|container| container.name == name)?;
    let (word, text) = lasting(container)?;
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let ended = ending(container).map(|ending| format!(", {ending}")).unwrap_or_default();
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    Some(Trouble {
        of: whose,
        message: format!("container {name} of pod {pod_name}: {word}{ended}{text}"),
        word,
    })
}

fn lasting(container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let word = waiting.reason.clone().filter(|word| LASTING.contains(&word.as_str()))?;
    Some((word, waiting.message.clone().unwrap_or_default()))
}

/// How the container ended the last time.
fn ending(container: &ContainerStatus) -> Option<String> {
    let ended = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(format!("last ended with code {} ({reason})", ended.exit_code))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, worker: &str, handler: &str) -> Pod {
        let waiting = |name: &str, reason: &str| {
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason, "message": "back-off"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {
                "containerStatuses": [waiting(WORKER, worker)],
                "initContainerStatuses": [waiting(HANDLER, handler)],
            }
        }))
        .expect("a pod")
    }

    #[test]
    fn a_handlers_trouble_comes_first() {
        let pods =
            [pod("a", "CrashLoopBackOff", "PodInitializing"), pod("b", "PodInitializing", "ErrImagePull")];
        let trouble = worst(&pods).expect("there is trouble");
        assert_eq!((trouble.of, trouble.crashes()), (Whose::Handler, false));
        assert_eq!(
            trouble.message,
            "container handler of pod b: ErrImagePull, last ended with code 137 (OOMKilled): back-off"
        );
    }

    #[test]
    fn starting_is_no_trouble() {
        assert_eq!(worst(&[pod("a", "PodInitializing", "ContainerCreating")]), None);
    }
}
