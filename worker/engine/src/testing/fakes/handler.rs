//! A handler made of a function.

use std::future::Future;

use futures::future::BoxFuture;

use crate::outcome::{Failure, Outcome};
use crate::ports::{BatchLimits, Handler, Request};

type Call = Box<dyn Fn(Request) -> BoxFuture<'static, Outcome> + Send + Sync>;
type BatchCall = Box<dyn Fn(Vec<Request>) -> BoxFuture<'static, Result<Vec<Outcome>, Failure>> + Send + Sync>;

/// A handler made of a function.
pub struct FnHandler {
    call: Call,
    batch: Option<(BatchLimits, BatchCall)>,
    close: Option<Box<dyn Fn() + Send + Sync>>,
}

impl FnHandler {
    /// Calls the function for each record.
    pub fn new<F, Fut>(call: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self { call: Box::new(move |request| Box::pin(call(request))), batch: None, close: None }
    }

    /// Calls another function for batches.
    #[must_use]
    pub fn with_batch<F, Fut>(mut self, limits: BatchLimits, call: F) -> Self
    where
        F: Fn(Vec<Request>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Outcome>, Failure>> + Send + 'static,
    {
        self.batch = Some((limits, Box::new(move |requests| Box::pin(call(requests)))));
        self
    }

    /// Calls another function when the handler is closed.
    #[must_use]
    pub fn with_close(mut self, close: impl Fn() + Send + Sync + 'static) -> Self {
        self.close = Some(Box::new(close));
        self
    }
}

impl Handler for FnHandler {
    fn handle(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        (self.call)(request)
    }

    async fn handle_batch(&self, requests: Vec<Request>) -> Result<Vec<Outcome>, Failure> {
        match &self.batch {
            Some((_, call)) => call(requests).await,
            None => Err(Failure::new("NoBatch", "this handler takes no batches")),
        }
    }

    fn batch(&self) -> BatchLimits {
        self.batch.as_ref().map_or(BatchLimits::ONE, |(limits, _)| *limits)
    }

    async fn close(&self) {
        if let Some(close) = &self.close {
            close();
        }
    }
}
