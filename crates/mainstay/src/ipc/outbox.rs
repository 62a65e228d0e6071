//! What a role has to say while its supervisor does not read.

use std::collections::VecDeque;

use serde::Serialize;

use super::Channel;

/// Messages in order, so many at most: the oldest go first.
pub struct Outbox<M> {
    messages: VecDeque<M>,
    most: usize,
}

impl<M: Serialize> Outbox<M> {
    /// An empty one.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { messages: VecDeque::new(), most }
    }

    /// Keeps a message until there is room for it.
    pub fn say(&mut self, message: M) {
        if self.messages.len() >= self.most {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    /// Sends what there is room for; the rest goes with the next turn.
    pub fn flush(&mut self, channel: &Channel) {
        while let Some(message) = self.messages.front() {
            match channel.send(message) {
                Ok(true) => drop(self.messages.pop_front()),
                Ok(false) => return,
                // Reading tells that the supervisor is gone.
                Err(_) => return self.messages.clear(),
            }
        }
    }
}
