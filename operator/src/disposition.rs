//! What to do about an error: try again after a while, or wait until something changes. Decided here only.

use std::time::Duration;

use kube::runtime::controller::Action;

/// What follows a failed reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// It may go away by itself: again, after a time that grows with each failure in a row.
    Retry,
    /// Only a change of the object or of the installation can help.
    WaitForChange,
}

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);

impl Disposition {
    /// What the API server's answer asks for.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            // The object is gone, or the server refuses what was sent: the same would be refused again.
            kube::Error::Api(status) if status.is_invalid() => Self::WaitForChange,
            _ => Self::Retry,
        }
    }

    /// The controller's next step, after that many failures in a row.
    pub fn action(self, failures: u32) -> Action {
        match self {
            Self::WaitForChange => Action::requeue(LONGEST),
            Self::Retry => Action::requeue(delay(failures)),
        }
    }
}

/// The wait after that many failures in a row: doubled each time, up to five minutes.
fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST)
}

/// The one word for a failed call that metrics and conditions use.
pub fn reason(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => "Forbidden",
        kube::Error::Api(status) if status.is_invalid() => "Invalid",
        kube::Error::Api(status) if status.is_conflict() => "Conflict",
        kube::Error::Api(status) if status.is_not_found() => "NotFound",
        kube::Error::Api(_) => "Refused",
        _ => "Unreachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits: Vec<_> = [0, 1, 2, 5, 9, 10, 1000].into_iter().map(|n| delay(n).as_secs()).collect();
        assert_eq!(waits, [1, 1, 2, 16, 256, 300, 300]);
    }
}
