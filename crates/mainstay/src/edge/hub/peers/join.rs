//! Two streams as one: what comes by one goes by the other, half closes and borders of datagrams are kept, nothing is buffered.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mainstay_link::tunnel::{Code, Stream, code_of};
use mainstay_proxy::policy::tunnel::Held;
use tokio::time::{Instant, Sleep, sleep};

use crate::edge::hub::road::{End as _, LAST_WORDS};
use crate::edge::hub::seat::{Offered, Seat};
use crate::edge::hub::siblings::Lent;

/// Steps in a row before others get their turn.
const STEPS: usize = 16;

/// Who pays for what goes through: the tunnel's bounds, and what is counted of where it goes.
pub(super) struct Toll {
    to: To,
    /// The tunnel's bounds; nothing when another thread of the node holds its place there.
    held: Option<Held>,
}

/// Where it goes.
pub(super) enum To {
    /// To an agent of this thread.
    Agent(Counted),
    /// To another thread of the node.
    Sibling(Lent),
}

/// A connection of an agent's that came from elsewhere.
pub(super) struct Counted {
    seat: Rc<Seat>,
    offer: Rc<Offered>,
}

impl Counted {
    pub(super) fn new(seat: Rc<Seat>, offer: Rc<Offered>) -> Self {
        offer.streams.set(offer.streams.get() + 1);
        offer.opened.set(offer.opened.get() + 1);
        offer.forwarded.set(offer.forwarded.get() + 1);
        seat.recount();
        Self { seat, offer }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.offer.streams.set(self.offer.streams.get() - 1);
        self.offer.forwarded.set(self.offer.forwarded.get() - 1);
        self.seat.recount();
    }
}

impl Toll {
    pub(super) const fn new(to: To, held: Option<Held>) -> Self {
        Self { to, held }
    }

    fn pay(&self, count: usize, to_agent: bool) {
        let tally = match &self.to {
            To::Agent(counted) => &counted.offer.tally,
            To::Sibling(lent) => lent.tally(),
        };
        let counter = if to_agent { &tally.sent } else { &tally.received };
        counter.set(counter.get() + count as u64);
        if let Some(held) = &self.held {
            held.spend(count);
        }
    }

    /// Whether it says that another thread has not what it was asked for.
    fn is_refusal(&self, code: Code) -> bool {
        match &self.to {
            To::Agent(_) => false,
            To::Sibling(lent) => lent.refused(code),
        }
    }

    /// Whether the end of one direction is the end of both to whom it goes to.
    fn ends_both(&self) -> bool {
        match &self.to {
            To::Agent(counted) => counted.seat.gost.is_some(),
            // The thread that has the agent sees to it.
            To::Sibling(_) => false,
        }
    }

    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.held.as_ref().map_or(Poll::Ready(()), |held| held.poll_turn(cx))
    }
}

/// Carries until both have ended, or one has failed; bytes towards the agent, and back.
pub(super) async fn join(mut hub: Stream, mut agent: Stream, datagrams: bool, toll: Toll) -> (u64, u64) {
    let (mut there, mut back) = (Some(0), Some(0));
    let mut count = (0, 0);
    let mut last: Option<Pin<Box<Sleep>>> = None;
    let failed = poll_fn(|cx| {
        ready!(toll.poll_turn(cx));
        let (mut more, heard) = (false, count.1);
        for (side, so_far) in [(true, &mut there), (false, &mut back)] {
            let (from, to) = if side { (&mut hub, &mut agent) } else { (&mut agent, &mut hub) };
            let Some(bytes) = so_far else {
                // Who has ended its side may still give it all up.
                let Poll::Ready(code) = from.poll_reset(cx) else { continue };
                return Poll::Ready(Some((io::Error::other(code), side)));
            };
            let step = if datagrams { carry_datagrams(from, to, cx) } else { carry_bytes(from, to, cx) };
            let step = match step {
                Ok(step) => step,
                Err((error, at_source)) => return Poll::Ready(Some((error, side == at_source))),
            };
            toll.pay(step.bytes, side);
            *bytes += step.bytes as u64;
            let sum = if side { &mut count.0 } else { &mut count.1 };
            *sum = *bytes;
            more |= step.more;
            if step.over {
                *so_far = None;
                if side && toll.ends_both() {
                    last = Some(Box::pin(sleep(LAST_WORDS)));
                } else {
                    to.finish();
                }
            }
        }
        if let Some(timer) = &mut last {
            if count.1 > heard {
                timer.as_mut().reset(Instant::now() + LAST_WORDS);
            }
            if back.is_none() || timer.as_mut().poll(cx).is_ready() {
                agent.finish();
                last = None;
            }
        }
        if there.is_none() && back.is_none() {
            return Poll::Ready(None);
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    });
    let failed = failed.await;
    if let Some((error, by_hub)) = failed {
        // Whoever is left hears why, and whether anything was touched; that a session has ended is of that session alone.
        let code = match code_of(&error) {
            Some(Code::Gone) | None => Code::Cancel,
            Some(code) if !by_hub && toll.is_refusal(code) => Code::Refused,
            Some(code) => code,
        };
        if by_hub { agent.reset(code) } else { hub.reset(code) }
    }
    count
}

/// What one turn has done.
struct Step {
    bytes: usize,
    /// There may be more at once.
    more: bool,
    /// That side has ended.
    over: bool,
}

/// An error, and whether it is of the stream that is read.
type Broke = (io::Error, bool);

fn carry_bytes(from: &mut Stream, to: &mut Stream, cx: &mut Context<'_>) -> Result<Step, Broke> {
    let mut bytes = 0;
    for _ in 0..STEPS {
        match from.poll_chunk(cx).map_err(|error| (error, true))? {
            Poll::Pending => return Ok(Step { bytes, more: false, over: false }),
            Poll::Ready(0) => return Ok(Step { bytes, more: false, over: true }),
            Poll::Ready(_) => {
                // The two are of two sessions: bytes go straight from what one has kept into what the other sends next.
                let sent = from.take(|chunk| {
                    let lent = to.poll_lend(cx, chunk.len(), |room| {
                        room.copy_from_slice(&chunk[..room.len()]);
                        Ok(room.len())
                    });
                    match lent {
                        Poll::Ready(Ok(count)) => (count, Poll::Ready(Ok(count))),
                        Poll::Ready(Err(error)) => (0, Poll::Ready(Err(error))),
                        Poll::Pending => (0, Poll::Pending),
                    }
                });
                match sent {
                    Poll::Ready(Ok(count)) => bytes += count,
                    Poll::Ready(Err(error)) => return Err((error, false)),
                    Poll::Pending => return Ok(Step { bytes, more: false, over: false }),
                }
            }
        }
    }
    Ok(Step { bytes, more: true, over: false })
}

fn carry_datagrams(from: &mut Stream, to: &mut Stream, cx: &mut Context<'_>) -> Result<Step, Broke> {
    let mut bytes = 0;
    for _ in 0..STEPS {
        match from.poll_datagram(cx).map_err(|error| (error, true))? {
            Poll::Pending => return Ok(Step { bytes, more: false, over: false }),
            Poll::Ready(None) => return Ok(Step { bytes, more: false, over: true }),
            Poll::Ready(Some(datagram)) => {
                // One that finds no room is lost, as datagrams are.
                if to.send_datagram(&datagram) {
                    bytes += datagram.len();
                }
            }
        }
    }
    Ok(Step { bytes, more: true, over: false })
}
