//! Deadlines of connections, kept coarsely: setting one costs a store, and one timer of the runtime serves them all.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_core::time::Boot;

use crate::clock;

/// How late a deadline may be noticed.
const TICK: Duration = Duration::from_millis(50);

/// The deadlines of a thread.
#[derive(Debug, Default)]
pub struct Deadlines {
    all: Rc<All>,
}

#[derive(Debug, Default)]
struct All {
    slots: RefCell<Slots>,
    ticking: Cell<bool>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Rc<Slot>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    due: Cell<Boot>,
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A deadline that a task can be woken by.
#[derive(Debug)]
pub struct Watch {
    all: Rc<All>,
    slot: Rc<Slot>,
    at: usize,
}

impl Deadlines {
    /// A deadline that is not set. Only within a runtime.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let slot =
            Rc::new(Slot { due: Cell::new(Boot::NEVER), fired: Cell::new(false), waker: RefCell::new(None) });
        let mut slots = self.all.slots.borrow_mut();
        let at = slots.free.pop().unwrap_or_else(|| {
            slots.slots.push(None);
            slots.slots.len() - 1
        });
        slots.slots[at] = Some(Rc::clone(&slot));
        drop(slots);
        if !self.all.ticking.replace(true) {
            clock::refresh();
            tokio::task::spawn_local(tick(Rc::downgrade(&self.all)));
        }
        Watch { all: Rc::clone(&self.all), slot, at }
    }

    /// The time, up to a tick ago while there are watches.
    #[must_use]
    pub fn now(&self) -> Boot {
        self.all.now()
    }

    /// Wakes every task that waits for a deadline, so that it sees what else has changed.
    pub fn wake_all(&self) {
        for slot in self.all.slots.borrow().slots.iter().flatten() {
            if let Some(waker) = slot.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl All {
    fn now(&self) -> Boot {
        if self.ticking.get() { clock::recent() } else { clock::refresh() }
    }

    /// Wakes whose deadline has passed; whether there is anything to watch.
    fn sweep(&self) -> bool {
        let now = clock::refresh();
        let slots = self.slots.borrow();
        for slot in slots.slots.iter().flatten().filter(|slot| slot.due.get() <= now) {
            slot.due.set(Boot::NEVER);
            slot.fired.set(true);
            if let Some(waker) = slot.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        slots.free.len() < slots.slots.len()
    }
}

async fn tick(all: Weak<All>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(all) = all.upgrade() else { return };
        if !all.sweep() {
            all.ticking.set(false);
            return;
        }
    }
}

impl Watch {
    /// The time, up to a tick ago.
    #[must_use]
    pub fn now(&self) -> Boot {
        self.all.now()
    }

    /// Sets the deadline.
    pub fn arm(&self, due: Boot) {
        self.slot.fired.set(false);
        self.slot.due.set(due);
    }

    /// Sets the deadline so far from now.
    pub fn arm_in(&self, time: Duration) {
        self.arm(self.now() + time);
    }

    /// There is no deadline.
    pub fn disarm(&self) {
        self.arm(Boot::NEVER);
    }

    /// Waits for the deadline.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.slot.fired.get() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Sets the deadline if it is another one, and waits for it.
    pub fn has_passed(&self, cx: &mut Context<'_>, due: Boot) -> bool {
        if self.slot.due.get() != due && !self.slot.fired.get() {
            self.slot.due.set(due);
        }
        let passed = self.poll(cx).is_ready();
        if passed {
            self.slot.fired.set(false);
        }
        passed
    }

    /// Waits for what `poll` waits for, no longer than `time`; `None` when it took longer.
    pub async fn within<T>(
        &self,
        time: Duration,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        let mut armed = false;
        let done = std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = poll(cx) {
                return Poll::Ready(Some(done));
            }
            if !armed {
                self.arm_in(time);
                armed = true;
            }
            self.poll(cx).map(|()| None)
        });
        let done = done.await;
        if armed {
            self.disarm();
        }
        done
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut slots = self.all.slots.borrow_mut();
        slots.slots[self.at] = None;
        slots.free.push(self.at);
    }
}
