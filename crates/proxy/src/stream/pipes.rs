//! Pipes for splice(2), kept from one connection to the next.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

/// Pipes of one thread. A user may have 16,384 pages in pipes (pipe(7)): 16 threads with 64 pipes of 16 pages fill that exactly.
const PIPES_MAX: usize = 64;

/// Bytes that a pipe takes: 16 pages, the kernel's default.
pub const PIPE_BYTES: usize = 65_536;

/// An empty pipe, and how much was spliced into it.
#[derive(Debug)]
pub struct Pipe {
    /// What is read from.
    pub out: OwnedFd,
    /// What is written to.
    pub into: OwnedFd,
    /// Bytes in it.
    pub held: usize,
}

/// The pipes of one thread: those that are lent, and those that wait.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    lent: std::cell::Cell<usize>,
}

impl Pipes {
    /// A pipe; none when the budget is spent or the kernel has none: then bytes are copied.
    #[must_use]
    pub fn lend(&self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.borrow_mut().pop() {
            self.lent.set(self.lent.get() + 1);
            return Some(pipe);
        }
        if self.lent.get() >= PIPES_MAX {
            return None;
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        self.lent.set(self.lent.get() + 1);
        Some(Pipe { out, into, held: 0 })
    }

    /// Takes a pipe back; one with bytes in it is closed.
    pub fn give_back(&self, pipe: Pipe) {
        self.lent.set(self.lent.get().saturating_sub(1));
        if pipe.held == 0 {
            self.idle.borrow_mut().push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pipe_is_lent_again_and_a_full_one_is_not() {
        let pipes = Pipes::default();
        let first = pipes.lend().unwrap();
        pipes.give_back(first);
        assert_eq!(pipes.idle.borrow().len(), 1);
        let mut again = pipes.lend().unwrap();
        assert!(pipes.idle.borrow().is_empty());
        again.held = 1;
        pipes.give_back(again);
        assert!(pipes.idle.borrow().is_empty());
    }

    #[test]
    fn the_budget_has_an_end() {
        let pipes = Pipes::default();
        let all: Vec<Pipe> = std::iter::from_fn(|| pipes.lend()).take(PIPES_MAX + 10).collect();
        assert_eq!(all.len(), PIPES_MAX);
    }
}
