//! Base64, as pictures and record values come.

/// The bytes that a text stands for, without a look at mistakes.
#[must_use]
pub fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::decoded;

    /// The vectors of RFC 4648.
    #[test]
    fn it_is_base64() {
        assert_eq!(
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"].map(decoded),
            [&b""[..], b"f", b"fo", b"foo", b"foobar"]
        );
    }
}
