//! `--probe URL`: asks a running operator whether it is ready, for `helm test`. The image has no shell and no curl.

use std::{io, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the answer was not yes.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The address is not `http://host:port/path`.
    #[error("failed to read {url:?} as http://host:port/path")]
    Url {
        /// The address.
        url: String,
    },
    /// Nobody is there, or the connection broke.
    #[error("failed to ask {url}")]
    Ask {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer was no.
    #[error("failed to be told yes by {url}: {answer}")]
    Refused {
        /// The address.
        url: String,
        /// The first line of what was answered.
        answer: String,
    },
}

/// Ends well if `url` answers 200.
pub async fn probe(url: &str) -> Result<(), ProbeError> {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| ProbeError::Url { url: url.to_owned() })?;
    let failed = |source| ProbeError::Ask { url: url.to_owned(), source };
    let answer = timeout(PATIENCE, ask(host, path))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(failed)?;
    let first = answer.lines().next().unwrap_or_default().to_owned();
    if first.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(ProbeError::Refused { url: url.to_owned(), answer: first })
    }
}

async fn ask(host: &str, path: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
