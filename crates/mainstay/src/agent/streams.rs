//! Streams that are counted while they are open: a service's, and those of all services.

use std::cell::Cell;
use std::rc::Rc;

/// A service's.
pub(super) struct Streams {
    open: Rc<Cell<u32>>,
    total: Cell<u64>,
    /// Those of all services.
    load: Rc<Cell<u32>>,
}

/// One, until it is dropped.
pub(super) struct Counted([Rc<Cell<u32>>; 2]);

impl Streams {
    /// `load` counts those of all services.
    pub(super) fn new(load: &Rc<Cell<u32>>) -> Self {
        Self { open: Rc::default(), total: Cell::new(0), load: Rc::clone(load) }
    }

    /// One more.
    pub(super) fn count(&self) -> Counted {
        let both = [Rc::clone(&self.open), Rc::clone(&self.load)];
        both.iter().for_each(|count| count.set(count.get() + 1));
        self.total.set(self.total.get() + 1);
        Counted(both)
    }

    /// Those that are open.
    pub(super) fn open(&self) -> u32 {
        self.open.get()
    }

    /// All so far.
    pub(super) fn total(&self) -> u64 {
        self.total.get()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.iter().for_each(|count| count.set(count.get() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_of_all_services_are_the_load() {
        let load = Rc::new(Cell::new(0));
        let (one, other) = (Streams::new(&load), Streams::new(&load));
        let streams = [one.count(), one.count(), other.count()];
        assert_eq!((one.open(), other.open(), load.get()), (2, 1, 3));
        drop(streams);
        assert_eq!((one.open(), one.total(), load.get()), (0, 2, 0));
    }
}
