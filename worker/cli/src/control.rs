//! Speaking to a running `keyweir run`: through the socket in its data directory, or at a URL.

use std::path::{Path, PathBuf};

use keyweir_engine::root_cause;
use keyweir_worker::http::SOCKET;
use reqwest::{Client, Method, Response};

/// Why a running process gave no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// Nobody listens there.
    #[error("failed to find a process at {}: start `keyweir run`, or say where it is with --data DIR or --url URL", place.display())]
    Nobody {
        /// The socket.
        place: PathBuf,
    },
    /// That is no URL.
    #[error("failed to use {url:?} as a URL: want http://HOST:PORT, where `keyweir run` listens")]
    Url {
        /// What was given.
        url: String,
    },
    /// The client could not be made.
    #[error("failed to prepare the client")]
    Client(#[source] reqwest::Error),
    /// The request did not get through.
    #[error("failed to ask {place}; see that `keyweir run` listens there")]
    Ask {
        /// Who was asked.
        place: String,
        /// Why.
        #[source]
        source: Unanswered,
    },
    /// The answer was no.
    #[error("failed: {text}")]
    Refused {
        /// What the process said.
        text: String,
    },
}

/// What stopped a request, by its first cause.
#[derive(Debug, thiserror::Error)]
#[error("{}", root_cause(.0))]
pub(crate) struct Unanswered(reqwest::Error);

impl ControlError {
    /// Who was asked gave no answer.
    pub(crate) fn unanswered(place: impl Into<String>, error: reqwest::Error) -> Self {
        Self::Ask { place: place.into(), source: Unanswered(error) }
    }
}

/// A running process, as it is reached.
pub(crate) struct Control {
    client: Client,
    base: String,
    place: String,
}

impl Control {
    /// The process at a URL, or else the one that has a data directory open.
    pub(crate) fn reach(data: &Path, url: Option<&str>) -> Result<Self, ControlError> {
        // The client wants one chosen before it is made. An error says that it was: by an earlier call.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some(url) = url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(ControlError::Url { url: url.to_owned() });
            }
            let client = Client::builder().build().map_err(ControlError::Client)?;
            let base = url.trim_end_matches('/').to_owned();
            return Ok(Self { client, place: base.clone(), base });
        }
        let socket = data.join(SOCKET);
        if !socket.exists() {
            return Err(ControlError::Nobody { place: socket });
        }
        let place = socket.display().to_string();
        let client = Client::builder().unix_socket(socket).build().map_err(ControlError::Client)?;
        Ok(Self { client, base: "http://localhost".to_owned(), place })
    }

    /// Asks for a path with these parameters, and with a body of JSON lines where there is one.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        lines: Option<Vec<u8>>,
    ) -> Result<Response, ControlError> {
        let failed = |error| ControlError::unanswered(self.place.as_str(), error);
        let mut request = self.client.request(method, self.url(path, parameters));
        if let Some(lines) = lines {
            request = request.header("content-type", "application/x-ndjson").body(lines);
        }
        let response = request.send().await.map_err(failed)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let text = response.text().await.map_err(failed)?.trim().to_owned();
        Err(ControlError::Refused { text })
    }

    fn url(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let mut url = format!("{}{path}", self.base);
        for (place, (name, value)) in parameters.iter().enumerate() {
            url.push(if place == 0 { '?' } else { '&' });
            url.push_str(&format!("{name}={}", escape(value)));
        }
        url
    }
}

/// Percent-encodes what may not stand in a part of a URL.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_made_again_and_again() {
        for url in ["http://127.0.0.1:1/", "https://keyweir.example/"] {
            assert!(Control::reach(Path::new("."), Some(url)).is_ok());
        }
    }

    #[test]
    fn what_is_special_in_a_url_is_escaped() {
        assert_eq!(escape("orders/3@12 ä"), "orders%2F3%4012%20%C3%A4");
    }
}
