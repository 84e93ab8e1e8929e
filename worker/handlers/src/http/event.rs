//! A record as a CloudEvent, in the binary mode of the HTTP binding. PROTOCOL.md has the table of headers; a test
//! holds it to this. A record's own headers can't pose as ours: they travel under a prefix. Up: [`super`].

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request as HttpRequest};
use http_body_util::Full;
use keyweir_engine::Record;
use keyweir_engine::ports::Request;

use super::target::Target;
use crate::id::record_id;
use crate::time::rfc3339;

/// The type of records that name none.
pub(super) const DEFAULT_TYPE: &str = "io.keyweir.record";
const TIME_LEFT: HeaderName = HeaderName::from_static("keyweir-time-left-ms");
const HEADER_PREFIX: &str = "keyweir-header-";
/// Names a header of the record that is too long for a request.
const LEFT_OUT: HeaderName = HeaderName::from_static("keyweir-left-out");
/// Most servers refuse longer headers, and with them the request.
const LONGEST_HEADER: usize = 4096;
/// Headers of a record that are headers of the request, too.
const PASSED_ON: [&str; 3] = ["traceparent", "tracestate", "content-type"];

/// What all events of one handler have in common.
#[derive(Debug, Clone)]
pub(super) struct Events {
    /// `/namespace/object`
    pub(super) origin: String,
    /// The header that names a record's type.
    pub(super) type_header: String,
    /// The content type of records that name none.
    pub(super) content_type: &'static str,
}

/// The value of the constant name.
macro_rules! ce {
    ($name:literal) => {
        HeaderName::from_static(concat!("ce-", $name))
    };
}

impl Events {
    /// The type of a record.
    pub(super) fn type_of<'a>(&self, record: &'a Record) -> &'a str {
        let named = record.header(&self.type_header).and_then(|name| std::str::from_utf8(name).ok());
        named.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_TYPE)
    }

    /// A request that carries one record.
    pub(super) fn request(&self, target: &Target, request: &Request) -> HttpRequest<Full<Bytes>> {
        let record = &request.record;
        let mut headers = HeaderMap::with_capacity(24);
        headers.insert(HOST, target.authority.clone());
        headers.insert(ce!("specversion"), HeaderValue::from_static("1.0"));
        insert(&mut headers, ce!("id"), record_id(request));
        insert(
            &mut headers,
            ce!("source"),
            percent(format!("{}/{}", self.origin, request.shard.stream).as_bytes()),
        );
        insert(&mut headers, ce!("type"), percent(self.type_of(record).as_bytes()));
        if let Some(time) = rfc3339(record.timestamp).filter(|_| record.timestamp >= 0) {
            insert(&mut headers, ce!("time"), time);
        }
        insert(&mut headers, ce!("topic"), percent(request.shard.stream.as_bytes()));
        headers.insert(ce!("partition"), request.shard.index.into());
        headers.insert(ce!("offset"), record.offset.0.into());
        headers.insert(ce!("attempt"), request.attempt.0.into());
        insert(&mut headers, ce!("fence"), request.fence.to_string());
        put_key(&mut headers, record.key());
        if record.value().is_none() {
            headers.insert(ce!("nullvalue"), HeaderValue::from_static("true"));
        }
        if let Some(left) = request.time_left {
            headers.insert(TIME_LEFT, time_left(left));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        self.pass_on(&mut headers, record);
        post(target, headers, record.value_bytes().unwrap_or_default())
    }

    fn pass_on(&self, headers: &mut HeaderMap, record: &Record) {
        for (name, value) in record.headers() {
            let Some(value) = value else { continue };
            if name == self.type_header {
                continue;
            }
            let own = PASSED_ON.into_iter().find(|own| name.eq_ignore_ascii_case(own));
            if let Some(own) = own
                && let Ok(value) = HeaderValue::from_bytes(value)
            {
                headers.insert(HeaderName::from_static(own), value);
                continue;
            }
            let name = HeaderName::try_from(format!("{HEADER_PREFIX}{}", token(name))).ok();
            let value = percent(value);
            if value.len() > LONGEST_HEADER {
                headers.extend(name.map(|name| (LEFT_OUT, HeaderValue::from(name))));
            } else if let (Some(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.append(name, value);
            }
        }
    }
}

/// A POST of these bytes.
pub(super) fn post(target: &Target, headers: HeaderMap, body: Bytes) -> HttpRequest<Full<Bytes>> {
    let mut request = HttpRequest::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.clone();
    *request.headers_mut() = headers;
    request
}

/// How long is left, as the header says it.
pub(super) fn time_left(left: Duration) -> HeaderValue {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).into()
}

/// The name of the header that says how long is left.
pub(super) fn time_left_name() -> HeaderName {
    TIME_LEFT
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Only visible ASCII comes here, so the value is a header's.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn put_key(headers: &mut HeaderMap, key: Option<&[u8]>) {
    let encoding = match key.map(|key| std::str::from_utf8(key).map_err(|_| key)) {
        None => "none",
        Some(Ok("")) => "text",
        Some(Ok(text)) => {
            insert(headers, ce!("partitionkey"), percent(text.as_bytes()));
            "text"
        }
        Some(Err(bytes)) => {
            insert(headers, ce!("partitionkeybase64"), STANDARD.encode(bytes));
            "base64"
        }
    };
    headers.insert(ce!("keyencoding"), HeaderValue::from_static(encoding));
}

/// Percent-encodes what a CloudEvents header may not hold: all but visible ASCII, and space, `"` and `%`.
fn percent(bytes: &[u8]) -> String {
    encode(bytes, |byte| matches!(byte, b'!' | b'#' | b'$' | b'&'..=b'~'))
}

/// Percent-encodes what a header's name may not hold.
fn token(name: &str) -> String {
    encode(name.as_bytes(), |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn encode(bytes: &[u8], plain: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if plain(*byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Draft;

    fn headers(draft: &Draft) -> HeaderMap {
        let events = Events {
            origin: "/default/shop".to_owned(),
            type_header: "__grt__".to_owned(),
            content_type: "application/json",
        };
        let target = Target::read("http://orders/v1").expect("a url");
        events.request(&target, &draft.build()).into_parts().0.headers
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    #[test]
    fn a_record_is_a_cloud_event() {
        let draft =
            Draft::new("orders", 3, 17).key("Ö 1\"%").value("{}").attempt(2).header("__grt__", "Refund");
        let headers = headers(&draft);
        for (name, value) in [
            ("host", "orders"),
            ("ce-specversion", "1.0"),
            ("ce-id", "orders/3/17"),
            ("ce-source", "/default/shop/orders"),
            ("ce-type", "Refund"),
            ("ce-time", "2023-11-14T22:13:20.123Z"),
            ("ce-partitionkey", "%C3%96%201%22%25"),
            ("ce-keyencoding", "text"),
            ("ce-topic", "orders"),
            ("ce-partition", "3"),
            ("ce-offset", "17"),
            ("ce-attempt", "2"),
            ("ce-fence", "1.2"),
            ("content-type", "application/json"),
            ("keyweir-time-left-ms", "30000"),
        ] {
            assert_eq!(text(&headers, name), Some(value), "{name}");
        }
        assert!(!headers.contains_key("ce-nullvalue") && !headers.contains_key("keyweir-header-__grt__"));
    }

    #[test]
    fn the_protocol_document_names_every_header() {
        let draft = Draft::new("t", 0, 1).header("traceparent", "1").header("tracestate", "1");
        let long = draft.clone().header("long", "x".repeat(LONGEST_HEADER + 1).as_bytes());
        let every = [headers(&draft.clone().key("k")), headers(&draft.key(b"\xff")), headers(&long)];
        for name in every.iter().flat_map(HeaderMap::keys).filter(|name| *name != HOST) {
            assert!(include_str!("../../PROTOCOL.md").contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn null_empty_and_binary_keys_differ() {
        let null = headers(&Draft::new("t", 0, 1));
        assert_eq!(
            (text(&null, "ce-keyencoding"), text(&null, "ce-nullvalue")),
            (Some("none"), Some("true"))
        );
        let empty = headers(&Draft::new("t", 0, 1).key("").value(""));
        assert_eq!((text(&empty, "ce-keyencoding"), text(&empty, "ce-partitionkey")), (Some("text"), None));
        assert_eq!(text(&empty, "ce-nullvalue"), None);
        let binary = headers(&Draft::new("t", 0, 1).key(b"\xff"));
        assert_eq!(text(&binary, "ce-keyencoding"), Some("base64"));
        assert_eq!(text(&binary, "ce-partitionkeybase64"), Some("/w=="));
    }

    #[test]
    fn headers_are_passed_on_and_cannot_pose_as_ours() {
        let headers = headers(
            &Draft::new("t", 0, 1)
                .header("Content-Type", "text/xml")
                .header("traceparent", "00-1-2-01")
                .header("host", "evil")
                .header("ce-id", "evil")
                .header("my header", "a\nb")
                .header("twice", "1")
                .header("twice", "2"),
        );
        assert_eq!(text(&headers, "content-type"), Some("text/xml"));
        assert_eq!(text(&headers, "traceparent"), Some("00-1-2-01"));
        assert_eq!((text(&headers, "host"), text(&headers, "ce-id")), (Some("orders"), Some("t/0/1")));
        assert_eq!(text(&headers, "keyweir-header-host"), Some("evil"));
        assert_eq!(text(&headers, "keyweir-header-my%20header"), Some("a%0Ab"));
        assert_eq!(headers.get_all("keyweir-header-twice").iter().count(), 2);
    }

    #[test]
    fn a_header_too_long_for_a_request_is_named_and_left_out() {
        let long = |length: usize| "x".repeat(length);
        let fits = Draft::new("t", 0, 1).header("fits", long(LONGEST_HEADER).as_bytes());
        let headers = headers(&fits.header("etcd-previous-value", long(LONGEST_HEADER + 1).as_bytes()));
        assert_eq!(text(&headers, "keyweir-header-fits").map(str::len), Some(LONGEST_HEADER));
        assert_eq!(text(&headers, "keyweir-header-etcd-previous-value"), None);
        assert_eq!(text(&headers, "keyweir-left-out"), Some("keyweir-header-etcd-previous-value"));
    }
}
