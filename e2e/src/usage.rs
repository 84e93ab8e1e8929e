//! What processes used of the machine: processor time and peak memory, read from /proc, so that every
//! contender is measured from outside and in the same way.

use std::fs;
use std::io;
use std::time::Duration;

/// What one process or a group of processes has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time, that of ended and awaited children included.
    pub cpu: Duration,
    /// The sum of each process's highest resident size, in bytes.
    pub peak_memory: u64,
}

impl Usage {
    /// One process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_process(id: u32) -> io::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let ticks: u64 = fields(&stat).skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        let tick = 1_000_000_000 / clock_ticks();
        Ok(Usage { cpu: Duration::from_nanos(ticks * tick), peak_memory: kib.unwrap_or_default() * 1024 })
    }

    /// All processes of a process group: a contender that spawns others is measured with them.
    #[must_use]
    pub fn of_group(group: u32) -> Usage {
        let mut sum = Usage::default();
        for id in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = id.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if group_of(id) != Some(group) {
                continue;
            }
            // A process may end between the two looks; what it used is then its parent's.
            if let Ok(usage) = Usage::of_process(id) {
                sum.cpu += usage.cpu;
                sum.peak_memory += usage.peak_memory;
            }
        }
        sum
    }
}

/// What all processors of the machine have been busy with since it started.
///
/// # Errors
/// When /proc can't be read.
pub fn machine_busy() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user already.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, n)| n).sum();
    Ok(Duration::from_nanos(busy * (1_000_000_000 / clock_ticks())))
}

fn group_of(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    fields(&stat).nth(2)?.parse().ok()
}

/// The fields after the command's name, which may hold spaces and parentheses.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn clock_ticks() -> u64 {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let before = Usage::of_process(std::process::id()).unwrap();
        let filled = vec![1u8; 16 << 20];
        let mut sum = 0u64;
        while Usage::of_process(std::process::id()).unwrap().cpu < before.cpu + Duration::from_millis(50) {
            sum += filled.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
        assert!(sum > 0);
        let after = Usage::of_process(std::process::id()).unwrap();
        assert!(after.peak_memory >= 16 << 20);
        assert!(Usage::of_group(group_of(std::process::id()).unwrap()).cpu >= after.cpu);
        assert!(machine_busy().unwrap() > Duration::ZERO);
    }
}
