//! Which command may start: at most so many at once, and notify commands in the order of the changes they tell.
//!
//! The runs of one vip (or group, by `MAINSTAY_VIP` or `MAINSTAY_GROUP`) form a chain. Those of one change, which
//! carry the same `MAINSTAY_STATE`, run beside each other, as keepalived does it; those of the next change wait until
//! all of them have ended, so that a slow notify_master is never overtaken by its notify_backup. Runs that
//! carry `MAINSTAY_OWNS` (services started and stopped with a vip) form a second chain, strictly one by one,
//! which never waits for a notify script. Checks and restarts belong to no chain.

use std::collections::{HashMap, VecDeque};

use crate::ipc::{Asker, Run};

/// Commands that run at once.
const RUNNING_MAX: usize = 256;

/// Of these, how many the probe role may fill: hung checks must not keep notify commands out.
const PROBES_MAX: usize = 192;

/// Commands that wait; more are refused.
pub(super) const WAITING_MAX: usize = 4096;

/// Where a run stands in line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    asker: Asker,
    chain: Option<String>,
    /// Runs of a chain with the same mark may run beside each other.
    mark: Option<String>,
}

impl Ticket {
    /// The place of a run, from who asked and its variables.
    pub(super) fn of(run: &Run) -> Self {
        let value = |name: &str| run.env.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let vip = value("MAINSTAY_VIP").map(|vip| format!("vip {vip}"));
        let subject = vip.or_else(|| value("MAINSTAY_GROUP").map(|group| format!("group {group}")));
        let chain = subject.filter(|_| run.asker == Asker::Vip);
        if value("MAINSTAY_OWNS").is_some() {
            return Self {
                asker: run.asker,
                chain: chain.map(|vip| format!("services of {vip}")),
                mark: None,
            };
        }
        let mark = chain.is_some().then(|| value("MAINSTAY_STATE").cloned()).flatten();
        Self { asker: run.asker, chain, mark }
    }
}

/// Runs that wait, and counts of those that run.
#[derive(Debug)]
pub(super) struct Queue<T> {
    chains: HashMap<String, Chain<T>>,
    /// Not held back by any order, only by numbers; notify first.
    notify: VecDeque<(Ticket, T)>,
    probes: VecDeque<(Ticket, T)>,
    waiting: usize,
    running: usize,
    running_probes: usize,
}

#[derive(Debug)]
struct Chain<T> {
    /// Released from the chain and not yet done.
    running: usize,
    mark: Option<String>,
    waiting: VecDeque<(Ticket, T)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            chains: HashMap::new(),
            notify: VecDeque::new(),
            probes: VecDeque::new(),
            waiting: 0,
            running: 0,
            running_probes: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Takes a run in; gives it back when too many wait.
    pub(super) fn push(&mut self, ticket: Ticket, run: T) -> Result<(), T> {
        if self.waiting >= WAITING_MAX {
            return Err(run);
        }
        self.waiting += 1;
        match (&ticket.chain, ticket.asker) {
            (Some(name), Asker::Vip | Asker::Probe) => {
                let name = name.clone();
                let chain = self.chains.entry(name.clone()).or_insert_with(|| Chain {
                    running: 0,
                    mark: None,
                    waiting: VecDeque::new(),
                });
                chain.waiting.push_back((ticket, run));
                self.advance(&name);
            }
            (None, Asker::Vip) => self.notify.push_back((ticket, run)),
            (None, Asker::Probe) => self.probes.push_back((ticket, run)),
        }
        Ok(())
    }

    /// The next run that may start.
    pub(super) fn next(&mut self) -> Option<(Ticket, T)> {
        if self.running >= RUNNING_MAX {
            return None;
        }
        let next = match self.notify.pop_front() {
            Some(next) => next,
            None if self.running_probes < PROBES_MAX => self.probes.pop_front()?,
            None => return None,
        };
        self.waiting -= 1;
        self.running += 1;
        self.running_probes += usize::from(next.0.asker == Asker::Probe);
        Some(next)
    }

    /// A run that `next` gave out has ended.
    pub(super) fn done(&mut self, ticket: &Ticket) {
        self.running -= 1;
        self.running_probes -= usize::from(ticket.asker == Asker::Probe);
        if let Some(name) = &ticket.chain {
            if let Some(chain) = self.chains.get_mut(name) {
                chain.running -= 1;
            }
            self.advance(name);
        }
    }

    /// Drops all that waits for one asker.
    pub(super) fn forget(&mut self, asker: Asker) {
        match asker {
            Asker::Probe => {
                self.waiting -= self.probes.len();
                self.probes.clear();
            }
            Asker::Vip => {
                self.notify.clear();
                self.chains.values_mut().for_each(|chain| chain.waiting.clear());
                self.waiting = self.probes.len();
            }
        }
    }

    /// Drops all that waits.
    pub(super) fn clear(&mut self) {
        self.forget(Asker::Probe);
        self.forget(Asker::Vip);
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Lets the head of a chain go as far as its order allows.
    fn advance(&mut self, name: &str) {
        let Some(chain) = self.chains.get_mut(name) else { return };
        while let Some((ticket, _)) = chain.waiting.front() {
            let beside = ticket.mark.is_some() && ticket.mark == chain.mark;
            if chain.running > 0 && !beside {
                return;
            }
            let Some(head) = chain.waiting.pop_front() else { return };
            chain.running += 1;
            chain.mark.clone_from(&head.0.mark);
            self.notify.push_back(head);
        }
        if chain.running == 0 {
            self.chains.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::name::CommandId;

    use super::*;

    #[test]
    fn commands_of_one_change_run_together_and_the_next_change_waits_for_all_of_them() {
        let mut queue = Queue::default();
        for (name, state) in [("m1", "MASTER"), ("m2", "MASTER"), ("b1", "BACKUP"), ("m3", "MASTER")] {
            queue.push(ticket("front", state), name).unwrap();
        }
        let (m1, m2) = (queue.next().unwrap(), queue.next().unwrap());
        assert_eq!((m1.1, m2.1), ("m1", "m2"));
        assert!(queue.next().is_none(), "m3 is of a later change although its state is the same");
        queue.done(&m2.0);
        assert!(queue.next().is_none());
        queue.done(&m1.0);
        let b1 = queue.next().unwrap();
        assert_eq!(b1.1, "b1");
        assert!(queue.next().is_none());
        queue.done(&b1.0);
        assert_eq!(queue.next().unwrap().1, "m3");
    }

    #[test]
    fn one_vips_slow_script_holds_no_other_vip_back() {
        let mut queue = Queue::default();
        queue.push(ticket("front", "MASTER"), 1).unwrap();
        queue.push(ticket("front", "BACKUP"), 2).unwrap();
        queue.push(ticket("back", "BACKUP"), 3).unwrap();
        assert_eq!([queue.next().unwrap().1, queue.next().unwrap().1], [1, 3]);
    }

    #[test]
    fn services_of_a_vip_go_one_by_one_and_never_wait_for_a_notify() {
        let mut queue = Queue::default();
        queue.push(ticket("front", "MASTER"), "notify").unwrap();
        for name in ["start", "stop"] {
            let mut run = run(Asker::Vip, &[("MAINSTAY_VIP", "front"), ("MAINSTAY_STATE", "MASTER")]);
            run.env.push(("MAINSTAY_OWNS".into(), "db".into()));
            queue.push(Ticket::of(&run), name).unwrap();
        }
        assert_eq!(queue.next().unwrap().1, "notify");
        let start = queue.next().unwrap();
        assert_eq!(start.1, "start");
        assert!(queue.next().is_none());
        queue.done(&start.0);
        assert_eq!(queue.next().unwrap().1, "stop");
    }

    #[test]
    fn hung_checks_leave_room_for_notify_commands() {
        let mut queue = Queue::default();
        for n in 0..RUNNING_MAX {
            queue.push(Ticket::of(&run(Asker::Probe, &[])), n).unwrap();
        }
        assert_eq!(std::iter::from_fn(|| queue.next()).count(), PROBES_MAX);
        queue.push(ticket("front", "MASTER"), 1000).unwrap();
        assert_eq!(queue.next().unwrap().1, 1000);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut queue = Queue::default();
        for n in 0..WAITING_MAX {
            queue.push(Ticket::of(&run(Asker::Probe, &[])), n).unwrap();
        }
        assert!(queue.push(ticket("front", "MASTER"), 0).is_err());
        queue.clear();
        assert!(queue.is_empty());
    }

    #[test]
    fn a_probe_cannot_stand_in_a_vips_line() {
        let ticket = Ticket::of(&run(Asker::Probe, &[("MAINSTAY_VIP", "front")]));
        assert_eq!(ticket.chain, None);
    }

    fn ticket(vip: &str, state: &str) -> Ticket {
        Ticket::of(&run(Asker::Vip, &[("MAINSTAY_VIP", vip), ("MAINSTAY_STATE", state)]))
    }

    fn run(asker: Asker, env: &[(&str, &str)]) -> Run {
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Run { id: 0, command: CommandId(0), args: Vec::new(), env, asker }
    }
}
