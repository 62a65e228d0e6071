//! Those who have not shown yet who they are.
//!
//! There is room for so many. When it is full the one that has waited for longest goes, not the one that comes: whoever has a key
//! is through within moments, and whoever only holds a connection open makes room for those.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Notify;

/// Room for those who are not let in yet.
#[derive(Debug)]
pub(super) struct Lobby {
    most: usize,
    next: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Rc<Notify>)>>,
}

/// One's place, until it is dropped.
struct Place<'a>(&'a Lobby, u64);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().retain(|(number, _)| *number != self.1);
    }
}

impl Lobby {
    pub(super) fn new(most: usize) -> Self {
        Self { most, next: Cell::new(0), waiting: RefCell::default() }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// What comes of somebody, who waits here meanwhile; nothing when others pushed it out.
    pub(super) async fn wait<T>(&self, coming: impl Future<Output = T>) -> Option<T> {
        let number = self.next.get();
        self.next.set(number + 1);
        let out = Rc::new(Notify::new());
        let oldest = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back((number, Rc::clone(&out)));
            if waiting.len() > self.most { waiting.pop_front() } else { None }
        };
        if let Some((_, oldest)) = oldest {
            oldest.notify_one();
        }
        let _place = Place(self, number);
        tokio::select! {
            biased;
            came = coming => Some(came),
            () = out.notified() => None,
        }
    }

    /// Why one was pushed out, for people.
    pub(super) fn full(&self) -> String {
        format!("{} others came after it before it had shown who it is, and more may not wait", self.most)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn when_it_is_full_the_one_that_has_waited_for_longest_goes() {
        let lobby = Lobby::new(2);
        let silent = || lobby.wait(pending::<()>());
        let (mut first, mut second) = (Box::pin(silent()), Box::pin(silent()));
        tokio::select! {
            biased;
            _ = &mut first => panic!("nobody pushes it out"),
            _ = &mut second => panic!("nor this one"),
            came = lobby.wait(ready(7)) => assert_eq!(came, Some(7), "who is quick is let through"),
        }
        assert_eq!(first.await, None);
        assert_eq!(lobby.len(), 1);
        drop(second);
        assert_eq!(lobby.len(), 0);
    }
}
