//! Where streams end: several servers that can do the same, in turn, without those that do not answer.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::agent::Look;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::look::Looker;

/// How long a target may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// One of several.
struct Target {
    addr: String,
    well: Cell<bool>,
    /// Looks in a row that found it otherwise.
    contrary: Cell<u32>,
    /// It was looked at before: the first look decides alone.
    known: Cell<bool>,
    looker: Option<Rc<Looker>>,
}

/// All of a service's.
pub(super) struct Targets {
    all: Vec<Target>,
    next: Cell<usize>,
    /// Looks in a row that take a target out, and that bring it back.
    fall: u32,
    rise: u32,
}

impl Targets {
    /// Those of these addresses; what `before` knows of them stands.
    pub(super) fn new(addrs: &[String], look: Option<&Look>, before: Option<&Self>) -> anyhow::Result<Self> {
        let target = |addr: &String| {
            let known = before.and_then(|before| before.all.iter().find(|target| target.addr == *addr));
            let known = known.filter(|target| look.is_some() && target.known.get());
            let looker = look.map(|look| Looker::new(addr, look)).transpose()?;
            anyhow::Ok(Target {
                addr: addr.clone(),
                well: Cell::new(known.is_none_or(|target| target.well.get())),
                contrary: Cell::new(0),
                known: Cell::new(known.is_some()),
                looker: looker.map(Rc::new),
            })
        };
        let all = addrs.iter().map(target).collect::<anyhow::Result<_>>()?;
        let (fall, rise) = look.map_or((1, 1), |look| (look.fall, look.rise));
        Ok(Self { all, next: Cell::new(0), fall, rise })
    }

    pub(super) fn any_well(&self) -> bool {
        self.all.iter().any(|target| target.well.get())
    }

    pub(super) fn is_well(&self, at: usize) -> bool {
        self.all[at].well.get()
    }

    /// Each, and whether it is well.
    pub(super) fn shown(&self) -> Vec<(String, bool)> {
        self.all.iter().map(|target| (target.addr.clone(), target.well.get())).collect()
    }

    /// Sets whether a target is well; whether the service as a whole is another than before.
    pub(super) fn set(&self, at: usize, well: bool) -> bool {
        let before = self.any_well();
        self.all[at].well.set(well);
        self.all[at].contrary.set(0);
        before != self.any_well()
    }

    /// Whether what a look has found makes another of a target.
    fn turns(&self, at: usize, well: bool) -> bool {
        let target = &self.all[at];
        let first = !target.known.replace(true);
        if target.well.get() == well {
            target.contrary.set(0);
            return false;
        }
        target.contrary.set(target.contrary.get() + 1);
        first || target.contrary.get() >= if well { self.rise } else { self.fall }
    }

    /// The order in which they are tried: those that are well, the next in turn first.
    pub(super) fn turn(&self) -> Vec<(usize, String)> {
        let first = self.next.get();
        self.next.set((first + 1) % self.all.len().max(1));
        let order = (0..self.all.len()).map(|n| (first + n) % self.all.len());
        order.filter(|at| self.all[*at].well.get()).map(|at| (at, self.all[at].addr.clone())).collect()
    }

    /// Looks at each, for ever.
    pub(super) async fn watch(
        self: Rc<Self>,
        every: Duration,
        changed: Rc<Notify>,
        told: impl Fn(bool, String),
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let lookers = self.all.iter().enumerate();
            let looks = lookers.filter_map(|(at, target)| Some((at, Rc::clone(target.looker.as_ref()?))));
            let looks = looks.map(|(at, looker)| spawn_local(async move { (at, looker.look().await) }));
            // All at once: one that hangs does not keep the news of the others.
            for look in looks.collect::<Vec<_>>() {
                let Ok((at, found)) = look.await else { continue };
                let addr = &self.all[at].addr;
                if !self.turns(at, found.is_ok()) {
                    continue;
                }
                match &found {
                    Ok(()) => told(true, format!("target {addr} answers again")),
                    Err(why) => told(false, format!("target {addr} is out: {why}")),
                }
                if self.set(at, found.is_ok()) {
                    changed.notify_one();
                }
            }
        }
    }
}

/// A connection to a target.
pub(super) async fn reach(addr: &str) -> io::Result<TcpStream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    let stream = timeout(CONNECT, TcpStream::connect(addr)).await.map_err(|_| late())??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(fall: u32, rise: u32) -> Targets {
        let interval = Duration::from_secs(1);
        let look = Look { interval, timeout: interval, fall, rise, http: None };
        let addrs = ["a:1".to_owned(), "b:1".into(), "c:1".into()];
        Targets::new(&addrs, Some(&look), None).unwrap()
    }

    #[test]
    fn targets_take_turns_and_those_that_are_out_are_left_out() {
        let targets = targets(1, 1);
        let first = |targets: &Targets| targets.turn().first().map(|(_, addr)| addr.clone());
        let seen: Vec<_> = (0..4).filter_map(|_| first(&targets)).collect();
        assert_eq!(seen, ["a:1", "b:1", "c:1", "a:1"]);
        assert!(!targets.set(1, false), "others are well");
        assert_eq!(targets.turn().iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 0]);
        assert!(!targets.set(0, false));
        assert!(targets.set(2, false), "none is well");
        assert!(targets.turn().is_empty() && !targets.any_well());
        assert!(targets.set(1, true));
    }

    #[test]
    fn a_target_is_out_after_so_many_looks_and_back_after_so_many_and_the_first_decides_alone() {
        let targets = targets(2, 3);
        assert!(targets.turns(0, false), "nobody knew it before");
        targets.set(0, false);
        assert_eq!(
            [true, true, false, true, true, true].map(|found| targets.turns(0, found)),
            [false, false, false, false, false, true]
        );
        targets.set(0, true);
        assert_eq!(
            [false, true, false, false].map(|found| targets.turns(0, found)),
            [false, false, false, true]
        );
    }

    #[test]
    fn with_other_targets_what_is_known_of_those_that_stay_stands() {
        let before = targets(1, 1);
        assert!(before.turns(1, false));
        before.set(1, false);
        let look = Look { interval: CONNECT, timeout: CONNECT, fall: 1, rise: 1, http: None };
        let addrs = ["b:1".to_owned(), "d:1".into()];
        let after = Targets::new(&addrs, Some(&look), Some(&before)).unwrap();
        assert_eq!(after.shown(), [("b:1".to_owned(), false), ("d:1".to_owned(), true)]);
        let unseen = Targets::new(&addrs, None, Some(&before)).unwrap();
        assert!(unseen.shown()[0].1, "nobody would find out that it is back");
    }
}
