//! Connections to one http handler: opened when they are needed, kept and used again.
//!
//! A connection is driven by the call that uses it: nothing is spawned, and dropping the call closes it. One that
//! lies idle is looked at before it is used again, so that a server that has closed it meanwhile costs nothing;
//! a request that provably was not sent is sent again on another connection.
//!
//! What this file may not do: know what is sent, or judge an answer. Up: [`super`].

use std::collections::VecDeque;
use std::error::Error;
use std::future::poll_fn;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keyweir_engine::{Failure, error_chain};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::Target;
use crate::reason;

/// How long opening a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A connection that was idle for so long is not trusted any more: something on the way may have forgotten it.
const IDLE_TIME: Duration = Duration::from_secs(15);
/// A peer that is gone without a word is noticed after about a minute, however long its handler may take.
const PROBE_AFTER_SECONDS: u32 = 30;
const PROBE_EACH_SECONDS: u32 = 10;
/// Heads of answers beyond this are refused.
const HEAD_BYTES: usize = 64 * 1024;

type Payload = Full<Bytes>;
type Stream = TokioIo<Box<dyn Duplex>>;

/// What a connection runs over.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Why a request got no head of an answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// It was not sent: the handler can't have begun.
    Unreachable(Failure),
    /// It may have been sent.
    Lost(Failure),
}

/// Connections to one handler.
pub(super) struct Connections {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The one used last is at the back, and is used next.
    idle: Mutex<VecDeque<Wire>>,
}

/// One connection.
struct Wire {
    sender: http1::SendRequest<Payload>,
    /// `None` = closed.
    connection: Option<http1::Connection<Stream, Payload>>,
    /// The socket, which `connection` owns.
    socket: RawFd,
    /// The last answer's body, if its end had not arrived yet.
    unfinished: Option<Incoming>,
    since: Instant,
}

/// A request whose answer has begun to arrive.
pub(super) struct Exchange<'a> {
    connections: &'a Connections,
    wire: Wire,
    /// Status and headers.
    pub(super) head: response::Parts,
    body: Incoming,
}

impl Connections {
    /// No connection yet, to this handler.
    pub(super) fn new(target: Target, tls: Option<Arc<rustls::ClientConfig>>) -> Option<Self> {
        let tls = match tls {
            Some(config) => {
                Some((TlsConnector::from(config), ServerName::try_from(target.host.clone()).ok()?))
            }
            None => None,
        };
        Some(Self { target, tls, idle: Mutex::default() })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&self, mut request: Request<Payload>) -> Result<Exchange<'_>, SendError> {
        loop {
            let (mut wire, kept) = match self.take_idle() {
                Some(wire) => (wire, true),
                None => (self.open().await.map_err(SendError::Unreachable)?, false),
            };
            let mut answered = pin!(wire.sender.try_send_request(request));
            let connection = &mut wire.connection;
            let head = poll_fn(|cx| {
                drive(connection, cx);
                answered.as_mut().poll(cx)
            })
            .await;
            match head {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    return Ok(Exchange { connections: self, wire, head, body });
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    Some(_) => return Err(SendError::Unreachable(unreachable(error.error()))),
                    None => return Err(SendError::Lost(lost(error.error()))),
                },
            }
        }
    }

    /// Makes sure that there is a connection.
    pub(super) async fn reach(&self) -> Result<(), Failure> {
        let wire = match self.take_idle() {
            Some(wire) => wire,
            None => self.open().await?,
        };
        self.put_back(wire);
        Ok(())
    }

    /// Forgets the idle connections.
    pub(super) fn close(&self) {
        let idle = std::mem::take(&mut *self.lock());
        drop(idle);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Wire>> {
        // Held for a push or a pop only.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Wire> {
        loop {
            let mut wire = self.lock().pop_back()?;
            if wire.since.elapsed() < IDLE_TIME && wire.is_usable() {
                return Some(wire);
            }
        }
    }

    fn put_back(&self, mut wire: Wire) {
        wire.since = Instant::now();
        let mut idle = self.lock();
        let stale = idle.front().is_some_and(|oldest| oldest.since.elapsed() > IDLE_TIME);
        let stale = if stale { idle.pop_front() } else { None };
        idle.push_back(wire);
        drop(idle);
        drop(stale);
    }

    async fn open(&self) -> Result<Wire, Failure> {
        match timeout(CONNECT_TIME, self.connect()).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(error)) => Err(unreachable(&*error)),
            Err(_) => Err(Failure::new(
                reason::UNREACHABLE,
                format!("{}:{} does not answer within {CONNECT_TIME:?}", self.target.host, self.target.port),
            )),
        }
    }

    async fn connect(&self) -> Result<Wire, Box<dyn Error + Send + Sync>> {
        let Target { host, port, .. } = &self.target;
        let addresses = lookup_host((host.as_str(), *port)).await;
        let addresses = addresses.map_err(|error| format!("the name {host} can't be looked up: {error}"))?;
        let mut tried = Err(format!("the name {host} has no address"));
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    tried = Ok(stream);
                    break;
                }
                // A name is told with what it stands for.
                Err(error) if address.ip().to_string() == host.trim_matches(['[', ']']) => {
                    tried = Err(format!("{address}: {error}"));
                }
                Err(error) => tried = Err(format!("{host}:{port} ({address}): {error}")),
            }
        }
        let stream = tried?;
        stream.set_nodelay(true)?;
        probe(&stream)?;
        let socket = stream.as_raw_fd();
        let stream: Box<dyn Duplex> = match &self.tls {
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            None => Box::new(stream),
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Wire { sender, connection: Some(connection), socket, unfinished: None, since: Instant::now() })
    }
}

impl Exchange<'_> {
    /// The next piece of the answer's body; `None` = it ended as it should.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let (connection, body) = (&mut self.wire.connection, &mut self.body);
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
                    return Poll::Ready(frame);
                }
                drive(connection, cx);
                Pin::new(&mut *body).poll_frame(cx)
            });
            match frame.await {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(&error)),
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Whether it is certain already that there is no body.
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Keeps the connection for another request. Only for an answer that has been read as far as it matters: one
    /// whose end does not follow at once closes it.
    pub(super) fn keep(self) {
        let Self { connections, mut wire, body, .. } = self;
        if !body.is_end_stream() {
            wire.unfinished = Some(body);
        }
        if wire.connection.is_some() {
            connections.put_back(wire);
        }
    }
}

impl Wire {
    /// Whether another request may be sent: the last answer has ended and the server has not closed.
    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        drive(&mut self.connection, &mut cx);
        if let Some(mut body) = self.unfinished.take() {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(None) => drive(&mut self.connection, &mut cx),
                _ => return false,
            }
        }
        let ready = self.sender.poll_ready(&mut cx);
        if self.connection.is_none() || !matches!(ready, Poll::Ready(Ok(()))) {
            return false;
        }
        // The reactor may not have been asked yet whether the server closed: ask the socket. Anything but silence
        // means that it can't be used.
        let silent = recv(self.socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        silent == Err(Errno::EAGAIN)
    }
}

/// Lets a connection read and write what it can.
fn drive(connection: &mut Option<http1::Connection<Stream, Payload>>, cx: &mut Context<'_>) {
    // How it ended is told by the request's own future.
    if connection.as_mut().is_some_and(|open| Pin::new(open).poll(cx).is_ready()) {
        *connection = None;
    }
}

/// Has the kernel ask a silent peer whether it is still there.
fn probe(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &PROBE_AFTER_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &PROBE_EACH_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)
}

fn unreachable(error: &(dyn Error + 'static)) -> Failure {
    Failure::new(reason::UNREACHABLE, format!("the handler can't be reached: {}", error_chain(error)))
}

fn lost(error: &(dyn Error + 'static)) -> Failure {
    Failure::new(
        reason::CONNECTION_LOST,
        format!("the connection was lost after sending: {}", error_chain(error)),
    )
}
