//! Topics described: how many partitions, which id. The other part of the client library that its safe interface
//! leaves out.
//!
//! A topic that was deleted and made again has its old name and another id; a position in the old one means nothing
//! in the new one. This file wraps `rd_kafka_DescribeTopics`: asked without waiting, answered on a queue of its own.
//!
//! What makes the `unsafe` sound: [`Describer`] holds the client in an `Arc`, so it outlives the queue; everything
//! made here is owned by [`Owned`], which destroys it once; what is read from an answer is copied before the answer
//! is destroyed. Up: [`crate::source`], [`crate::intake`].

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use crate::cold::ColdClient;

/// What brokers without topic ids give for one.
pub(crate) const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What a broker says of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// Why it can't be described: not there, not allowed.
    pub(crate) error: Option<RDKafkaErrorCode>,
    /// [`NO_ID`] where brokers are too old to have ids.
    pub(crate) id: Option<String>,
    pub(crate) partitions: usize,
}

/// Something of the library's that must be destroyed.
struct Owned<T> {
    native: *mut T,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: made by the function that belongs to `destroy`, and destroyed here only.
        unsafe { (self.destroy)(self.native) }
    }
}

/// Asks a broker to describe topics: one question at a time, answered later.
pub(crate) struct Describer {
    /// Before the client, which must outlive it.
    queue: Owned<sys::rd_kafka_queue_t>,
    client: Arc<ColdClient>,
    asked: bool,
}

// SAFETY: librdkafka's queues and clients may be used from any thread.
unsafe impl Send for Describer {}

impl Describer {
    /// Asks through this client.
    pub(crate) fn new(client: Arc<ColdClient>) -> Self {
        // SAFETY: the client is alive; the call can't fail (it aborts when memory is out).
        let native = unsafe { sys::rd_kafka_queue_new(client.client().native_ptr()) };
        let queue = Owned { native, destroy: sys::rd_kafka_queue_destroy };
        Self { queue, client, asked: false }
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.asked
    }

    /// Asks. An answer comes within the time, be it that nobody answered.
    pub(crate) fn ask<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a str>,
        within: Duration,
    ) -> KafkaResult<()> {
        let names = topics.map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let native = self.client.client().native_ptr();
        // SAFETY: the client and the queue are alive; names and options are copied by the library during the call,
        // and each object goes to `Owned` at once.
        unsafe {
            let topics = Owned {
                native: sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
                destroy: sys::rd_kafka_TopicCollection_destroy,
            };
            let options = Owned {
                native: sys::rd_kafka_AdminOptions_new(
                    native,
                    sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                ),
                destroy: sys::rd_kafka_AdminOptions_destroy,
            };
            let timeout = milliseconds(within);
            ok(sys::rd_kafka_AdminOptions_set_request_timeout(options.native, timeout, ptr::null_mut(), 0))?;
            sys::rd_kafka_DescribeTopics(native, topics.native, options.native, self.queue.native);
        }
        self.asked = true;
        Ok(())
    }

    /// The answer, waiting up to `wait` for it; `None` = not yet.
    pub(crate) fn answer(&mut self, wait: Duration) -> Option<KafkaResult<Vec<Described>>> {
        if !self.asked {
            return None;
        }
        // SAFETY: the queue is alive; an event is ours and goes to `Owned` at once.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.native, milliseconds(wait)) };
        if event.is_null() {
            return None;
        }
        self.asked = false;
        Some(described(&Owned { native: event, destroy: sys::rd_kafka_event_destroy }))
    }
}

/// One topic, waiting for the answer.
pub(crate) fn describe(client: &Arc<ColdClient>, topic: &str, within: Duration) -> KafkaResult<Described> {
    let mut describer = Describer::new(Arc::clone(client));
    describer.ask(std::iter::once(topic), within)?;
    let late = || Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
    let answer = describer.answer(within + Duration::from_secs(1)).unwrap_or_else(late)?;
    let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let described = answer.into_iter().next().ok_or(missing)?;
    described.error.map_or(Ok(described), |error| Err(KafkaError::MetadataFetch(error)))
}

fn described(event: &Owned<sys::rd_kafka_event_t>) -> KafkaResult<Vec<Described>> {
    // SAFETY: the event is alive; the accessor gives null for the answer to another question.
    let result = unsafe {
        ok(sys::rd_kafka_event_error(event.native))?;
        sys::rd_kafka_event_DescribeTopics_result(event.native)
    };
    if result.is_null() {
        return Err(KafkaError::Canceled);
    }
    let mut count = 0;
    // SAFETY: gives an array of `count` descriptions that live as long as the event, or null when there is none.
    let descriptions = unsafe {
        let first = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if first.is_null() { &[] } else { std::slice::from_raw_parts(first, count) }
    };
    Ok(descriptions.iter().map(|&description| copied(description)).collect())
}

/// Copies what is wanted of one description of a live answer.
fn copied(description: *const sys::rd_kafka_TopicDescription_t) -> Described {
    let mut partitions = 0;
    // SAFETY: the description is one of a live answer; its error is null or a live error object; its name and its
    // id's text are C strings that live as long, and are copied here.
    unsafe {
        let error = ok(sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(description))).err();
        let id = sys::rd_kafka_TopicDescription_topic_id(description);
        let id = if id.is_null() { None } else { text(sys::rd_kafka_Uuid_base64str(id)) };
        sys::rd_kafka_TopicDescription_partitions(description, &mut partitions);
        Described {
            name: text(sys::rd_kafka_TopicDescription_name(description)).unwrap_or_default(),
            error: error.and_then(|error| error.rdkafka_error_code()),
            id,
            partitions,
        }
    }
}

/// Copies a C string.
///
/// # Safety
/// The pointer is null or that of a live C string.
unsafe fn text(native: *const c_char) -> Option<String> {
    // SAFETY: the caller says that it is a live C string where it is not null.
    (!native.is_null()).then(|| unsafe { CStr::from_ptr(native) }.to_string_lossy().into_owned())
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

fn ok(error: sys::rd_kafka_resp_err_t) -> KafkaResult<()> {
    match error {
        sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(KafkaError::MetadataFetch(error.into())),
    }
}
