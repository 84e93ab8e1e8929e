//! What an answer's status amounts to, as PROTOCOL.md tells handlers' authors. Up: [`super`].

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use http::{StatusCode, response};
use keyweir_engine::{Failure, Verdict};

use crate::reason;

/// The verdict of a status that is no 2xx. `said` is the start of the body.
pub(super) fn verdict(head: &response::Parts, said: &str) -> Verdict {
    let status = head.status;
    let after = retry_after(&head.headers);
    let failure = |reason| {
        let said = said.trim();
        let text =
            if said.is_empty() { format!("answered {status}") } else { format!("answered {status}: {said}") };
        Failure::new(reason, text)
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Verdict::Unavailable { after, failure: failure(reason::BUSY) }
        }
        StatusCode::REQUEST_TIMEOUT => Verdict::Retry { after, failure: failure(reason::HANDLER_FAILED) },
        _ if status.is_client_error() => Verdict::Reject(failure(reason::HANDLER_REJECTED)),
        _ if status.is_server_error() => Verdict::Retry { after, failure: failure(reason::HANDLER_FAILED) },
        _ => Verdict::Retry { after: None, failure: elsewhere(head) },
    }
}

fn elsewhere(head: &response::Parts) -> Failure {
    let place = head.headers.get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or("another place");
    let text = format!("answered {}: let the handler's url lead to {place} directly", head.status);
    Failure::new(reason::ANSWER_INVALID, text)
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, headers: &[(&'static str, String)]) -> Verdict {
        let mut answer = http::Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, value);
        }
        verdict(&answer.body(()).expect("an answer").into_parts().0, "said\n")
    }

    #[test]
    fn each_status_has_its_verdict() {
        for status in [400, 401, 404, 409, 422, 451] {
            assert!(matches!(of(status, &[]), Verdict::Reject(failure) if failure.text.ends_with(": said")));
        }
        for status in [408, 500, 502, 504] {
            assert!(matches!(of(status, &[]), Verdict::Retry { after: None, .. }), "{status}");
        }
        for status in [429, 503] {
            assert!(matches!(of(status, &[]), Verdict::Unavailable { after: None, .. }), "{status}");
        }
        let moved = of(301, &[("location", "http://b/".to_owned())]);
        assert!(matches!(moved, Verdict::Retry { failure, .. } if failure.text.contains("http://b/")));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = of(503, &[("retry-after", "7".to_owned())]);
        assert!(matches!(seconds, Verdict::Unavailable { after: Some(after), .. } if after.as_secs() == 7));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
        let dated = of(500, &[("retry-after", date)]);
        assert!(
            matches!(dated, Verdict::Retry { after: Some(after), .. } if (50..=60).contains(&after.as_secs()))
        );
        let past = of(503, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT".to_owned())]);
        assert!(matches!(past, Verdict::Unavailable { after: Some(Duration::ZERO), .. }));
        assert!(matches!(
            of(503, &[("retry-after", "soon".to_owned())]),
            Verdict::Unavailable { after: None, .. }
        ));
    }
}
