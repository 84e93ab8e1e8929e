//! Where an http handler listens, read from its URL. Up: [`super`].

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use thiserror::Error;

/// Why a URL can't be a handler's.
#[derive(Debug, Error)]
pub enum UrlError {
    /// It is no URL.
    #[error("failed to read the handler's url {url:?}")]
    Shape {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// It is a URL of something else.
    #[error(
        "failed to take {url:?} as the handler's url: want http://HOST[:PORT]/PATH or https://…, without user"
    )]
    Kind {
        /// The URL as given.
        url: String,
    },
}

/// A handler's address.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Name or address, as it is looked up.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// Whether it is spoken to in TLS.
    pub(super) tls: bool,
    /// What requests ask for.
    pub(super) path: Uri,
    /// What the `host` header says.
    pub(super) authority: HeaderValue,
}

impl Target {
    /// Reads a URL.
    pub(super) fn read(url: &str) -> Result<Self, UrlError> {
        let uri: Uri = url.parse().map_err(|source| UrlError::Shape { url: url.to_owned(), source })?;
        Self::take(&uri).ok_or_else(|| UrlError::Kind { url: url.to_owned() })
    }

    fn take(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Some(Self {
            host: host.to_owned(),
            port,
            tls,
            path: path.parse().ok()?,
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_defaults() {
        for (url, host, port, path) in [
            ("http://orders", "orders", 80, "/"),
            ("https://orders/v1?x=1", "orders", 443, "/v1?x=1"),
            ("http://[::1]:8080/a", "::1", 8080, "/a"),
        ] {
            let target = Target::read(url).expect(url);
            assert_eq!(
                (target.host.as_str(), target.port, target.path.to_string().as_str()),
                (host, port, path)
            );
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in
            ["", "orders", "/path", "ftp://orders/", "http://me:secret@orders/", "http://:80/", "http://a b/"]
        {
            assert!(Target::read(url).is_err(), "{url}");
        }
    }
}
