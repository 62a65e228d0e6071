//! The wires between the nodes: several, each with its own losses; whoever comes first is the letter.

use std::rc::Rc;

use mainstay_core::lease::Letter;

use crate::kernel::Time;
use crate::lease::fault::Weather;
use crate::lease::tell;
use crate::lease::world::{Event, World};

/// What the wires carry.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    /// By sender and receiver a bit for each wire that carries nothing.
    cut: Vec<Vec<u8>>,
    pub(crate) weather: Weather,
    /// By sender and receiver: a session delivers in order while the weather is fair.
    last: Vec<Vec<Time>>,
    wires: usize,
}

impl Net {
    pub(crate) fn new(nodes: usize, wires: usize) -> Self {
        Self {
            cut: vec![vec![0; nodes]; nodes],
            weather: Weather::default(),
            last: vec![vec![0; nodes]; nodes],
            wires,
        }
    }

    pub(crate) fn cut(&mut self, pairs: &[(usize, usize)], wires: u8) {
        for (a, b) in pairs.iter().filter(|(a, b)| a != b) {
            self.cut[*a][*b] |= wires;
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.iter_mut().for_each(|row| row.fill(0));
    }

    /// Nothing at all passes.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        from != to && (0..self.wires).all(|wire| self.cut[from][to] & (1 << wire) != 0)
    }

    /// The nodes fall into groups: everything passes within a group, nothing between two.
    pub(crate) fn is_clean(&self) -> bool {
        let nodes = self.cut.len();
        (0..nodes).all(|a| {
            (0..nodes).all(|b| {
                let apart = self.is_cut(a, b);
                apart == self.is_cut(b, a)
                    && (apart || (0..nodes).all(|c| self.is_cut(a, c) == self.is_cut(b, c)))
            })
        })
    }

    /// Each pair has at least one wire in both directions, and nothing is lost or late.
    pub(crate) fn is_whole(&self) -> bool {
        let nodes = self.cut.len();
        self.weather.is_fair() && (0..nodes).all(|a| (0..nodes).all(|b| !self.is_cut(a, b)))
    }
}

impl World {
    /// Puts a letter on every wire; the first copy that arrives is read, a second one only when the weather doubles it.
    pub(crate) fn transmit(&mut self, from: usize, to: usize, letter: Letter) {
        let letter = Rc::new(letter);
        let (mut first, mut again) = (None, None);
        let longest = self.scenario.delays[from].max(self.scenario.delays[to]);
        let weather = self.net.weather;
        for wire in 0..self.net.wires {
            if self.net.cut[from][to] & (1 << wire) != 0 || self.rng.percent(weather.loss) {
                continue;
            }
            let mut delay = self.rng.within(longest / 4..longest);
            if weather.held_up > 0 && self.rng.percent(20) {
                delay += self.rng.within(0..weather.held_up);
            }
            let at = self.now + delay;
            if first.is_none_or(|first| at < first) {
                first = Some(at);
            }
            if self.rng.percent(weather.twice) {
                again = Some(at + self.rng.within(0..weather.held_up.max(longest)));
            }
        }
        if let Some(at) = &mut first
            && weather.held_up == 0
        {
            *at = (*at).max(self.net.last[from][to] + 1);
            self.net.last[from][to] = *at;
        }
        self.trace_letter(from, to, &letter, first);
        for at in first.into_iter().chain(again) {
            self.at(at, Event::Letter { from, to, letter: Rc::clone(&letter) });
        }
    }

    fn trace_letter(&mut self, from: usize, to: usize, letter: &Letter, arrives: Option<Time>) {
        if !self.traced {
            return;
        }
        let said = tell::letter(letter, &mut self.told[from][to]);
        if said.is_empty() {
            return;
        }
        let way = match arrives {
            Some(at) => format!("in {:.3} ms", (at - self.now) as f64 / 1e6),
            None => "lost".to_string(),
        };
        self.trace(|_| format!("n{from} -> n{to} ({way}) {said}"));
    }
}
