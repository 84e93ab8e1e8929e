//! Which pods go first when there are to be fewer: the idlest. Pure.
//!
//! A ReplicaSet takes the pod with the lowest cost among those that are equally ready. It is written once, just before the
//! number is lowered: written all the time it would cost more than it is worth.

use k8s_openapi::api::core::v1::Pod;

use crate::{cluster::objects::COST, registry::gather::Load};

/// The costs to be written so that `replicas` are left and the idlest go; none while enough are marked.
///
/// A pod of which nothing was heard does nothing.
pub fn costs(pods: &[Pod], loads: &[Load], replicas: i32) -> Vec<(String, i32)> {
    let mut live: Vec<&Pod> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    let surplus = live.len().saturating_sub(usize::try_from(replicas).unwrap_or(0));
    let marked = live.iter().filter(|pod| cost(pod) < 0).count();
    // Where all go, none goes first.
    if replicas == 0 || marked >= surplus {
        return Vec::new();
    }
    live.sort_by_key(|pod| load(pod, loads));
    let wanted = live.iter().enumerate().map(|(place, pod)| {
        let before = surplus.saturating_sub(place);
        (*pod, -i32::try_from(before).unwrap_or(i32::MAX))
    });
    wanted
        .filter(|(pod, wanted)| cost(pod) != *wanted)
        .map(|(pod, wanted)| (pod.metadata.name.clone().unwrap_or_default(), wanted))
        .collect()
}

fn cost(pod: &Pod) -> i32 {
    let annotation = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(COST));
    annotation.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Records that it executes, then shards that it owns.
fn load(pod: &Pod, loads: &[Load]) -> (i64, usize) {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
    let load = loads.iter().find(|load| Some(load.address) == address);
    load.map_or((0, 0), |load| (load.in_flight, load.shards))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(number: u8, cost: Option<&str>, going: bool) -> Pod {
        let mut pod = json!({
            "metadata": {"name": format!("pod-{number}")},
            "status": {"podIP": format!("10.0.0.{number}")},
        });
        if let Some(cost) = cost {
            pod["metadata"]["annotations"][COST] = cost.into();
        }
        if going {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        serde_json::from_value(pod).expect("a pod")
    }

    fn loads() -> Vec<Load> {
        let load = |number, in_flight, shards| Load { address: [10, 0, 0, number].into(), in_flight, shards };
        vec![load(1, 5, 2), load(2, 0, 3), load(3, 0, 2)]
    }

    fn named(costs: &[(String, i32)]) -> Vec<(&str, i32)> {
        costs.iter().map(|(name, cost)| (name.as_str(), *cost)).collect()
    }

    #[test]
    fn the_idlest_go_first_and_one_that_says_nothing_before_them() {
        let pods = [1, 2, 3, 4].map(|number| pod(number, None, false));
        assert_eq!(named(&costs(&pods[..3], &loads(), 2)), [("pod-3", -1)]);
        assert_eq!(named(&costs(&pods, &loads(), 2)), [("pod-4", -2), ("pod-3", -1)]);
        assert_eq!(costs(&pods, &loads(), 4), []);
        assert_eq!(costs(&pods, &loads(), 0), []);
    }

    #[test]
    fn they_are_marked_once_and_an_old_mark_is_taken_back() {
        let marked = [pod(1, None, false), pod(2, Some("-1"), false), pod(3, None, false)];
        assert_eq!(costs(&marked, &loads(), 2), []);
        assert_eq!(named(&costs(&marked, &loads(), 1)), [("pod-3", -2)]);
        let gone = [pod(1, Some("-1"), true), pod(2, Some("0"), false), pod(3, None, false)];
        assert_eq!(named(&costs(&gone, &loads(), 1)), [("pod-3", -1)]);
    }
}
