//! Ranges of keys: all that begin with a prefix. Up: the [crate](crate).

/// The first key behind all that begin with this prefix; etcd's ranges exclude their end.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // All keys: etcd's word for no end.
    vec![0]
}

/// The next key there can be: whether this one still stands does not matter.
pub(crate) fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_next_neighbour() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(b""), [0]);
        assert_eq!(prefix_end("/ü".as_bytes()), [b'/', 0xc3, 0xbd]);
        assert_eq!(prefix_end(b"/a\xff"), b"/b");
    }
}
