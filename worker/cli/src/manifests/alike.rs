//! What was meant by a word that is not known.

/// The known word that was meant: the same but for case and dashes, or a slip of the fingers away from it.
pub(super) fn alike<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(word);
    let slips = |candidate: &str| strsim::damerau_levenshtein(&plain, &self::plain(candidate));
    // One slip in three letters: what is further away is another word.
    let most = (plain.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|candidate| (slips(candidate), candidate));
    near.filter(|(slips, _)| *slips <= most).min_by_key(|(slips, _)| *slips).map(|(_, candidate)| candidate)
}

fn plain(word: &str) -> String {
    word.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let known = ["bootstrapServers", "group", "topics", "tls"];
        let meant = |word| alike(word, known);
        for (word, wanted) in [
            ("bootstrap-servers", Some("bootstrapServers")),
            ("bootstrapServer", Some("bootstrapServers")),
            ("gruop", Some("group")),
            ("TLS", Some("tls")),
            ("topic", Some("topics")),
            ("url", None),
            ("password", None),
        ] {
            assert_eq!(meant(word), wanted, "{word}");
        }
    }
}
