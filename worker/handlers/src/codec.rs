//! Codecs for handlers written in Rust: keys and values as types, and back.
//!
//! ```
//! use keyweir_handlers::codec::{Codec, Json, Ordered, Text};
//!
//! assert_eq!(Text.read(b"anna")?, "anna");
//! assert_eq!(Json.read(b"[1, 2]")?, vec![1, 2]);
//! assert!(Ordered.write(&-1)? < Ordered.write(&0)?, "bytes in the order of the numbers");
//! # Ok::<(), keyweir_handlers::codec::CodecError>(())
//! ```
//!
//! A codec reads what it wrote, and refuses what it could not have written. Up: [`crate::native`].

use std::str::Utf8Error;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are none of a type, or a value can't become bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are no text.
    #[error("failed to read text")]
    Text(#[source] Utf8Error),
    /// The bytes are no JSON of that type.
    #[error("failed to read JSON")]
    Read(#[source] serde_json::Error),
    /// The value has no form in JSON.
    #[error("failed to write JSON")]
    Write(#[source] serde_json::Error),
    /// A number has another length.
    #[error("failed to read a number of {wanted} bytes from {found}")]
    Length {
        /// Bytes of such a number.
        wanted: usize,
        /// Bytes there were.
        found: usize,
    },
}

/// A type as bytes.
pub trait Codec<T> {
    /// The value that stands in these bytes.
    fn read(&self, bytes: &[u8]) -> Result<T, CodecError>;

    /// The bytes of a value.
    fn write(&self, value: &T) -> Result<Bytes, CodecError>;
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn read(&self, bytes: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn write(&self, value: &Bytes) -> Result<Bytes, CodecError> {
        Ok(value.clone())
    }
}

/// Text in UTF-8.
#[derive(Clone, Copy, Debug)]
pub struct Text;

impl Codec<String> for Text {
    fn read(&self, bytes: &[u8]) -> Result<String, CodecError> {
        std::str::from_utf8(bytes).map(ToOwned::to_owned).map_err(CodecError::Text)
    }

    fn write(&self, value: &String) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value.as_bytes()))
    }
}

/// Whatever serde can read from JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json;

impl<T: DeserializeOwned + Serialize> Codec<T> for Json {
    fn read(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::Read)
    }

    fn write(&self, value: &T) -> Result<Bytes, CodecError> {
        serde_json::to_vec(value).map(Bytes::from).map_err(CodecError::Write)
    }
}

/// Whole numbers, the highest byte first, as Kafka's own serializers of Java write `int` and `long`. Negative ones sort
/// behind the others.
#[derive(Clone, Copy, Debug)]
pub struct Int;

macro_rules! int {
    ($type:ty) => {
        impl Codec<$type> for Int {
            fn read(&self, bytes: &[u8]) -> Result<$type, CodecError> {
                number(bytes).map(<$type>::from_be_bytes)
            }

            fn write(&self, value: &$type) -> Result<Bytes, CodecError> {
                Ok(Bytes::copy_from_slice(&value.to_be_bytes()))
            }
        }
    };
}

int!(i32);
int!(i64);

/// Whole numbers whose bytes sort as the numbers do: the highest byte first, the sign turned round.
#[derive(Clone, Copy, Debug)]
pub struct Ordered;

impl Codec<i64> for Ordered {
    fn read(&self, bytes: &[u8]) -> Result<i64, CodecError> {
        number(bytes).map(|bytes| i64::from_be_bytes(bytes) ^ i64::MIN)
    }

    fn write(&self, value: &i64) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(&(value ^ i64::MIN).to_be_bytes()))
    }
}

fn number<const N: usize>(bytes: &[u8]) -> Result<[u8; N], CodecError> {
    bytes.try_into().map_err(|_| CodecError::Length { wanted: N, found: bytes.len() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn comes_back<T: PartialEq + Debug>(codec: impl Codec<T>, value: &T) {
        let bytes = codec.write(value).expect("it is written");
        assert_eq!(&codec.read(&bytes).expect("it is read"), value);
    }

    proptest! {
        /// U171.
        #[test]
        fn what_is_written_is_read_again(
            bytes: Vec<u8>, text: String, int: i32, long: i64, map: BTreeMap<String, Option<i64>>,
        ) {
            comes_back(Raw, &Bytes::from(bytes));
            comes_back(Text, &text);
            comes_back(Int, &int);
            comes_back(Int, &long);
            comes_back(Ordered, &long);
            comes_back(Json, &map);
        }

        /// U171.
        #[test]
        fn ordered_numbers_sort_as_their_bytes(one: i64, other: i64) {
            for other in [other, one.wrapping_add(1), -one.wrapping_abs(), 0, i64::MIN, i64::MAX] {
                let bytes = |number: i64| Ordered.write(&number).expect("it is written");
                prop_assert_eq!(one.cmp(&other), bytes(one).cmp(&bytes(other)));
            }
        }
    }

    #[test]
    fn what_is_none_of_a_type_is_refused() {
        assert!(matches!(Text.read(&[0xff]), Err(CodecError::Text(_))));
        assert!(matches!(Codec::<i64>::read(&Json, b"{"), Err(CodecError::Read(_))));
        assert!(matches!(
            Codec::<i32>::read(&Int, &[1, 2, 3]),
            Err(CodecError::Length { wanted: 4, found: 3 })
        ));
        assert!(matches!(Ordered.read(&[]), Err(CodecError::Length { wanted: 8, found: 0 })));
    }

    #[test]
    fn numbers_are_as_javas_serializers_write_them() {
        assert_eq!(Codec::<i32>::write(&Int, &-2).expect("written")[..], [255, 255, 255, 254]);
        assert_eq!(Codec::<i64>::write(&Int, &258).expect("written")[..], [0, 0, 0, 0, 0, 0, 1, 2]);
    }
}
