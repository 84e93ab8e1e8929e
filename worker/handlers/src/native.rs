//! Handlers compiled in: Rust code of a user's own, registered by name in a worker binary of their own.
//!
//! ```
//! use keyweir_engine::Outcome;
//! use keyweir_engine::ports::Request;
//! use keyweir_handlers::native::{self, Registry};
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     total: u32,
//! }
//!
//! async fn check(order: Order, _request: Request) -> Outcome {
//!     if order.total > 1_000 { Outcome::reject("TooMuch", "more than we ship") } else { Outcome::DONE }
//! }
//!
//! let mut registry = Registry::default();
//! registry.register("check-orders", || Ok(native::json(check)));
//! assert_eq!(registry.names().collect::<Vec<_>>(), ["check-orders"]);
//! ```
//!
//! The manifest names it (`handler: {native: {name: check-orders}}`); `keyweir_worker` runs with the registry. A
//! handler that keeps things of its own implements [`Handler`] itself. Hooks that see each record begin, end and fail
//! are registered with [`Registry::observe`]. Up: [`crate::AnyHandler`].

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;

use futures::future::BoxFuture;
use keyweir_engine::ports::{BatchLimits, Handler, Observer, Request};
use keyweir_engine::{Failure, Outcome, error_chain};
use serde::de::DeserializeOwned;

use crate::codec::Codec;
use crate::reason;

/// What a handler's own start failed with.
pub type StartError = Box<dyn Error + Send + Sync>;

type Factory = Box<dyn Fn() -> Result<Native, StartError> + Send + Sync>;

type Hooks = Box<dyn Fn() -> Box<dyn Observer> + Send + Sync>;

/// Handlers by the names that manifests use, and hooks into the life of all records.
#[derive(Default)]
pub struct Registry {
    factories: BTreeMap<String, Factory>,
    hooks: Vec<Hooks>,
}

impl Registry {
    /// Registers a handler: `start` makes one for each object that names it. A name registered again is replaced.
    pub fn register<H: Handler>(
        &mut self,
        name: &str,
        start: impl Fn() -> Result<H, StartError> + Send + Sync + 'static,
    ) {
        let factory = move || start().map(|handler| Native(Box::new(handler)));
        self.factories.insert(name.to_owned(), Box::new(factory));
    }

    /// Hooks for every object, whatever its handlers are: `make` makes them for each one. They may neither fail nor delay
    /// a record: one that panics is counted.
    pub fn observe<O: Observer>(&mut self, make: impl Fn() -> O + Send + Sync + 'static) {
        self.hooks.push(Box::new(move || Box::new(make())));
    }

    /// Hooks for one object.
    pub fn observers(&self) -> impl Iterator<Item = Box<dyn Observer>> + '_ {
        self.hooks.iter().map(|make| make())
    }

    /// The names there are, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// Starts the handler of that name; `None` = there is none.
    pub(crate) fn start(&self, name: &str) -> Option<Result<Native, StartError>> {
        self.factories.get(name).map(|factory| factory())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}

/// A handler of a function over records.
pub fn plain<F, R>(function: F) -> impl Handler
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    Plain(function)
}

/// A handler of a function over values read from JSON. A value that does not fit the type is rejected, with a text
/// that names the field; a field that may be missing says so by `#[serde(default)]`.
pub fn json<T, F, R>(function: F) -> impl Handler
where
    T: DeserializeOwned + Send + 'static,
    F: Fn(T, Request) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    fitted(
        |request| {
            serde_json::from_slice(request.record.value().unwrap_or(b"null"))
                .map_err(|error| format!("the value does not fit: {error}"))
        },
        function,
    )
}

/// A handler of a function over values read by a codec; a null value is read as no bytes. One that the codec refuses is
/// rejected, with its text.
pub fn read_by<C, T, F, R>(codec: C, function: F) -> impl Handler
where
    C: Codec<T> + Send + Sync + 'static,
    T: Send + 'static,
    F: Fn(T, Request) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    fitted(
        move |request| {
            codec.read(request.record.value().unwrap_or_default()).map_err(|error| error_chain(&error))
        },
        function,
    )
}

/// A handler of a function over what is read of a record; what can't be read is rejected, with the text.
fn fitted<T, F, R>(
    read: impl Fn(&Request) -> Result<T, String> + Send + Sync + 'static,
    function: F,
) -> impl Handler
where
    T: Send + 'static,
    F: Fn(T, Request) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    plain(move |request: Request| {
        let called = read(&request).map(|value| function(value, request));
        async move {
            match called {
                Ok(called) => called.await,
                Err(text) => Outcome::reject(reason::VALUE_INVALID, text),
            }
        }
    })
}

struct Plain<F>(F);

impl<F, R> Handler for Plain<F>
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    fn handle(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        (self.0)(request)
    }
}

/// A handler of any type.
pub(crate) struct Native(Box<dyn Erased>);

impl Native {
    pub(crate) fn handle(&self, request: Request) -> BoxFuture<'_, Outcome> {
        self.0.handle(request)
    }

    pub(crate) fn handle_batch(
        &self,
        requests: Vec<Request>,
    ) -> BoxFuture<'_, Result<Vec<Outcome>, Failure>> {
        self.0.handle_batch(requests)
    }

    pub(crate) fn batch(&self) -> BatchLimits {
        self.0.batch()
    }

    pub(crate) fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}

/// [`Handler`] with boxed futures, so that it can be an object.
trait Erased: Send + Sync {
    fn handle(&self, request: Request) -> BoxFuture<'_, Outcome>;
    fn handle_batch(&self, requests: Vec<Request>) -> BoxFuture<'_, Result<Vec<Outcome>, Failure>>;
    fn batch(&self) -> BatchLimits;
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl<H: Handler> Erased for H {
    fn handle(&self, request: Request) -> BoxFuture<'_, Outcome> {
        Box::pin(Handler::handle(self, request))
    }

    fn handle_batch(&self, requests: Vec<Request>) -> BoxFuture<'_, Result<Vec<Outcome>, Failure>> {
        Box::pin(Handler::handle_batch(self, requests))
    }

    fn batch(&self) -> BatchLimits {
        Handler::batch(self)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(Handler::close(self))
    }
}

#[cfg(test)]
mod tests {
    use keyweir_engine::Verdict;

    use super::*;
    use crate::codec::Ordered;
    use crate::testing::Draft;

    #[derive(serde::Deserialize)]
    struct Order {
        total: u32,
        #[serde(default)]
        note: String,
    }

    async fn check(order: Order, _request: Request) -> Outcome {
        if order.total > 10 { Outcome::reject("TooMuch", order.note) } else { Outcome::DONE }
    }

    async fn asked(value: &str) -> Verdict {
        let mut registry = Registry::default();
        registry.register("check", || Ok(json(check)));
        let native = registry.start("check").expect("it is registered").expect("it starts");
        native.handle(Draft::new("orders", 0, 1).value(value).build()).await.verdict
    }

    #[tokio::test]
    async fn a_registered_function_gets_its_own_type() {
        assert_eq!(asked(r#"{"total":3}"#).await, Verdict::Done);
        let refused = asked(r#"{"total":30,"note":"why"}"#).await;
        assert!(matches!(refused, Verdict::Reject(failure) if failure.text == "why"));
    }

    #[tokio::test]
    async fn a_value_that_does_not_fit_is_rejected_with_the_field() {
        for (value, says) in
            [("{}", "missing field `total`"), ("{", "EOF"), (r#"{"total":"x"}"#, "invalid type")]
        {
            let verdict = asked(value).await;
            assert!(
                matches!(&verdict, Verdict::Reject(failure) if failure.text.contains(says)),
                "{verdict:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_value_is_read_by_the_codec_that_was_given() {
        let refuse_negative = async |number: i64, _request: Request| {
            if number < 0 { Outcome::reject("Negative", number.to_string()) } else { Outcome::DONE }
        };
        let handler = read_by(Ordered, refuse_negative);
        let asked = async |value: &[u8]| {
            Handler::handle(&handler, Draft::new("orders", 0, 1).value(value).build()).await.verdict
        };
        assert_eq!(asked(&Ordered.write(&7).expect("written")).await, Verdict::Done);
        let negative = asked(&Ordered.write(&-7).expect("written")).await;
        assert!(matches!(&negative, Verdict::Reject(failure) if failure.text == "-7"), "{negative:?}");
        let short = asked(b"x").await;
        assert!(matches!(&short, Verdict::Reject(failure) if failure.text.contains("8 bytes")), "{short:?}");
    }

    #[test]
    fn an_unknown_name_is_none() {
        assert!(Registry::default().start("nobody").is_none());
    }
}
