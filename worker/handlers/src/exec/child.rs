//! One child process and the task that attends to it: writes requests, reads answers, ends it.
//!
//! The task ends when the child does, when the child breaks the protocol, when a record it holds is cancelled
//! (nobody knows how far the child got with it, so it has to go), or when nothing more will be asked. Then the
//! child's whole process group is gone, and each record it held is told how that came.
//!
//! What this file may not do: start a process, or decide whether another one is. Up: [`super`].

use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::task::Poll;

use bytes::BytesMut;
use keyweir_engine::{Failure, Outcome};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::stderr::Stderr;
use crate::answer::{Answer, Line, invalid, start_of};
use crate::lines::Lines;
use crate::reason;

/// How long a child may take to end after SIGTERM, before SIGKILL. It is short because the record is free to run
/// elsewhere meanwhile.
const TERM_GRACE: Duration = Duration::from_millis(300);
/// How long a child may take to end after its stdin did.
const FINISH_GRACE: Duration = Duration::from_secs(5);
/// How long what a child wrote before its end is waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A record for a child.
#[derive(Debug)]
pub(super) struct Ask {
    /// The record's id.
    pub(super) id: String,
    /// Its line.
    pub(super) line: Vec<u8>,
    /// Told how it ended; closed by whoever waited = cancelled.
    pub(super) reply: oneshot::Sender<Ended>,
}

/// How a record ended at a child.
#[derive(Debug)]
pub(super) enum Ended {
    /// The child answered.
    Answered(Outcome),
    /// The child is gone and may have begun.
    Lost(Failure),
    /// The child is gone and provably had not read the record.
    Unread(Failure),
}

/// What a child is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    /// Records it holds at a time.
    pub(super) records: usize,
    /// Bytes of an answer about one record.
    pub(super) answer: usize,
    /// Silence after which it counts as stuck.
    pub(super) silence: Option<Duration>,
}

/// Why a child had to go.
#[derive(Debug)]
enum End {
    /// Nothing more will be asked.
    Finished,
    /// A record was cancelled.
    Cancelled,
    /// It did what it must not.
    Broken(Failure),
    /// It ended by itself.
    Exited,
}

/// The life of a child, as far as the pool must know it.
#[derive(Debug)]
pub(super) struct Life {
    /// It answered at least once.
    pub(super) answered: bool,
    /// Why it went, unless it was asked to.
    pub(super) failure: Option<Failure>,
}

/// Attends to a child until it is gone.
pub(super) async fn attend(mut child: Child, asks: mpsc::Receiver<Ask>, manners: Manners) -> Life {
    let process = child.id().unwrap_or_default();
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        let failure = Failure::new(reason::CANNOT_START, "the child has no pipes");
        return Life { answered: false, failure: Some(failure) };
    };
    let mut attendant = Attendant {
        child,
        group: Pid::from_raw(i32::try_from(process).unwrap_or_default()),
        stdin: Some(stdin),
        stdout,
        stderr: Some(stderr),
        held: Vec::new(),
        outgoing: BytesMut::new(),
        lines: Lines::new(manners.answer),
        log: Stderr::new(process),
        answered: false,
        manners,
    };
    let end = attendant.serve(asks).await;
    attendant.end(end).await
}

struct Attendant {
    child: Child,
    group: Pid,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    held: Vec<Held>,
    outgoing: BytesMut,
    lines: Lines,
    log: Stderr,
    answered: bool,
    manners: Manners,
}

/// A record that the child was given, in the order of giving.
struct Held {
    id: String,
    /// How long its line was.
    length: usize,
    answer: Answer,
    received: usize,
    last_sign: Instant,
    reply: oneshot::Sender<Ended>,
}

impl Attendant {
    async fn serve(&mut self, mut asks: mpsc::Receiver<Ask>) -> End {
        loop {
            let stuck_at = self.stuck_at();
            // Cancelled first, so that a child that must go is given nothing more. Answers before an exit, so that
            // what a child said before it left counts. New records last: what is held is finished first.
            tokio::select! {
                biased;
                () = cancelled(&mut self.held) => return End::Cancelled,
                read = self.stdout.read_buf(self.lines.buffer()) => match read {
                    Ok(0) | Err(_) => return End::Exited,
                    Ok(_) => if let Err(failure) = self.answers() {
                        return End::Broken(failure);
                    },
                },
                open = read_some(&mut self.stderr, self.log.buffer()) => {
                    self.log.log();
                    if !open {
                        self.stderr = None;
                    }
                }
                () = until(stuck_at) => {
                    let text = "the handler missed three signs of life in a row";
                    return End::Broken(Failure::new(reason::STUCK, text));
                }
                written = write_some(self.stdin.as_mut(), &mut self.outgoing) => if written.is_err() {
                    return End::Exited;
                },
                _ = self.child.wait() => return End::Exited,
                ask = asks.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => return End::Finished,
                },
            }
        }
    }

    /// When the record that has been silent for longest makes the child count as stuck.
    fn stuck_at(&self) -> Option<Instant> {
        let last = self.held.iter().map(|held| held.last_sign).min()?;
        Some(last + self.manners.silence?)
    }

    fn take(&mut self, ask: Ask) {
        self.outgoing.extend_from_slice(&ask.line);
        self.held.push(Held {
            id: ask.id,
            length: ask.line.len(),
            answer: Answer::default(),
            received: 0,
            last_sign: Instant::now(),
            reply: ask.reply,
        });
    }

    /// Takes the lines that are complete.
    fn answers(&mut self) -> Result<(), Failure> {
        let too_large = |limit| {
            Failure::new(
                reason::ANSWER_TOO_LARGE,
                format!("the answer is longer than {limit} bytes (maxResponseBytes)"),
            )
        };
        while let Some(bytes) = self.lines.next().map_err(|_| too_large(self.manners.answer))? {
            let line = Line::read(&bytes).map_err(|Failure { reason, text }| {
                Failure::new(reason, format!("{text}; stdout is for answers only, stderr for the log"))
            })?;
            let place = self.place(line.id.as_deref(), &bytes)?;
            let held = &mut self.held[place];
            held.received += bytes.len();
            held.last_sign = Instant::now();
            if held.received > self.manners.answer {
                return Err(too_large(self.manners.answer));
            }
            if held.answer.take(line)? {
                let Held { answer, reply, .. } = self.held.remove(place);
                self.answered = true;
                // Whoever waited may just have given up; the record's end is theirs to judge.
                let _ = reply.send(Ended::Answered(answer.finish()));
            }
        }
        Ok(())
    }

    /// Which of the held records a line is about.
    fn place(&self, id: Option<&str>, line: &[u8]) -> Result<usize, Failure> {
        match id {
            Some(id) => self
                .held
                .iter()
                .position(|held| held.id == id)
                .ok_or_else(|| invalid(format!("the child answers about {id:?}, which it does not hold"))),
            None if self.manners.records == 1 && !self.held.is_empty() => Ok(0),
            None => Err(invalid(format!("the line {:?} lacks the record's id", start_of(line)))),
        }
    }

    /// Makes sure the child is gone, and tells its records.
    async fn end(mut self, end: End) -> Life {
        let is_cancelled = matches!(end, End::Cancelled);
        let failure = match end {
            End::Finished => {
                self.finish().await;
                None
            }
            End::Cancelled => {
                self.terminate().await;
                let text = "the child was ended because another record it held was cancelled";
                Some(Failure::new(reason::CRASHED, text))
            }
            End::Broken(failure) => {
                self.terminate().await;
                Some(failure)
            }
            End::Exited => Some(self.autopsy().await),
        };
        // Nothing of the group may outlive the child; none being left is the usual case.
        let _ = killpg(self.group, Signal::SIGKILL);
        // A record that took too long says nothing about starting the next child.
        let life = Life { answered: self.answered, failure: failure.clone().filter(|_| !is_cancelled) };
        if let Some(failure) = failure {
            self.tell(&failure);
        }
        life
    }

    /// The child asked for nothing and may still say something: it leaves at the end of its stdin.
    async fn finish(&mut self) {
        self.stdin = None;
        let _ = timeout(FINISH_GRACE, self.last_words()).await;
        if timeout(TERM_GRACE, self.child.wait()).await.is_err() {
            self.terminate().await;
        }
    }

    async fn terminate(&mut self) {
        let _ = killpg(self.group, Signal::SIGTERM);
        if timeout(TERM_GRACE, self.child.wait()).await.is_err() {
            let _ = killpg(self.group, Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
    }

    /// What a child that ended by itself leaves behind, and why it did.
    async fn autopsy(&mut self) -> Failure {
        let words = timeout(LAST_WORDS, self.last_words()).await;
        if let Ok(Err(failure)) = words {
            self.terminate().await;
            return failure;
        }
        let status = match timeout(TERM_GRACE, self.child.wait()).await {
            Ok(Ok(status)) => format!("ended by itself ({status})"),
            Ok(Err(error)) => format!("can't be waited for ({error})"),
            Err(_) => {
                self.terminate().await;
                "closed its stdin or stdout".to_owned()
            }
        };
        let said = self.log.last().map(|line| format!("; its last words: {line}")).unwrap_or_default();
        Failure::new(reason::CRASHED, format!("the child {status}{said}"))
    }

    /// Reads stdout and stderr to their ends.
    async fn last_words(&mut self) -> Result<(), Failure> {
        let mut speaks = true;
        while speaks || self.stderr.is_some() {
            tokio::select! {
                biased; // Answers first: they decide about records.
                read = self.stdout.read_buf(self.lines.buffer()), if speaks => {
                    speaks = matches!(read, Ok(count) if count > 0);
                    self.answers()?;
                }
                open = read_some(&mut self.stderr, self.log.buffer()) => {
                    self.log.log();
                    if !open {
                        self.stderr = None;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the records that the child held. Those whose whole line it left in its stdin were not begun.
    fn tell(mut self, failure: &Failure) {
        let mut unread = self.outgoing.len() + self.stdin.as_ref().map_or(0, unread_bytes);
        while let Some(held) = self.held.pop() {
            let ended = if unread >= held.length {
                unread -= held.length;
                Ended::Unread(Failure::new(reason::CANNOT_START, failure.text.clone()))
            } else {
                unread = 0;
                Ended::Lost(failure.clone())
            };
            let _ = held.reply.send(ended);
        }
    }
}

/// Ready as soon as nobody waits for one of the records any more.
async fn cancelled(held: &mut [Held]) {
    poll_fn(|cx| {
        let gone = held.iter_mut().any(|held| held.reply.poll_closed(cx).is_ready());
        if gone { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Ready at that time, if there is one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reads what is there; `false` = there will be no more.
async fn read_some(from: &mut Option<impl AsyncRead + Unpin>, to: &mut BytesMut) -> bool {
    match from {
        Some(from) => from.read_buf(to).await.is_ok_and(|count| count > 0),
        None => std::future::pending().await,
    }
}

/// Writes some of what is to be written. Never ready while there is nothing.
async fn write_some(to: Option<&mut ChildStdin>, from: &mut BytesMut) -> io::Result<()> {
    match to {
        Some(to) if !from.is_empty() => match to.write_buf(from).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(()),
        },
        _ => std::future::pending().await,
    }
}

/// How many bytes of a pipe its reader has not read.
fn unread_bytes(pipe: &ChildStdin) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to where it is told, and the descriptor is open while `pipe` lives.
    let answer = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if answer == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}
