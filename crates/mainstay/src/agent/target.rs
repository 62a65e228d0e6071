//! Where streams end: several servers that can do the same, in turn, without those that do not answer.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a target may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// One of several.
struct Target {
    addr: String,
    well: Cell<bool>,
}

/// All of a service's.
pub(super) struct Targets {
    all: Vec<Target>,
    next: Cell<usize>,
}

impl Targets {
    pub(super) fn new(addrs: &[String]) -> Self {
        let target = |addr: &String| Target { addr: addr.clone(), well: Cell::new(true) };
        Self { all: addrs.iter().map(target).collect(), next: Cell::new(0) }
    }

    pub(super) fn any_well(&self) -> bool {
        self.all.iter().any(|target| target.well.get())
    }

    /// Each, and whether it is well.
    pub(super) fn shown(&self) -> Vec<(String, bool)> {
        self.all.iter().map(|target| (target.addr.clone(), target.well.get())).collect()
    }

    /// Sets whether a target is well; whether the service as a whole is another than before.
    pub(super) fn set(&self, at: usize, well: bool) -> bool {
        let before = self.any_well();
        self.all[at].well.set(well);
        before != self.any_well()
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
            let looks = (0..self.all.len()).map(|at| {
                let addr = self.all[at].addr.clone();
                tokio::task::spawn_local(async move { (at, connect(&addr, every.min(CONNECT)).await) })
            });
            // All at once: one that hangs does not keep the news of the others.
            for look in looks.collect::<Vec<_>>() {
                let Ok((at, found)) = look.await else { continue };
                let target = &self.all[at];
                let well = found.is_ok();
                if well != target.well.get() {
                    match found {
                        Ok(_) => told(true, format!("target {} answers again", target.addr)),
                        Err(why) => told(false, format!("target {} is out: {why}", target.addr)),
                    }
                }
                if self.set(at, well) {
                    changed.notify_one();
                }
            }
        }
    }
}

/// A connection to a target.
pub(super) async fn reach(addr: &str) -> io::Result<TcpStream> {
    connect(addr, CONNECT).await
}

async fn connect(addr: &str, within: Duration) -> io::Result<TcpStream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    let stream = timeout(within, TcpStream::connect(addr)).await.map_err(|_| late())??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_turns_and_those_that_are_out_are_left_out() {
        let targets = Targets::new(&["a:1".into(), "b:1".into(), "c:1".into()]);
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
}
