//! Reasons of failures that come over the wire: few words, known by their text. Up: the [crate](crate).

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The member that executed the record is gone, or has let it go.
pub(crate) const TARGET_LOST: &str = "TargetLost";

/// How many words are learned at most. A handler that makes up more is no user of words.
const MOST: usize = 512;

/// Words that came over the wire. A reason is a `&'static str` everywhere else, so each is leaked once; static, because
/// the same word must not be leaked again by every object and connection.
static LEARNED: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

/// The word of that text.
pub(crate) fn word(text: &str) -> &'static str {
    let mut learned = LEARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = learned.get(text) {
        return known;
    }
    if learned.len() >= MOST {
        return "HandlerFailed";
    }
    let word: &'static str = Box::leak(text.to_owned().into_boxed_str());
    learned.insert(word);
    word
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn a_word_is_learned_once() {
        assert!(std::ptr::eq(word("HandlerFailed"), word(&String::from("HandlerFailed"))));
    }
}
