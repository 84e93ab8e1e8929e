//! Fetching in batches: the part of the client library that its safe interface leaves out.
//!
//! `rdkafka` hands out one message a call, with an allocation and two locks each; at millions of records a second
//! that is most of the cost. This file wraps `rd_kafka_consume_batch_queue` and the calls around it: partitions
//! are started into one queue that this worker owns, taken from it many at a time, and given back at once. It is
//! the plain consumer of librdkafka, which needs no group: nothing is ever joined, nothing is committed from here.
//!
//! What makes the `unsafe` sound, once for all of it:
//! - [`Fetcher`], [`Topic`] and [`Waker`] each hold the client in an `Arc`, so it outlives every pointer taken
//!   from it; each pointer is destroyed exactly once, in `Drop`.
//! - librdkafka's objects are safe to use from several threads (its introduction says so).
//! - A message is seen only inside the closure given to [`Fetcher::take`] and destroyed right after it; the
//!   lifetime of [`Fetched`] keeps its bytes from leaving.
//!
//! Up: [`crate::intake`].

use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::context::Context;

/// Where a partition is started: at an offset, or at the first one that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    Offset(i64),
    First,
}

/// One queue for all partitions that are read, and the calls that fill and empty it.
pub(crate) struct Fetcher {
    queue: Arc<Queue>,
    /// Filled by one call and emptied before the next.
    taken: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: the pointers in `taken` are only alive inside `take`, which borrows the fetcher mutably; the queue may be
// used from any thread.
unsafe impl Send for Fetcher {}

struct Queue {
    native: *mut sys::rd_kafka_queue_t,
    client: Arc<BaseConsumer<Context>>,
}

// SAFETY: librdkafka's queues and clients may be used from any thread, several at once.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed here only, before the client behind the `Arc`.
        unsafe { sys::rd_kafka_queue_destroy(self.native) }
    }
}

/// Ends a wait in [`Fetcher::take`] from another thread.
#[derive(Clone)]
pub(crate) struct Waker(Arc<Queue>);

impl Waker {
    /// The wait under way ends at once, or the next one does.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is alive as long as this handle; the call is made for other threads.
        unsafe { sys::rd_kafka_queue_yield(self.0.native) }
    }
}

/// A topic of one client. Two handles of one topic are the same pointer as in the messages of that topic.
pub(crate) struct Topic {
    native: *mut sys::rd_kafka_topic_t,
    _client: Arc<BaseConsumer<Context>>,
}

// SAFETY: a topic handle may be used from any thread.
unsafe impl Send for Topic {}

impl Topic {
    /// Whether a message with this handle is one of this topic.
    #[inline]
    pub(crate) fn is(&self, handle: TopicHandle) -> bool {
        self.native.cast_const().cast() == handle.0
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, which counts references; this gives back the one we hold.
        unsafe { sys::rd_kafka_topic_destroy(self.native) }
    }
}

/// Which topic a message is of, to be compared with [`Topic::is`]; means nothing once that topic is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicHandle(*const c_void);

// SAFETY: only ever compared.
unsafe impl Send for TopicHandle {}

impl Fetcher {
    /// A queue of this client; `most` messages are taken at a time.
    pub(crate) fn new(client: Arc<BaseConsumer<Context>>, most: usize) -> Self {
        // SAFETY: the client is alive; the call can't fail (it aborts when memory is out).
        let native = unsafe { sys::rd_kafka_queue_new(client.client().native_ptr()) };
        Self { queue: Arc::new(Queue { native, client }), taken: Vec::with_capacity(most) }
    }

    /// A handle that ends waits of this queue.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.queue))
    }

    /// A handle on a topic, which need not exist.
    pub(crate) fn topic(&self, name: &str) -> Result<Topic, KafkaError> {
        let client = &self.queue.client;
        let name = CString::new(name)?;
        // SAFETY: the client and the name are alive during the call; no topic configuration is handed over.
        let native =
            unsafe { sys::rd_kafka_topic_new(client.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if native.is_null() { Err(last_error()) } else { Ok(Topic { native, _client: Arc::clone(client) }) }
    }

    /// Starts to fetch a partition into the queue. Asks nobody: what is wrong comes as a message.
    pub(crate) fn start(&self, topic: &Topic, partition: i32, at: StartAt) -> Result<(), KafkaError> {
        let offset = match at {
            StartAt::Offset(offset) => offset,
            StartAt::First => sys::RD_KAFKA_OFFSET_BEGINNING.into(),
        };
        // SAFETY: topic and queue are alive and of one client.
        let started =
            unsafe { sys::rd_kafka_consume_start_queue(topic.native, partition, offset, self.queue.native) };
        if started == 0 { Ok(()) } else { Err(last_error()) }
    }

    /// Stops to fetch a partition. What is queued of it is never given out. Waits for the library's own threads
    /// only, not for a broker.
    pub(crate) fn stop(&self, topic: &Topic, partition: i32) -> Result<(), KafkaError> {
        // SAFETY: the topic is alive.
        let stopped = unsafe { sys::rd_kafka_consume_stop(topic.native, partition) };
        if stopped == 0 { Ok(()) } else { Err(last_error()) }
    }

    /// Takes at most `most` messages that are there and shows each; gives how many there were. With a time to
    /// `wait` it waits so long for the first one, never for more.
    pub(crate) fn take(&mut self, most: usize, wait: Duration, mut show: impl FnMut(Fetched<'_>)) -> usize {
        let most = most.min(self.taken.capacity());
        if wait.is_zero() {
            return self.fill_and_show(most, Duration::ZERO, &mut show);
        }
        // The batch call waits until it has all it was asked for: so it is asked for one.
        match self.fill_and_show(1, wait, &mut show) {
            0 => 0,
            one => one + self.fill_and_show(most.saturating_sub(1), Duration::ZERO, &mut show),
        }
    }

    fn fill_and_show(&mut self, most: usize, wait: Duration, show: &mut impl FnMut(Fetched<'_>)) -> usize {
        let count = self.fill(most, wait);
        for &native in &self.taken {
            show(Fetched { native, _borrow: PhantomData });
            // SAFETY: the message is ours since the batch call and nobody kept a part of it.
            unsafe { sys::rd_kafka_message_destroy(native) }
        }
        count
    }

    fn fill(&mut self, most: usize, wait: Duration) -> usize {
        self.taken.clear();
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the vector has room for `most` pointers (`take` saw to it), of which the call writes the first
        // `count`; -1 is an error that leaves it alone.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.native, wait, self.taken.as_mut_ptr(), most)
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: that many pointers were written.
        unsafe { self.taken.set_len(count) };
        count
    }
}

fn last_error() -> KafkaError {
    // SAFETY: reads a thread-local number.
    KafkaError::Global(unsafe { sys::rd_kafka_last_error() }.into())
}

/// A message, or an error of one partition, in the library's memory.
pub(crate) struct Fetched<'a> {
    native: *mut sys::rd_kafka_message_t,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> Fetched<'a> {
    #[inline]
    fn message(&self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: `native` is alive for 'a: it is destroyed after the closure that was shown it.
        unsafe { &*self.native }
    }

    /// What this is instead of a message.
    #[inline]
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        let code = self.message().err;
        (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
    }

    #[inline]
    pub(crate) fn topic(&self) -> TopicHandle {
        TopicHandle(self.message().rkt.cast_const().cast())
    }

    #[inline]
    pub(crate) fn partition(&self) -> i32 {
        self.message().partition
    }

    #[inline]
    pub(crate) fn offset(&self) -> i64 {
        self.message().offset
    }

    #[inline]
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        let message = self.message();
        bytes(message.key, message.key_len)
    }

    #[inline]
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        let message = self.message();
        bytes(message.payload, message.len)
    }

    /// Milliseconds since the epoch; negative = unknown.
    #[inline]
    pub(crate) fn timestamp(&self) -> i64 {
        // SAFETY: the message is alive; the kind is not asked for.
        unsafe { sys::rd_kafka_message_timestamp(self.native, ptr::null_mut()) }
    }

    #[inline]
    pub(crate) fn headers(&self) -> FetchedHeaders<'a> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; the headers live as long as it does. An error leaves the pointer null.
        let error = unsafe { sys::rd_kafka_message_headers(self.native, &mut headers) };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            headers = ptr::null_mut();
        }
        FetchedHeaders { headers, index: 0, _borrow: PhantomData }
    }
}

/// Absent is a null pointer, which differs from no bytes.
#[inline]
fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the library gives a pointer to that many bytes, or null; callers bind the lifetime to the message.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

/// The headers of one message, in order.
pub(crate) struct FetchedHeaders<'a> {
    headers: *mut sys::rd_kafka_headers_t,
    index: usize,
    _borrow: PhantomData<&'a [u8]>,
}

impl<'a> Iterator for FetchedHeaders<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.headers.is_null() {
            return None;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers are alive; beyond the last one the call fails and writes nothing.
        let error = unsafe {
            sys::rd_kafka_header_get_all(self.headers, self.index, &mut name, &mut value, &mut length)
        };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        self.index += 1;
        // SAFETY: a name is a C string that lives as long as the headers.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        // Names are text by Kafka's own rules; of one that is not, what can be read is kept.
        let name = name.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        Some((name, bytes(value, length)))
    }
}
