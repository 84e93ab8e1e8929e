//! How long ago something was, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long ago a moment was, in its two largest units.
pub(crate) fn since(millis: i64) -> String {
    told(millis, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn told(millis: i64, now: Duration) -> String {
    let then = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    let seconds = now.saturating_sub(then).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        let now = Duration::from_secs(1_000_000);
        let told = [1_000_000, 999_990, 999_000, 990_000, 0].map(|since| told(since * 1000, now));
        assert_eq!(told, ["0s", "10s", "16m40s", "2h46m", "11d13h"]);
    }
}
