//! Asks every worker behind a name what it says of itself (`GET /v1/objects`), and a meter what it says of all its
//! objects (`GET /v1/readings`). Costs the API server nothing.

use std::{io, net::SocketAddr, time::Duration};

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self},
};
use keyweir_contract::meter::Readings;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tracing::debug;

use super::gather::Said;
use crate::workload::HTTP_PORT;

/// How long a worker may take to answer. One that is gone but still has an address does not.
const PATIENCE: Duration = Duration::from_secs(3);
/// Workers of one object that are asked at a time.
const AT_ONCE: usize = 8;
/// How long a meter may hold a request back when there is nothing new: so old is a number at most.
const HELD: Duration = Duration::from_secs(5);
/// A longer answer is none: 10,000 shards take less.
const LONGEST: u64 = 4 << 20;

/// Whoever can ask workers and meters.
pub trait Workers: Send + Sync {
    /// What each worker behind `host` says; those that don't answer are left out.
    fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Vec<Said>>;

    /// What the meter `host` says once its version is another one than `after`, or after a while; `None`: nothing.
    fn readings<'a>(&'a self, host: &'a str, after: u64) -> BoxFuture<'a, Option<Readings>>;
}

/// Workers found by DNS and asked over HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpWorkers;

impl Workers for HttpWorkers {
    fn ask<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Vec<Said>> {
        Box::pin(async move {
            let asked = stream::iter(addresses(host).await).map(|address| async move {
                let objects = get(address, "/v1/objects", PATIENCE).await?;
                Some(Said { address: address.ip(), objects })
            });
            asked.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
        })
    }

    fn readings<'a>(&'a self, host: &'a str, after: u64) -> BoxFuture<'a, Option<Readings>> {
        Box::pin(async move {
            let path = format!("/v1/readings?after={after}&wait={}", HELD.as_secs());
            // There are two while one replaces the other: either will do.
            for address in addresses(host).await {
                let answer = get(address, &path, HELD + PATIENCE).await;
                if answer.is_some() {
                    return answer;
                }
            }
            None
        })
    }
}

async fn addresses(host: &str) -> Vec<SocketAddr> {
    match timeout(PATIENCE, lookup_host((host, HTTP_PORT))).await {
        Ok(Ok(found)) => found.collect(),
        _ => Vec::new(),
    }
}

/// The answer, if there is one.
async fn get<T: DeserializeOwned>(address: SocketAddr, path: &str, patience: Duration) -> Option<T> {
    let answer = timeout(patience, request(address, path)).await;
    let answer = answer.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    answer.inspect_err(|error| debug!(%address, %error, "nobody answered")).ok()
}

async fn request<T: DeserializeOwned>(address: SocketAddr, path: &str) -> io::Result<T> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(LONGEST).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if answer.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        return Err(io::Error::other("the answer was no 200"));
    }
    serde_json::from_slice(&answer[end + 4..]).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::registry::gather::Answer;

    #[tokio::test]
    async fn an_answer_is_read_whatever_else_it_holds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 1024];
            let read = connection.read(&mut request).await.expect("a request");
            assert!(request[..read].starts_with(b"GET /v1/objects HTTP/1.1\r\n"));
            let body = r#"[{"name":"a/b","inFlight":1,"novelty":{}}]"#;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.write_all((head + body).as_bytes()).await.expect("an answer");
        });
        let said: Vec<Answer> = request(address, "/v1/objects").await.expect("an answer");
        assert_eq!((said[0].name.as_str(), said[0].in_flight, said[0].shards.len()), ("a/b", 1, 0));
        serving.await.expect("no panic");
    }
}
