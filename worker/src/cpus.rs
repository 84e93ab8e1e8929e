//! How many CPUs this process may use: the cgroup's quota, not the node's cores.

use std::fs;

/// CPUs by the cgroup's quota (rounded up), else by the number of usable cores; at least 1.
pub fn available() -> u32 {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cpu.max").ok().and_then(|text| quota_v2(&text));
    let v1 = || {
        let quota = fs::read_to_string("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").ok()?;
        let period = fs::read_to_string("/sys/fs/cgroup/cpu/cpu.cfs_period_us").ok()?;
        quota_v1(&quota, &period)
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    v2.or_else(v1).unwrap_or(cores).clamp(1, cores.max(1))
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

    #[test]
    fn a_quota_is_rounded_up_and_none_is_none() {
        assert_eq!(quota_v2("150000 100000\n"), Some(2));
        assert_eq!(quota_v2("max 100000\n"), None);
        assert_eq!(quota_v1("-1\n", "100000\n"), None);
        assert_eq!(quota_v1("400000", "100000"), Some(4));
    }
}
