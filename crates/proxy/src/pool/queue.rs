//! Where requests wait, first come first served, when every backend of a pool is full.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// Places that other threads and processes give back are looked for this often, by the first in the queue.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The queue of one pool on this thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Rc<Notify>>>,
}

impl Queue {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// The first may look again.
    pub(super) fn wake(&self) {
        if let Some(first) = self.waiting.borrow().front() {
            first.notify_one();
        }
    }

    /// One more at the end.
    pub(super) fn join(&self) -> Turn<'_> {
        let bell = Rc::new(Notify::new());
        self.waiting.borrow_mut().push_back(Rc::clone(&bell));
        Turn { queue: self, bell }
    }
}

/// A place in the queue, left when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    queue: &'a Queue,
    bell: Rc<Notify>,
}

impl Turn<'_> {
    /// Whether nobody is before us.
    pub(super) fn is_first(&self) -> bool {
        self.queue.waiting.borrow().front().is_some_and(|first| Rc::ptr_eq(first, &self.bell))
    }

    /// Until it may be worth while to look again.
    pub(super) async fn come(&self) {
        if self.is_first() {
            // Time out or not: both mean to look.
            let _ = tokio::time::timeout(LOOK, self.bell.notified()).await;
        } else {
            self.bell.notified().await;
        }
    }

    /// Whoever is behind us may look: what there is was not for us.
    pub(super) fn pass_on(&self) {
        let waiting = self.queue.waiting.borrow();
        let mine = waiting.iter().position(|one| Rc::ptr_eq(one, &self.bell));
        if let Some(next) = mine.and_then(|mine| waiting.get(mine + 1)) {
            next.notify_one();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.waiting.borrow_mut().retain(|one| !Rc::ptr_eq(one, &self.bell));
        // There may be more places than one, and a call that was meant for us must not be lost.
        self.queue.wake();
    }
}
