//! The next deadline of each vip in one indexed heap: setting one costs O(log n) and allocates nothing.

use crate::time::Boot;

/// One moment for each of `n` owners; `Boot::NEVER` where nothing is awaited.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    /// Owner numbers, a binary heap by `at`.
    heap: Vec<usize>,
    /// Where each owner stands in `heap`.
    place: Vec<usize>,
    at: Vec<Boot>,
}

impl Deadlines {
    pub(super) fn new(owners: usize) -> Self {
        Self { heap: (0..owners).collect(), place: (0..owners).collect(), at: vec![Boot::NEVER; owners] }
    }

    /// The earliest moment and whose it is.
    pub(super) fn first(&self) -> Option<(Boot, usize)> {
        let owner = *self.heap.first()?;
        let at = self.at[owner];
        (at < Boot::NEVER).then_some((at, owner))
    }

    /// Gives `owner` a new moment.
    pub(super) fn set(&mut self, owner: usize, at: Boot) {
        let old = std::mem::replace(&mut self.at[owner], at);
        let place = self.place[owner];
        if at < old {
            self.rise(place);
        } else if at > old {
            self.sink(place);
        }
    }

    fn key(&self, place: usize) -> (Boot, usize) {
        (self.at[self.heap[place]], self.heap[place])
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a]] = a;
        self.place[self.heap[b]] = b;
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.key(place) < self.key((place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(child) = (left..self.heap.len().min(left + 2)).min_by_key(|&c| self.key(c)) else {
                return;
            };
            if self.key(place) <= self.key(child) {
                return;
            }
            self.swap(place, child);
            place = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_always_the_earliest_whatever_is_moved() {
        let mut all = Deadlines::new(50);
        let mut plain = vec![Boot::NEVER; 50];
        let mut x = 7_u64;
        for _ in 0..5_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let owner = (x >> 33) as usize % 50;
            let at = if x.is_multiple_of(5) { Boot::NEVER } else { Boot::from_nanos((x >> 40) % 1_000) };
            all.set(owner, at);
            plain[owner] = at;
            let least = plain.iter().min().copied().filter(|at| *at < Boot::NEVER);
            assert_eq!(all.first().map(|(at, _)| at), least);
        }
    }
}
