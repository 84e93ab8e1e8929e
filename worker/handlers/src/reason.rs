//! The words that say why an attempt failed: the same in metrics, conditions, headers of dead letters and in a
//! manifest's `retryOn`. Words are added, never changed. Up: [`crate`].

/// The handler answered `retry`, or with a status that means it.
pub const HANDLER_FAILED: &str = "HandlerFailed";
/// The handler answered `reject`, or with a status that means it.
pub const HANDLER_REJECTED: &str = "HandlerRejected";
/// The answer is no answer: garbage, another record's id, no end.
pub const ANSWER_INVALID: &str = "HandlerAnswerInvalid";
/// The answer is longer than `maxResponseBytes`.
pub const ANSWER_TOO_LARGE: &str = "HandlerAnswerTooLarge";
/// The answer holds an action that this kind of object does not have.
pub const ACTION_UNSUPPORTED: &str = "HandlerActionUnsupported";
/// The connection was lost after the request was sent.
pub const CONNECTION_LOST: &str = "HandlerConnectionLost";
/// The handler can't be reached: refused, unknown name, no route.
pub const UNREACHABLE: &str = "HandlerUnreachable";
/// The handler says that it is full.
pub const BUSY: &str = "HandlerBusy";
/// The handler promised signs of life and gave none.
pub const STUCK: &str = "HandlerStuck";
/// The child process ended while it held the record.
pub const CRASHED: &str = "HandlerCrashed";
/// The child process can't be started, or ends before it reads.
pub const CANNOT_START: &str = "HandlerCannotStart";
/// The record's value is not what the handler takes.
pub const VALUE_INVALID: &str = "HandlerValueInvalid";

#[cfg(test)]
mod tests {
    #[test]
    fn the_protocol_document_names_every_word() {
        let words = include_str!("reason.rs").lines().filter_map(|line| line.strip_prefix("pub const "));
        let words: Vec<_> = words.filter_map(|line| line.split('"').nth(1)).collect();
        assert_eq!(words.len(), 12);
        for word in words {
            assert!(include_str!("../PROTOCOL.md").contains(&format!("`{word}`")), "{word}");
        }
    }
}
