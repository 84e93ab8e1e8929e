//! The producer of an object whose source has no topics. Its manifest names none either, so nobody should ask.

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_engine::NewRecord;
use keyweir_engine::ports::{ProduceError, Producer};

/// Refuses every write, visibly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nowhere;

#[derive(Debug, thiserror::Error)]
#[error("this object's source has no topics: set onExhausted.action to Park, Skip or Stop")]
struct NoTopics;

impl Producer for Nowhere {
    fn produce<'a>(&'a self, topic: &'a str, _: NewRecord) -> BoxFuture<'a, Result<(), ProduceError>> {
        let refused = ProduceError::Refused { topic: topic.to_owned(), source: NoTopics.into() };
        async { Err(refused) }.boxed()
    }
}
