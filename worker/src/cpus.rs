//! How many CPUs this process may count on: its cgroup's quota; without one the pod's request, never the node's cores;
//! on a machine of its own all that it may run on.
//!
//! ```text
//!  /proc/self/mountinfo  where the CPU controller is mounted, and which cgroup its mount shows
//!  /proc/self/cgroup     which cgroup is ours ─▶ its directory, and each one above: the least quota counts
//! ```
//! A pod sees its own cgroup at the mount; a process in a nested one (systemd's `CPUQuota=`, a container that shares the
//! machine's view) finds its own below. Both versions of cgroups are read, and both where a machine has both.

use std::fs;
use std::path::{Path, PathBuf};

/// What a process may count on where no quota limits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Share {
    /// The machine is its own: all CPUs that it may run on. A laptop.
    #[default]
    Machine,
    /// What its pod requests, in thousandths of a CPU; 0 = nothing is promised. Others use the rest of the node.
    Request(u32),
}

impl Share {
    fn of(self, usable: u32) -> u32 {
        match self {
            Self::Machine => usable,
            Self::Request(millis) => millis.div_ceil(1000),
        }
    }
}

/// CPUs by the cgroup's quota, else by the share, rounded up; at most those it may run on, at least 1.
pub fn available(share: Share) -> u32 {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let directories = directories(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"));
    let quota = directories.iter().filter_map(|directory| quota_in(directory)).min();
    count(quota, usable(&text("/proc/self/status")), share)
}

fn count(quota: Option<u32>, usable: u32, share: Share) -> u32 {
    quota.unwrap_or_else(|| share.of(usable)).min(usable).max(1)
}

/// CPUs that the process may run on. The standard library counts a quota here too, rounded down.
fn usable(status: &str) -> u32 {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or(1, |list| list.trim().split(',').map(span).sum())
}

/// How many `0-3` or `5` names.
fn span(text: &str) -> u32 {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().ok();
    number(first).zip(number(last)).map_or(0, |(first, last)| last.saturating_sub(first) + 1)
}

/// The directories of the process's own cgroups, and those above them.
fn directories(mounts: &str, cgroups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(Mount::read) {
        let Some(own) = cgroups.lines().find_map(|line| mount.cgroup_of(line)) else { continue };
        // A cgroup that the mount does not show has no directory there: what the mount shows is the nearest.
        let below = own.strip_prefix(mount.root).unwrap_or_default().trim_start_matches('/');
        // By its parts: what is joined with nothing ends in a slash.
        let own: PathBuf = Path::new(mount.point).join(below).components().collect();
        let above = own.ancestors().take_while(|directory| directory.starts_with(mount.point));
        found.extend(above.map(Path::to_owned));
    }
    found
}

/// A mount that may have a CPU controller.
struct Mount<'a> {
    /// The cgroup that is seen at the mount.
    root: &'a str,
    point: &'a str,
    is_v2: bool,
}

impl<'a> Mount<'a> {
    /// `32 31 0:29 ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE OPTIONS`
    fn read(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
        let is_v2 = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => true,
            ("cgroup", options) if has_cpu(options) => false,
            _ => return None,
        };
        Some(Self { root: place.next()?.trim_end_matches('/'), point: place.next()?, is_v2 })
    }

    /// What a line of `/proc/self/cgroup` says of this mount: `0::/path`, or `4:cpu,cpuacct:/path`.
    fn cgroup_of<'b>(&self, line: &'b str) -> Option<&'b str> {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = if self.is_v2 { controllers.is_empty() } else { has_cpu(controllers) };
        is_it.then_some(path)
    }
}

fn has_cpu(list: &str) -> bool {
    list.split(',').any(|one| one == "cpu")
}

/// The quota of one cgroup, of either version.
fn quota_in(directory: &Path) -> Option<u32> {
    let text = |name: &str| fs::read_to_string(directory.join(name)).ok();
    let v2 = text("cpu.max").and_then(|text| quota_v2(&text));
    v2.or_else(|| quota_v1(&text("cpu.cfs_quota_us")?, &text("cpu.cfs_period_us")?))
}

/// `max 100000` or `150000 100000`.
fn quota_v2(text: &str) -> Option<u32> {
    let (quota, period) = text.trim().split_once(' ')?;
    quota_v1(quota, period)
}

fn quota_v1(quota: &str, period: &str) -> Option<u32> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok().filter(|period| *period > 0)?;
    u32::try_from(quota.div_ceil(period)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mounts: &str, cgroups: &str) -> Vec<String> {
        directories(mounts, cgroups).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_quota_is_rounded_up_and_none_is_none() {
        assert_eq!(quota_v2("150000 100000\n"), Some(2));
        assert_eq!(quota_v2("max 100000\n"), None);
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
        assert_eq!(quota_v1("400000", "100000"), Some(4));
    }

    #[test]
    fn the_quota_counts_before_the_request_and_the_node_never_does() {
        let pod = |quota, millis| count(quota, 8, Share::Request(millis));
        assert_eq!(
            (pod(Some(2), 4_000), pod(Some(100), 250)),
            (2, 8),
            "the quota, and no more than there are"
        );
        assert_eq!(
            (pod(None, 250), pod(None, 1_000), pod(None, 1_001)),
            (1, 1, 2),
            "the request, rounded up"
        );
        assert_eq!((pod(None, 64_000), pod(None, 0)), (8, 1), "no request: one");
        assert_eq!((count(None, 8, Share::Machine), count(Some(3), 8, Share::Machine)), (8, 3), "a laptop");
        assert_eq!(count(None, 0, Share::Machine), 1);
    }

    #[test]
    fn cpus_that_may_be_used_are_counted() {
        assert_eq!(usable("Name:\tx\nCpus_allowed_list:\t0-3,7\n"), 5);
        assert_eq!(usable("Cpus_allowed_list:\t0\n"), 1);
    }

    #[test]
    fn a_nested_cgroup_is_found_below_its_mount_with_those_above() {
        let mounts = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate";
        let own = ["/sys/fs/cgroup/user.slice/app", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"];
        assert_eq!(found(mounts, "0::/user.slice/app\n"), own);
    }

    #[test]
    fn a_pod_sees_its_own_cgroup_at_the_mount() {
        let mounts = "30 29 0:26 /kubepods/pod1/c /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
                      31 29 0:27 /kubepods/pod1/c /sys/fs/cgroup/cpuset ro shared:3 - cgroup cgroup rw,cpuset";
        let cgroups = "5:cpuset:/kubepods/pod1/c\n4:cpu,cpuacct:/kubepods/pod1/c\n0::/\n";
        assert_eq!(found(mounts, cgroups), ["/sys/fs/cgroup/cpu,cpuacct"]);
        // A namespace of its own hides the path.
        assert_eq!(found(mounts, "4:cpu,cpuacct:/\n"), ["/sys/fs/cgroup/cpu,cpuacct"]);
    }
}
