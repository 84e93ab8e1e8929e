//! The calls under way: handler futures in reusable berths, polled by the pump itself.
//!
//! A handler that is ready at once never leaves the poll that started it. One that is not stays in its berth; its
//! waker notes the berth's number in a queue, so that only what was woken is polled again. Nothing is spawned,
//! and a berth is allocated once, not per record. A panic ends its call, not the pump. Up: [`super`].

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_queue::SegQueue;
use futures::task::AtomicWaker;
use tokio::time::Instant;

/// So many endings are enough for one look: their permits are not left idle until all others have ended, too.
const AT_A_TIME: usize = 16;

/// How a call ended: the future's output, or the text of its panic.
pub(super) type Ending<T> = Result<T, String>;

/// All calls under way. `C` is what the pump needs to know when a call ends.
pub(super) struct Calls<F: Future, C> {
    berths: Vec<Berth<F, C>>,
    vacant: Vec<u32>,
    woken: Arc<Woken>,
}

struct Berth<F, C> {
    future: Pin<Box<Option<F>>>,
    bell: Arc<Bell>,
    waker: Waker,
    cargo: Option<C>,
    deadline: Option<Instant>,
}

/// Which berths were woken, and the pump's own waker.
#[derive(Default)]
struct Woken {
    berths: SegQueue<u32>,
    pump: AtomicWaker,
}

/// One berth's waker: a bell that rings once until it is heard.
struct Bell {
    berth: u32,
    rung: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.woken.berths.push(self.berth);
            self.woken.pump.wake();
        }
    }
}

impl<F: Future, C> Calls<F, C> {
    pub(super) fn new() -> Self {
        Self { berths: Vec::new(), vacant: Vec::new(), woken: Arc::default() }
    }

    /// How many are under way.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.berths.len() - self.vacant.len()
    }

    /// Starts a call and polls it once; gives it back where it has already ended.
    #[inline]
    pub(super) fn start(
        &mut self,
        future: F,
        cargo: C,
        deadline: Option<Instant>,
    ) -> Option<(C, Ending<F::Output>)> {
        let place = self.vacant.pop().unwrap_or_else(|| self.build());
        let berth = &mut self.berths[place as usize];
        berth.future.set(Some(future));
        match berth.poll() {
            Poll::Ready(ending) => {
                berth.empty();
                self.vacant.push(place);
                Some((cargo, ending))
            }
            Poll::Pending => {
                berth.cargo = Some(cargo);
                berth.deadline = deadline;
                None
            }
        }
    }

    /// Polls what was woken, some of it where that is much; what has ended goes to `ended`. Says whether there is more;
    /// else it wakes the task of `cx` for the next one.
    pub(super) fn poll_ended(
        &mut self,
        cx: &mut Context<'_>,
        ended: &mut Vec<(C, Ending<F::Output>)>,
    ) -> bool {
        self.woken.pump.register(cx.waker());
        while let Some(place) = self.woken.berths.pop() {
            let berth = &mut self.berths[place as usize];
            berth.bell.rung.store(false, Ordering::Release);
            if let Poll::Ready(ending) = berth.poll()
                && let Some(cargo) = self.clear(place)
            {
                ended.push((cargo, ending));
                if ended.len() >= AT_A_TIME {
                    return !self.woken.berths.is_empty();
                }
            }
        }
        false
    }

    /// Cancels the calls that `which` names, by dropping their futures, and gives what they carried.
    pub(super) fn cancel(&mut self, mut which: impl FnMut(&C, Option<Instant>) -> bool) -> Vec<C> {
        (0..self.berths.len() as u32)
            .filter_map(|place| {
                let berth = &self.berths[place as usize];
                let chosen = berth.cargo.as_ref().is_some_and(|cargo| which(cargo, berth.deadline));
                chosen.then(|| self.clear(place)).flatten()
            })
            .collect()
    }

    /// What the calls under way carry.
    pub(super) fn cargo(&self) -> impl Iterator<Item = &C> {
        self.berths.iter().filter_map(|berth| berth.cargo.as_ref())
    }

    fn clear(&mut self, place: u32) -> Option<C> {
        let berth = &mut self.berths[place as usize];
        berth.empty();
        let cargo = berth.cargo.take()?;
        self.vacant.push(place);
        Some(cargo)
    }

    fn build(&mut self) -> u32 {
        let place = self.berths.len() as u32;
        let bell =
            Arc::new(Bell { berth: place, rung: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        let waker = Waker::from(Arc::clone(&bell));
        self.berths.push(Berth { future: Box::pin(None), bell, waker, cargo: None, deadline: None });
        place
    }
}

impl<F: Future, C> Berth<F, C> {
    /// Drops the future. That may panic, too, and must not take the pump with it.
    #[inline]
    fn empty(&mut self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.future.set(None)));
    }

    #[inline]
    fn poll(&mut self) -> Poll<Ending<F::Output>> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let mut cx = Context::from_waker(&self.waker);
        match catch_unwind(AssertUnwindSafe(|| future.poll(&mut cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it gave no text")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::channel::oneshot;

    use super::*;

    type Boxed = Pin<Box<dyn Future<Output = u32> + Send>>;

    fn ended(calls: &mut Calls<Boxed, &'static str>) -> Vec<(&'static str, Ending<u32>)> {
        let mut ended = Vec::new();
        calls.poll_ended(&mut Context::from_waker(Waker::noop()), &mut ended);
        ended
    }

    #[test]
    fn a_ready_call_ends_where_it_starts() {
        let mut calls: Calls<Boxed, _> = Calls::new();
        assert_eq!(calls.start(Box::pin(async { 7 }), "a", None), Some(("a", Ok(7))));
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn only_what_was_woken_ends_and_its_berth_is_used_again() {
        let mut calls: Calls<Boxed, _> = Calls::new();
        let (one, first) = oneshot::channel();
        let (_two, second) = oneshot::channel::<u32>();
        assert!(calls.start(Box::pin(async { first.await.unwrap_or(0) }), "first", None).is_none());
        assert!(calls.start(Box::pin(async { second.await.unwrap_or(0) }), "second", None).is_none());
        assert_eq!(ended(&mut calls), []);
        one.send(1).expect("the receiver lives");
        assert_eq!(ended(&mut calls), [("first", Ok(1))]);
        assert_eq!(calls.len(), 1);
        assert!(calls.start(Box::pin(std::future::pending()), "third", None).is_none());
        assert_eq!(calls.berths.len(), 2);
    }

    #[test]
    fn so_many_endings_are_enough_for_one_look_and_the_others_are_not_forgotten() {
        let mut calls: Calls<Boxed, _> = Calls::new();
        let senders: Vec<_> = (0..AT_A_TIME + 2)
            .map(|_| {
                let (sender, answer) = oneshot::channel();
                calls.start(Box::pin(async { answer.await.unwrap_or(0) }), "a", None);
                sender
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.send(1).expect("the receiver lives"));
        let mut look = || {
            let mut ended = Vec::new();
            let goes_on = calls.poll_ended(&mut Context::from_waker(Waker::noop()), &mut ended);
            (ended.len(), goes_on)
        };
        assert_eq!([look(), look(), look()], [(AT_A_TIME, true), (2, false), (0, false)]);
    }

    #[test]
    fn a_panic_ends_its_call_with_its_text() {
        let mut calls: Calls<Boxed, _> = Calls::new();
        let ending = calls.start(Box::pin(async { panic!("no {}", "way") }), "a", None);
        assert_eq!(ending, Some(("a", Err("no way".to_owned()))));
    }

    /// Panics when it is dropped.
    struct Sulks;

    impl Drop for Sulks {
        fn drop(&mut self) {
            panic!("in a bad mood");
        }
    }

    impl Future for Sulks {
        type Output = u32;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u32> {
            Poll::Ready(7)
        }
    }

    #[test]
    fn a_panic_when_a_call_is_dropped_harms_nobody() {
        let mut calls: Calls<Boxed, &str> = Calls::new();
        assert_eq!(calls.start(Box::pin(Sulks), "ready at once", None), Some(("ready at once", Ok(7))));
        let held = Sulks;
        let pending = async move {
            let _held = held;
            std::future::pending().await
        };
        assert!(calls.start(Box::pin(pending), "pending", None).is_none());
        assert_eq!((calls.cancel(|_, _| true), calls.len()), (vec!["pending"], 0));
        assert_eq!(calls.start(Box::pin(async { 8 }), "next", None), Some(("next", Ok(8))));
    }

    #[test]
    fn a_cancelled_call_is_dropped_and_a_late_wake_up_meets_nothing() {
        let mut calls: Calls<Boxed, _> = Calls::new();
        let (one, first) = oneshot::channel();
        calls.start(Box::pin(async { first.await.unwrap_or(0) }), "first", None);
        assert_eq!(calls.cancel(|_, _| true), ["first"]);
        assert!(one.send(1).is_err());
        assert_eq!(ended(&mut calls), []);
        assert_eq!(calls.len(), 0);
    }
}
