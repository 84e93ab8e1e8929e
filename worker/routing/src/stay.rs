//! A stay: what one owner has executing here, over one stream, for as long as its grant lasts. Up: [hosting](crate::hosting).

use std::collections::HashMap;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use keyweir_core::MemberId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::exchange::Exchange;
use crate::frame::{End, Frame, Run};
use crate::greeting::WireError;
use crate::hosting::{Ending, Hosting};
use keyweir_engine::ports::Handler;

/// How long an owner may take to answer what it was asked.
const ANSWER: Duration = Duration::from_secs(1);

/// How a record ended here, by its number; `None` = it was cancelled.
type Ended = (u64, Option<Result<Ending, End>>);

/// What one owner has executing here.
pub(crate) struct Stay<'a, H> {
    hosting: &'a Hosting<H>,
    exchange: Exchange,
    /// The incarnation of this member that the owner came to.
    me: MemberId,
    /// Another stream of the same owner has come in its place.
    over: CancellationToken,
    running: FuturesUnordered<BoxFuture<'a, Ended>>,
    aborts: HashMap<u64, AbortHandle>,
    /// What came before there was a grant.
    held: Vec<Run>,
    granted_until: Option<Instant>,
    /// What was asked last, and when.
    asked: (u64, Instant),
    ask_at: Instant,
}

impl<'a, H: Handler> Stay<'a, H> {
    pub(crate) fn new(
        hosting: &'a Hosting<H>,
        mut exchange: Exchange,
        me: MemberId,
        over: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        exchange.say(&Frame::Welcome);
        Self {
            hosting,
            exchange,
            me,
            over,
            running: FuturesUnordered::new(),
            aborts: HashMap::new(),
            held: Vec::new(),
            granted_until: None,
            asked: (0, now),
            ask_at: now,
        }
    }

    /// Until the owner ends it, or the grant does. All that executes is cancelled then.
    ///
    /// The order: what ends the stay first, since nothing of it may outlast that; what has ended before what is new,
    /// so that seats come back; asking last, which can wait a moment. Every arm is cancel-safe.
    pub(crate) async fn last(mut self) -> Result<(), WireError> {
        let mut roll = self.hosting.settings.roll.clone();
        loop {
            let until = self.until();
            if self.is_over(&mut roll) || until.is_some_and(|until| until <= Instant::now()) {
                return Err(WireError::GrantOver);
            }
            let Self { over, exchange, running, ask_at, .. } = &mut self;
            tokio::select! {
                biased;
                () = over.cancelled() => return Ok(()),
                // Without a sender there is no member any more.
                changed = roll.changed() => if changed.is_err() { return Ok(()) },
                () = sleep_until(until.unwrap_or(*ask_at)), if until.is_some() => {}
                Some((id, ended)) = running.next(), if !running.is_empty() && !exchange.is_full() => {
                    self.ended(id, ended);
                }
                carried = exchange.carry() => {
                    match carried {
                        Err(WireError::Closed) => return Ok(()),
                        other => other?,
                    }
                    self.hear()?;
                }
                () = sleep_until(*ask_at) => self.ask(),
            }
        }
    }

    /// Whether this member is not the one any more that the owner came to.
    fn is_over(
        &self,
        roll: &mut watch::Receiver<Option<std::sync::Arc<keyweir_engine::ownership::Roll>>>,
    ) -> bool {
        roll.borrow_and_update().as_ref().is_none_or(|roll| roll.me != self.me)
    }

    /// Until when what executes here may: the owner's grant, and the lease of this member.
    fn until(&self) -> Option<Instant> {
        let own = self.hosting.settings.limit.counts_until();
        self.granted_until.into_iter().chain(own).min()
    }

    fn hear(&mut self) -> Result<(), WireError> {
        while let Some(frame) = self.exchange.hear()? {
            match frame {
                Frame::Run(run) if self.granted_until.is_none() => self.held.push(run),
                Frame::Run(run) => self.begin(run),
                Frame::Cancel(id) => self.cancel(id),
                Frame::Granted(number, left) => self.granted(number, left),
                Frame::Welcome | Frame::Ask(_) | Frame::Ended(..) => return Err(WireError::Garbage),
            }
        }
        Ok(())
    }

    fn begin(&mut self, run: Run) {
        let (id, hosting) = (run.id, self.hosting);
        let (abort, registration) = AbortHandle::new_pair();
        self.aborts.insert(id, abort);
        let hosted = Abortable::new(hosting.host(run), registration);
        self.running.push(hosted.map(move |ended| (id, ended.ok())).boxed());
    }

    fn cancel(&mut self, id: u64) {
        if let Some(abort) = self.aborts.get(&id) {
            abort.abort();
        } else if let Some(place) = self.held.iter().position(|run| run.id == id) {
            self.held.swap_remove(place);
            self.exchange.say(&Frame::Ended(id, End::Cancelled));
        }
    }

    fn ended(&mut self, id: u64, ended: Option<Result<Ending, End>>) {
        self.aborts.remove(&id);
        let in_time = self.until().is_none_or(|until| Instant::now() < until);
        let end = match ended {
            // A process that was frozen beyond the grant finds it all ended at once: the clock says what counts.
            Some(Ok(ending)) if in_time => End::Answered(ending.count()),
            Some(Err(end)) => end,
            Some(Ok(_)) | None => End::Cancelled,
        };
        self.exchange.say(&Frame::Ended(id, end));
    }

    fn ask(&mut self) {
        let now = Instant::now();
        self.asked = (self.asked.0 + 1, now);
        self.ask_at = now + ANSWER;
        self.exchange.say(&Frame::Ask(self.asked.0));
    }

    /// A grant counts from the moment of asking: whatever the answer took, it ends here before it does at the owner.
    fn granted(&mut self, number: u64, left: Duration) {
        let (asked, at) = self.asked;
        if number != asked || left.is_zero() {
            return;
        }
        self.granted_until = Some(at + left);
        self.ask_at = at + left / 3;
        for run in std::mem::take(&mut self.held) {
            self.begin(run);
        }
    }
}
