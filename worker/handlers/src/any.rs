//! [`AnyHandler`]: whatever handler a manifest names, behind the one door.
//!
//! Its futures are small, because the pump keeps one for each record under way: what is built in waits in place, what
//! talks to others is boxed. Up: [`crate`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use keyweir_contract::handler::{Handler as Kind, HandlerConfig};
use keyweir_contract::policy::Decode;
use keyweir_contract::worker_config::ObjectIdentity;
use keyweir_engine::ports::{BatchLimits, Handler, Request};
use keyweir_engine::{Failure, Outcome};
use thiserror::Error;
use tokio::runtime::Handle as Runtime;
use tokio::task::unconstrained;

use crate::builtin::{Builtin, BuiltinError, KernelTimer, Wait};
use crate::exec::ExecHandler;
use crate::http::{HttpError, HttpHandler};
use crate::native::{Native, Registry, StartError};

/// What handlers of one object have in common.
#[derive(Debug, Clone, Copy)]
pub struct HandlerContext<'a> {
    /// The object they belong to.
    pub object: &'a ObjectIdentity,
    /// How its values are decoded, and where a record's type stands.
    pub decode: &'a Decode,
    /// The handlers that are compiled in.
    pub registry: &'a Registry,
}

/// Why a handler can't be had. None of these is cured by trying again.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The http handler can't be had.
    #[error("failed to prepare the http handler")]
    Http(#[source] HttpError),
    /// There is no thread for starting children.
    #[error("failed to prepare the exec handler")]
    Exec(#[source] std::io::Error),
    /// There is no such program, or it may not be run.
    #[error("{}", .0.text)]
    Program(Failure),
    /// The built-in handler can't be had.
    #[error("failed to prepare the built-in handler")]
    Builtin(#[source] BuiltinError),
    /// Nothing is registered under that name.
    #[error(
        "failed to find the native handler {name:?}: this worker binary has {known}; use a worker of your own that registers it, as worker/examples/native.rs does"
    )]
    Unknown {
        /// The name in the manifest.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The native handler's own start failed.
    #[error("failed to start the native handler {name:?}")]
    Native {
        /// Its name.
        name: String,
        /// Its own error.
        #[source]
        source: StartError,
    },
    /// Handlers wait and talk, which needs a runtime around them.
    #[error("failed to find a tokio runtime to prepare the handler in")]
    Runtime(#[source] tokio::runtime::TryCurrentError),
}

/// Whatever handler a manifest names.
pub struct AnyHandler(Inner);

enum Inner {
    Builtin(Builtin),
    Http(Box<HttpHandler>),
    Exec(ExecHandler),
    Native(Native),
}

impl AnyHandler {
    /// The handler that a configuration names. Nothing is connected or started before the first record.
    ///
    /// Must be called in the tokio runtime that the handler will be used in, with its I/O and time drivers on.
    pub fn build(config: &HandlerConfig, context: HandlerContext<'_>) -> Result<Self, BuildError> {
        let runtime = Runtime::try_current().map_err(BuildError::Runtime)?;
        let HandlerConfig { handler, options } = config;
        let http = |url: &str| {
            let origin = format!("/{}/{}", context.object.namespace, context.object.name);
            let handler = HttpHandler::new(url, options, context.decode, origin).map_err(BuildError::Http)?;
            Ok(Inner::Http(Box::new(handler)))
        };
        Ok(Self(match handler {
            Kind::Http { url } => http(url)?,
            Kind::Container { port, path } => http(&format!("http://127.0.0.1:{port}{path}"))?,
            Kind::Exec(exec) => {
                Inner::Exec(ExecHandler::new(exec, options, runtime).map_err(BuildError::Exec)?)
            }
            Kind::Builtin(builtin) => Inner::Builtin(Builtin::build(builtin).map_err(BuildError::Builtin)?),
            Kind::Native { name } => Inner::Native(native(name, context.registry)?),
        }))
    }
}

impl AnyHandler {
    /// Whether what a configuration names is there at all, on this machine and now: looked at before a start, so that
    /// a person is told at once. What vanishes later is found by [`AnyHandler::reach`] and by the first record.
    pub fn present(config: &HandlerConfig) -> Result<(), BuildError> {
        match &config.handler {
            Kind::Exec(exec) => crate::exec::program::find(exec).map_err(BuildError::Program),
            Kind::Http { .. } | Kind::Container { .. } | Kind::Builtin(_) | Kind::Native { .. } => Ok(()),
        }
    }

    /// Whether the handler can be reached right now, without a record: a connection is opened, a child is started. Kept
    /// for the first record. For readiness before there is anything to handle; what built-in and native handlers
    /// need, they have.
    pub async fn reach(&self) -> Result<(), Failure> {
        match &self.0 {
            Inner::Http(http) => http.reach().await,
            Inner::Exec(exec) => exec.reach().await,
            Inner::Builtin(_) | Inner::Native(_) => Ok(()),
        }
    }
}

fn native(name: &str, registry: &Registry) -> Result<Native, BuildError> {
    match registry.start(name) {
        Some(started) => started.map_err(|source| BuildError::Native { name: name.to_owned(), source }),
        None => {
            let names: Vec<_> = registry.names().collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(BuildError::Unknown { name: name.to_owned(), known })
        }
    }
}

impl fmt::Debug for AnyHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Builtin(_) => "AnyHandler(builtin)",
            Inner::Http(_) => "AnyHandler(http)",
            Inner::Exec(_) => "AnyHandler(exec)",
            Inner::Native(_) => "AnyHandler(native)",
        })
    }
}

impl Handler for AnyHandler {
    #[inline]
    fn handle(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        match &self.0 {
            Inner::Builtin(builtin) => match builtin.handle(&request) {
                Ok(outcome) => Call::Ready(Some(outcome)),
                Err(wait) => Call::Wait(wait),
            },
            // The pump polls many of these in one turn and shares its turn itself; without this they would use up
            // what one task may do before it must yield, and wait for it to yield.
            Inner::Http(http) => Call::Boxed(Box::pin(unconstrained(http.handle(request)))),
            Inner::Exec(exec) => Call::Boxed(Box::pin(unconstrained(exec.handle(request)))),
            Inner::Native(native) => Call::Boxed(native.handle(request)),
        }
    }

    fn handle_batch(
        &self,
        requests: Vec<Request>,
    ) -> impl Future<Output = Result<Vec<Outcome>, Failure>> + Send {
        let called: BoxFuture<'_, _> = match &self.0 {
            Inner::Http(http) => Box::pin(unconstrained(http.handle_batch(requests))),
            Inner::Native(native) => native.handle_batch(requests),
            // These never offer batches; whoever sends one gets its records handled in turn.
            Inner::Builtin(_) | Inner::Exec(_) => Box::pin(async move {
                let mut outcomes = Vec::with_capacity(requests.len());
                for request in requests {
                    outcomes.push(self.handle(request).await);
                }
                Ok(outcomes)
            }),
        };
        called
    }

    fn batch(&self) -> BatchLimits {
        match &self.0 {
            Inner::Http(http) => http.batch(),
            Inner::Native(native) => native.batch(),
            Inner::Builtin(_) | Inner::Exec(_) => BatchLimits::ONE,
        }
    }

    async fn close(&self) {
        match &self.0 {
            Inner::Builtin(_) => {}
            Inner::Http(http) => http.close(),
            Inner::Exec(exec) => exec.close().await,
            Inner::Native(native) => native.close().await,
        }
    }
}

/// A record on its way through any handler.
enum Call<'a> {
    Ready(Option<Outcome>),
    Wait(Wait<'a, KernelTimer>),
    Boxed(BoxFuture<'a, Outcome>),
}

impl Future for Call<'_> {
    type Output = Outcome;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        // All that is in here may move: the boxed future is pinned in its box.
        match self.get_mut() {
            Self::Ready(outcome) => Poll::Ready(outcome.take().unwrap_or(Outcome::DONE)),
            Self::Wait(wait) => {
                ready!(Pin::new(wait).poll(cx));
                Poll::Ready(Outcome::DONE)
            }
            Self::Boxed(called) => called.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyweir_contract::handler::{Builtin as BuiltinConfig, HandlerOptions};

    use super::*;
    use crate::testing::Draft;

    fn build(handler: Kind) -> Result<AnyHandler, BuildError> {
        let object = ObjectIdentity {
            kind: "StreamConsumer".to_owned(),
            namespace: "default".to_owned(),
            name: "test".to_owned(),
            uid: String::new(),
        };
        let (decode, registry) = (Decode::default(), Registry::default());
        let context = HandlerContext { object: &object, decode: &decode, registry: &registry };
        AnyHandler::build(&HandlerConfig { handler, options: HandlerOptions::default() }, context)
    }

    #[tokio::test]
    async fn futures_of_all_handlers_are_small() {
        let handler = build(Kind::Builtin(BuiltinConfig::Drop)).expect("it builds");
        let future = handler.handle(Draft::new("t", 0, 1).build());
        assert!(size_of_val(&future) <= 128, "{}", size_of_val(&future));
    }

    #[tokio::test]
    async fn built_in_handlers_answer() {
        let drop = build(Kind::Builtin(BuiltinConfig::Echo)).expect("it builds");
        assert_eq!(drop.handle(Draft::new("t", 0, 1).build()).await, Outcome::DONE);
        let duration = Duration::from_millis(2);
        let delay = build(Kind::Builtin(BuiltinConfig::Delay { duration })).expect("it builds");
        let begun = std::time::Instant::now();
        assert_eq!(delay.handle(Draft::new("t", 0, 1).build()).await, Outcome::DONE);
        assert!(begun.elapsed() >= duration);
        assert_eq!(delay.handle_batch(vec![Draft::new("t", 0, 1).build()]).await, Ok(vec![Outcome::DONE]));
    }

    #[tokio::test]
    async fn what_cannot_be_built_says_why() {
        let refused = |handler| build(handler).expect_err("it must not build").to_string();
        let name = "mine".to_owned();
        assert!(refused(Kind::Native { name }).contains("this worker binary has none"));
        assert!(refused(Kind::Http { url: "orders".to_owned() }).contains("http handler"));
    }

    #[test]
    fn without_a_runtime_nothing_is_built() {
        assert!(matches!(build(Kind::Builtin(BuiltinConfig::Drop)), Err(BuildError::Runtime(_))));
    }
}
