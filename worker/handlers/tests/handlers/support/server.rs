//! A web service that says exactly the bytes a test wants, well or badly.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A service on a free port, ended with its test.
pub(crate) struct Server {
    pub(crate) url: String,
    accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves each connection by this function.
    pub(crate) async fn start<F, R>(serve: F) -> Self
    where
        F: Fn(Connection) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook?a=b", listener.local_addr().expect("its address"));
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(Connection { stream, gathered: Vec::new() }));
            }
        });
        Self { url, accepted, task }
    }

    /// Answers each request with these bytes, on kept connections.
    pub(crate) async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut connection| {
            let answer = Arc::clone(&answer);
            async move {
                while connection.request().await.is_some() {
                    connection.say(&answer).await;
                }
            }
        })
        .await
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A whole answer of actions.
pub(crate) fn actions(lines: &str) -> String {
    let length = lines.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson; charset=utf-8\r\ncontent-length: {length}\r\n\r\n{lines}"
    )
}

/// The head of an answer of actions that arrive in pieces.
pub(crate) const STREAMED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";

/// A piece of a streamed answer.
pub(crate) fn piece(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    gathered: Vec<u8>,
}

impl Connection {
    /// The next request; `None` = the other side closed.
    pub(crate) async fn request(&mut self) -> Option<Asked> {
        loop {
            if let Some(end) = self.gathered.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.gathered[..end]).into_owned();
                let asked = Asked { head, body: Vec::new() };
                let length: usize = asked.header("content-length").map_or(0, |n| n.parse().unwrap_or(0));
                if self.gathered.len() >= end + 4 + length {
                    let body = self.gathered[end + 4..end + 4 + length].to_vec();
                    self.gathered.drain(..end + 4 + length);
                    return Some(Asked { body, ..asked });
                }
            }
            if self.stream.read_buf(&mut self.gathered).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Says these bytes; `false` = the other side does not listen any more.
    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }
}
