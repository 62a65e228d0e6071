//! What a session's task and the holders of its streams share: the machine, the carrier, who waits for what.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mainstay_core::time::Boot;
use mainstay_core::tunnel::{Closed, Code, Effect, Heard, Key, Open};

use super::Carrier;
use super::machine::Machine;
use super::stream::Sink;

/// Shared on one thread.
pub(super) type Shared = Rc<RefCell<Inner>>;

/// Who waits for what of a stream.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Takes what comes as it comes.
    pub(super) sink: Option<Rc<dyn Sink>>,
}

/// The shared state.
pub(super) struct Inner {
    pub(super) mux: Machine,
    /// There until the session is over and what it had to say was said.
    pub(super) carrier: Option<Box<dyn Carrier>>,
    pub(super) slots: Vec<Slot>,
    /// Streams that nobody has asked for yet.
    pub(super) arrivals: VecDeque<(Key, Box<Open>)>,
    pub(super) arrival: Option<Waker>,
    /// Nobody will ask.
    pub(super) deaf: bool,
    /// The session's task.
    pub(super) task: Waker,
    /// It was woken to write.
    pub(super) asked: bool,
    /// The carrier takes no more for now, and wakes the task when it does.
    pub(super) blocked: bool,
    /// The carrier may keep what it was given.
    unflushed: bool,
    /// The carrier is not read until some of what is unread was taken.
    pub(super) full: bool,
    /// The carrier takes nothing any more; what it still gives may say why.
    pub(super) broken: Option<String>,
    pub(super) closed: Option<Closed>,
    pub(super) mourners: Vec<Waker>,
    /// Counts what the other side has said of itself, and who waits for more of it.
    pub(super) told: u64,
    pub(super) listeners: Vec<Waker>,
    /// How busy we are, as whoever runs us counts it.
    pub(super) load: Option<Rc<Cell<u32>>>,
    pub(super) now: Boot,
}

impl Inner {
    pub(super) fn new(mux: Machine, carrier: Box<dyn Carrier>, now: Boot) -> Self {
        Self {
            mux,
            carrier: Some(carrier),
            slots: Vec::new(),
            arrivals: VecDeque::new(),
            arrival: None,
            deaf: false,
            task: Waker::noop().clone(),
            asked: false,
            blocked: false,
            unflushed: false,
            full: false,
            broken: None,
            closed: None,
            mourners: Vec::new(),
            told: 0,
            listeners: Vec::new(),
            load: None,
            now,
        }
    }

    /// A fresh place for a stream's waiters.
    pub(super) fn place(&mut self, key: Key) {
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, Slot::default);
        }
        self.slots[key.index()] = Slot::default();
    }

    pub(super) fn slot(&mut self, key: Key) -> &mut Slot {
        if self.slots.len() <= key.index() {
            self.place(key);
        }
        &mut self.slots[key.index()]
    }

    /// Something was staged: now, when there is nobody to wait for, else once at the end of this turn of the loop.
    pub(super) fn staged(&mut self) {
        if self.full && !self.mux.is_full() {
            self.ask();
        }
        if self.blocked || self.asked || self.mux.output().is_empty() {
            return;
        }
        if self.mux.living() <= 1 && self.closed.is_none() {
            self.write();
            self.effects();
            if self.mux.output().is_empty() && !self.mux.has_waiting() {
                return;
            }
        }
        self.ask();
    }

    /// Has the task look at everything.
    pub(super) fn ask(&mut self) {
        if !self.asked {
            self.asked = true;
            self.task.wake_by_ref();
        }
    }

    /// Writes what is staged; the session's task goes on when the carrier takes more.
    pub(super) fn write(&mut self) {
        let waker = self.task.clone();
        let mut cx = Context::from_waker(&waker);
        let Some(carrier) = &mut self.carrier else { return };
        self.blocked = self.broken.is_some();
        let any = !self.mux.output().is_empty();
        while !self.blocked && !self.mux.output().is_empty() {
            match Pin::new(&mut **carrier).poll_write(&mut cx, self.mux.output()) {
                Poll::Ready(Ok(0)) => return self.breaks("it takes nothing more".to_owned()),
                Poll::Ready(Ok(count)) => {
                    self.mux.sent(count);
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => return self.breaks(error.to_string()),
                Poll::Pending => self.blocked = true,
            }
        }
        if any {
            self.mux.carried(!self.blocked);
        }
        if !self.unflushed || self.broken.is_some() {
            return;
        }
        match Pin::new(&mut **carrier).poll_flush(&mut cx) {
            Poll::Ready(Ok(())) => self.unflushed = false,
            Poll::Ready(Err(error)) => self.breaks(error.to_string()),
            // It wakes the task when there is more to flush.
            Poll::Pending => {}
        }
    }

    fn breaks(&mut self, why: String) {
        self.broken = Some(why);
        self.blocked = true;
        self.ask();
    }

    /// All that these bytes of the carrier's say.
    pub(super) fn hear(&mut self, mut input: &[u8]) {
        while let Some(heard) = self.mux.receive(&mut input, self.now) {
            match heard {
                Heard::Data(key, bytes) => {
                    let Some(slot) = self.slots.get_mut(key.index()) else { continue };
                    let taken = match &slot.sink {
                        Some(sink) if !self.mux.has_unread(key) => sink.take(bytes),
                        Some(_) | None => 0,
                    };
                    self.mux.deliver(key, bytes, taken, self.now);
                    if taken < bytes.len() {
                        wake(&mut slot.reader);
                    }
                }
                Heard::Datagram(key, bytes) => {
                    self.mux.keep_datagram(key, bytes, self.now);
                    wake(&mut self.slot(key).reader);
                }
                Heard::Opened(key, open) => self.arrived(key, open),
                Heard::Ended(key) => wake(&mut self.slot(key).reader),
                Heard::Reset(key, _) => {
                    let slot = self.slot(key);
                    wake(&mut slot.reader);
                    wake(&mut slot.writer);
                }
                Heard::Left | Heard::News => self.news(),
            }
        }
    }

    fn arrived(&mut self, key: Key, open: Box<Open>) {
        if self.deaf {
            self.mux.reset(key, Code::Refused);
            self.mux.forget(key);
            return;
        }
        self.place(key);
        self.arrivals.push_back((key, open));
        wake(&mut self.arrival);
    }

    /// The other side has said something of itself.
    fn news(&mut self) {
        self.told += 1;
        self.listeners.drain(..).for_each(Waker::wake);
    }

    /// What the machine asks for.
    pub(super) fn effects(&mut self) {
        while let Some(effect) = self.mux.poll_effect() {
            match effect {
                Effect::Writable(key) => wake(&mut self.slot(key).writer),
                Effect::Closed(why) => {
                    self.closed = Some(why);
                    for slot in &mut self.slots {
                        wake(&mut slot.reader);
                        wake(&mut slot.writer);
                    }
                    wake(&mut self.arrival);
                    self.mourners.drain(..).for_each(Waker::wake);
                    self.news();
                    self.ask();
                }
            }
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Remembers whom to wake, without another copy of who is remembered already.
pub(super) fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
