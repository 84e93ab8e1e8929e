//! Bytes come as they were written, whatever they are.

use keyweir_e2e::kafka::Record;
use keyweir_e2e::parts;

use super::reading::{Reading, old_topic};

#[tokio::test]
async fn keys_values_and_headers_are_bytes_and_null_differs_from_empty() {
    let kafka = parts::kafka().unwrap();
    let topic = old_topic(&kafka, "records", 1);
    let of = |key: Option<&[u8]>, value: Option<&[u8]>| Record {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        timestamp: Some(1_700_000_000_123),
        ..Record::default()
    };
    let mut written = vec![
        of(Some(b"\xff\xfe\x00"), Some(b"\x80\x81")),
        of(None, Some(b"null key")),
        of(Some(b"null value"), None),
        of(None, None),
        of(Some(b""), Some(b"")),
        of(Some(b"headers"), Some(b"v")),
    ];
    written[5].headers = vec![
        ("a".to_owned(), Some(b"1".to_vec())),
        ("null".to_owned(), None),
        ("a".to_owned(), Some(b"\xff".to_vec())),
        ("empty".to_owned(), Some(Vec::new())),
    ];
    kafka.produce(&topic, &written).unwrap();

    let mut reading = Reading::at(kafka.bootstrap());
    reading.open(&topic, 0, 0);
    reading.until_records(written.len()).await;
    for (read, written) in reading.records.iter().zip(&written) {
        assert_eq!(read.key(), written.key.as_deref());
        assert_eq!(read.value(), written.value.as_deref());
        assert_eq!(read.timestamp, 1_700_000_000_123);
        let headers: Vec<_> = read.headers().collect();
        let want: Vec<_> =
            written.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(headers, want);
    }
}
