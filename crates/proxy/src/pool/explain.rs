//! Which backend a request would get, and why not each other one. Nothing is changed by the question.

use std::cell::Cell;

use mainstay_config::plan::edge::Balance;
use mainstay_core::balance::{Nobody, State, Ticket};
use mainstay_core::time::Boot;
use serde::{Deserialize, Serialize};

use super::ask::{Ask, Reason, Refused};
use super::set::{Bound, Inner, Set, Sight};
use super::status::{not_found, standing};
use crate::clock::boot_now;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The pool.
    pub pool: String,
    /// Why there is no backend for it, when there is none.
    pub refused: Option<String>,
    /// Each backend.
    pub backends: Vec<ExplainedBackend>,
}

/// One backend in the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedBackend {
    /// Its name.
    pub backend: String,
    /// Its address; empty when its name has none.
    pub address: String,
    /// The request would go there.
    pub chosen: bool,
    /// Why, or why not.
    pub why: String,
}

impl Set {
    /// Explains what would become of a request.
    pub(super) fn explain(&self, ask: &Ask<'_>, balance: &Balance) -> Explained {
        let now = boot_now();
        let inner = self.inner.borrow();
        let (picked, by_cookie) = self.rehearse(&inner, ask, now);
        let mut backends = Vec::new();
        for source in self.sources.borrow().iter() {
            let mut known = false;
            for (at, entry) in inner.entries.iter().enumerate() {
                let Some(view) = inner.roster.view(at, now) else { continue };
                if *entry.name != *source.backend.name {
                    continue;
                }
                known = true;
                let load = entry.load(self.cells);
                let chosen = picked.is_ok_and(|ticket| ticket.member() == at);
                let usable = matches!(view.state, State::Up | State::Rising | State::Trial);
                let full = entry.max.get() > 0 && load >= u64::from(entry.max.get());
                let why = if chosen {
                    if by_cookie {
                        "the cookie binds the client to it".to_owned()
                    } else {
                        reason(balance).to_owned()
                    }
                } else if ask.tried.contains(&entry.id) {
                    "it was asked already".to_owned()
                } else if !usable || full {
                    let (word, why) = standing(source, entry, view, load);
                    format!("{}: {why}", format!("{word:?}").to_lowercase())
                } else if let Some(behind) = source.is_backup(entry).1 {
                    format!("{}: only asked when no agent of this one is usable", behind.words())
                } else if source.backend.backup {
                    "a backup: only asked when no other is usable".to_owned()
                } else {
                    format!("usable, but {}", other(balance, by_cookie))
                };
                let busy = entry
                    .elsewhere
                    .borrow()
                    .as_ref()
                    .filter(|_| usable && *balance == Balance::Least)
                    .map(|others| {
                        format!(" ({} requests of this thread, {} of others)", entry.here.get(), others.get())
                    });
                let why = why + &busy.unwrap_or_default();
                let (backend, address) = (entry.name.to_string(), entry.address.to_string());
                backends.push(ExplainedBackend { backend, address, chosen, why });
            }
            if !known {
                let (backend, why) = (source.backend.name.clone(), not_found(source));
                backends.push(ExplainedBackend { backend, address: String::new(), chosen: false, why });
            }
        }
        let refused = picked.err().map(|nobody| self.said(nobody).why.to_owned());
        Explained { pool: self.name.to_string(), refused, backends }
    }

    /// Picks without consequences, and says whether by a cookie.
    fn rehearse(&self, inner: &Inner, ask: &Ask<'_>, now: Boot) -> (Result<Ticket, Nobody>, bool) {
        let view = Sight {
            set: self,
            entries: &inner.entries,
            tried: ask.tried,
            full: &[],
            now: Cell::new(Some(now)),
        };
        if self.sticky.get()
            && let Bound::To(ticket) = self.bound(&inner.roster, &inner.entries, ask)
            && view.has_room(ticket.member())
        {
            return (Ok(ticket), true);
        }
        let mut roster = inner.roster.clone();
        roster.handle(mainstay_core::balance::Input::Tick, now);
        let mut state = self.random.get();
        let draw = &mut || {
            state = state.wrapping_add(1);
            mainstay_core::balance::hash::mix(state)
        };
        (roster.pick(self.key_of(ask), draw, &view), false)
    }

    /// The answer when nobody is picked.
    pub(super) fn said(&self, nobody: Nobody) -> Refused {
        match nobody {
            Nobody::Full => Reason::QueueFull.into(),
            Nobody::Spent => Reason::Spent.into(),
            Nobody::Out => self.why_out(),
        }
    }
}

fn reason(balance: &Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "it is its turn",
        Balance::Least => "it has the least load for its weight",
        Balance::TwoChoices => "of two drawn at random it has less latency times load",
        Balance::Source => "the client's address belongs to it",
        Balance::Hash(_) => "the key belongs to it",
        Balance::Random => "it was drawn at random",
    }
}

fn other(balance: &Balance, by_cookie: bool) -> &'static str {
    if by_cookie {
        return "the cookie binds the client to another";
    }
    match balance {
        Balance::RoundRobin => "it is another's turn",
        Balance::Least => "another has less load for its weight, or it is another's turn",
        Balance::TwoChoices => "it was not drawn, or has more latency times load",
        Balance::Source => "the client's address belongs to another",
        Balance::Hash(_) => "the key belongs to another",
        Balance::Random => "it was not drawn",
    }
}
