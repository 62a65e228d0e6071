//! The hubs that were met, and who holds which of their places.

use crate::time::Boot;
use crate::tunnel::hello::Place;
use crate::tunnel::roam::{FORGET, MOST, PLACES_MOST, STEADY};

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing.
    Free,
    /// A dial that has come out there and is not through yet.
    Dial(u64),
    /// A session, since then.
    Session(u64, Boot),
}

impl Held {
    /// Whether it is a session that has not lasted yet.
    fn is_young(self, now: Boot) -> bool {
        matches!(self, Self::Session(_, since) if now.since(since) < STEADY)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) process: u16,
    pub(super) thread: u16,
    pub(super) held: Held,
    /// It came by an address that others are preferred to.
    pub(super) lesser: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Hub {
    pub(super) name: String,
    pub(super) instance: u64,
    pub(super) slots: Vec<Slot>,
    /// It refuses us, and is not asked again before then.
    pub(super) refused_until: Boot,
    /// When it was last heard of.
    pub(super) seen: Boot,
}

impl Hub {
    fn new(name: &str, now: Boot) -> Self {
        Self { name: name.to_owned(), instance: 0, slots: Vec::new(), refused_until: Boot::ZERO, seen: now }
    }

    /// Takes the shape that a challenge tells of. Places of a shape that was keep their sessions until those end.
    fn shape(&mut self, instance: u64, place: Place) {
        self.instance = instance;
        let there = |slot: &Slot| slot.process < place.processes && slot.thread < place.threads;
        self.slots.retain(|slot| there(slot) || slot.held != Held::Free);
        for (process, thread) in place.all().take(PLACES_MOST) {
            if !self.slots.iter().any(|slot| (slot.process, slot.thread) == (process, thread)) {
                self.slots.push(Slot { process, thread, held: Held::Free, lesser: false });
            }
        }
    }

    /// How many of its places have nothing, or nothing as good as this.
    pub(super) fn lacks(&self, better: bool, now: Boot) -> usize {
        if now < self.refused_until {
            return 0;
        }
        self.slots.iter().filter(|slot| slot.is_free_for(better)).count()
    }

    /// A dial has come out at a place, and one is enough; `again` says that it is the run of the hub that is known.
    fn only(&mut self, dial: u64, at: (u16, u16), again: bool, by: By) -> Came {
        let held = self.slots.iter_mut().find(|slot| slot.held != Held::Free);
        let came = match held.map(|slot| (slot.held, slot)) {
            None => Came::Wanted,
            Some((Held::Session(old, _), slot)) if !again || slot.lesser && by == By::Better => {
                slot.held = Held::Free;
                Came::Instead(old)
            }
            Some((Held::Free | Held::Dial(_) | Held::Session(..), _)) => return Came::Known,
        };
        let Some(slot) = self.slots.iter_mut().find(|slot| (slot.process, slot.thread) == at) else {
            return Came::Known;
        };
        slot.held = Held::Dial(dial);
        slot.lesser = by == By::Lesser;
        came
    }

    /// Whether any session ends there.
    pub(super) fn held(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot.held, Held::Session(..)))
    }
}

/// Every hub.
#[derive(Clone, Debug, Default)]
pub(super) struct Hubs {
    pub(super) all: Vec<Hub>,
    /// Names that hubs have told of.
    pub(super) named: Vec<String>,
    /// One place of each is enough.
    pub(super) one_each: bool,
}

/// Through what kind of address a dial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// One that takes the place of others.
    Better,
    /// One as good as those that there are.
    Equal,
    /// One whose place others take.
    Lesser,
}

impl Slot {
    /// Whether a session is wanted there, of one that is better than others or is not.
    fn is_free_for(&self, better: bool) -> bool {
        match self.held {
            Held::Free => true,
            Held::Session(..) => better && self.lesser,
            Held::Dial(_) => false,
        }
    }
}

/// What came of a dial that has come out at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The place is free; it is kept for this dial.
    Wanted,
    /// The same, and the session that had it belongs to a run of the hub that is over.
    Instead(u64),
    /// It is held already.
    Known,
}

impl Hubs {
    pub(super) fn get(&self, name: &str) -> Option<&Hub> {
        self.all.iter().find(|hub| hub.name == name)
    }

    /// How many places of a hub are wanted and have nothing.
    pub(super) fn lacks(&self, hub: &Hub, better: bool, now: Boot) -> usize {
        let lacks = hub.lacks(better, now);
        let held = |slot: &Slot| slot.held != Held::Free && !slot.is_free_for(better);
        match self.one_each {
            true if hub.slots.iter().any(held) => 0,
            true => lacks.min(1),
            false => lacks,
        }
    }

    /// A dial has come out at a place of a hub.
    pub(super) fn meets(
        &mut self,
        dial: u64,
        (name, instance, place): (&str, u64, Place),
        by: By,
        now: Boot,
    ) -> Came {
        let at = self.all.iter().position(|hub| hub.name == name);
        let at = at.or_else(|| {
            (self.all.len() < MOST).then(|| {
                self.all.push(Hub::new(name, now));
                self.all.len() - 1
            })
        });
        let Some(hub) = at.map(|at| &mut self.all[at]) else { return Came::Known };
        let again = hub.instance == instance;
        hub.seen = now;
        if !again && hub.slots.iter().any(|slot| slot.held.is_young(now)) {
            // Two of one name, or one that begins again and again: whom we have met is kept for a while.
            return Came::Known;
        }
        hub.shape(instance, place);
        let at = (place.process, place.thread);
        if self.one_each {
            return hub.only(dial, at, again, by);
        }
        let Some(slot) = hub.slots.iter_mut().find(|slot| (slot.process, slot.thread) == at) else {
            return Came::Known;
        };
        let before = std::mem::replace(&mut slot.held, Held::Dial(dial));
        let gives_way = !again || slot.lesser && by == By::Better;
        let came = match before {
            Held::Free => Came::Wanted,
            Held::Session(old, _) if gives_way => Came::Instead(old),
            Held::Session(..) | Held::Dial(_) => {
                slot.held = before;
                return Came::Known;
            }
        };
        slot.lesser = by == By::Lesser;
        came
    }

    /// The place that a dial or a session has, and the hub that it is of.
    pub(super) fn of(&mut self, id: u64) -> Option<(&mut Hub, usize)> {
        self.all.iter_mut().find_map(|hub| {
            let at = hub.slots.iter().position(|slot| match slot.held {
                Held::Free => false,
                Held::Dial(held) | Held::Session(held, _) => held == id,
            })?;
            Some((hub, at))
        })
    }

    /// Names told of that nobody has met.
    pub(super) fn unmet(&self) -> usize {
        self.named.iter().filter(|name| self.get(name).is_none()).count()
    }

    /// Forgets hubs that are gone for good.
    pub(super) fn forget(&mut self, now: Boot) {
        let named = std::mem::take(&mut self.named);
        for hub in &mut self.all {
            if hub.held() {
                hub.seen = now;
            }
        }
        self.all.retain(|hub| now.since(hub.seen) < FORGET || named.contains(&hub.name));
        self.named = named;
    }
}
