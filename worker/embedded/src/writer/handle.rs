//! The way to the writer: bounded, and the last one to go waits for the writer's end.

use std::sync::Arc;
use std::thread::JoinHandle;

use keyweir_engine::NewRecord;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::request::Request;
use super::rows::Rows;
use crate::store::error::StoreError;

/// How many bytes of records wait at most; behind it callers wait. More than a group, so that one is always ready.
const WAITING: usize = 32 << 20;
/// The room for waiting records is counted in units of so many bytes.
const UNIT: usize = 1 << 10;

/// The way to the writer. When the last clone goes, the writer finishes what it was asked and ends; that is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    /// For records that wait.
    room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the log's writer had panicked");
        }
    }
}

impl Writer {
    /// The way to a writer that runs.
    pub(super) fn new(requests: mpsc::Sender<Request>, thread: JoinHandle<()>) -> Self {
        let room = Arc::new(Semaphore::new(WAITING / UNIT));
        Self { running: Arc::new(Running { requests: Some(requests), room, thread: Some(thread) }) }
    }

    /// Hands over a request, waiting while too many are queued.
    pub(crate) async fn ask<T, E>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Request,
        closed: impl FnOnce(StoreError) -> E,
    ) -> Result<T, E> {
        let (done, answer) = oneshot::channel();
        let Some(requests) = &self.running.requests else { return Err(closed(StoreError::Closed)) };
        if requests.send(request(done)).await.is_err() {
            return Err(closed(StoreError::Closed));
        }
        answer.await.unwrap_or_else(|_| Err(closed(StoreError::Closed)))
    }

    /// Room for records among those that wait. What is larger than all of it waits until it is alone.
    pub(crate) async fn room_for(&self, records: &[NewRecord]) -> Option<OwnedSemaphorePermit> {
        let bytes: usize = records.iter().map(NewRecord::weight).sum();
        let units = bytes.div_ceil(UNIT).min(WAITING / UNIT) as u32;
        self.running.room.clone().acquire_many_owned(units).await.ok()
    }

    /// Changes rows in one durable step. What `change` gives is the answer, once it is durable.
    pub(crate) async fn change<T, E>(
        &self,
        change: impl FnOnce(&mut Rows) -> Result<T, E> + Send + 'static,
        failed: impl Fn(StoreError) -> E + Send + Clone + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let closed = failed.clone();
        let request = move |done: oneshot::Sender<Result<T, E>>| {
            Request::Change(Box::new(move |rows| {
                match rows.map_err(&failed).and_then(change) {
                    Ok(value) => Some(Box::new(move |written| {
                        // A caller that went away needs no answer.
                        let _ = done.send(written.map(|()| value).map_err(failed));
                    })),
                    Err(error) => {
                        let _ = done.send(Err(error));
                        None
                    }
                }
            }))
        };
        self.ask(request, closed).await
    }
}
