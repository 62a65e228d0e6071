//! `drill vip`: hands a vip over and takes it back through the running node, and reports what the node measured.

use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mainstay_core::election::State;
use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;

use super::{ask, local};
use crate::dirs::Dirs;
use crate::ipc::VipAction;
use crate::status::{Status, VipStatus};

/// The status is looked at again when something has happened, and this often at least: another node's taking of a vip is
/// no event here.
const LOOK: Duration = Duration::from_millis(20);

/// A node on which a drill can be held.
trait Ground {
    fn status(&mut self) -> anyhow::Result<Status>;
    fn tell(&mut self, vip: &str, word: VipAction) -> anyhow::Result<()>;
    /// Waits until something has happened, or for a moment.
    fn wait(&mut self) -> anyhow::Result<()>;
    fn now(&self) -> Boot;
}

/// The running node behind its control socket.
struct Running<'a> {
    dirs: &'a Dirs,
    events: UnixStream,
}

impl Ground for Running<'_> {
    fn status(&mut self) -> anyhow::Result<Status> {
        ask::fetch_status(self.dirs)
    }

    fn tell(&mut self, vip: &str, word: VipAction) -> anyhow::Result<()> {
        ask::tell_vip(self.dirs, vip.to_owned(), word).map(drop)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        match self.events.read(&mut [0; 4096]) {
            Ok(0) => bail!(ask::Unreachable::Absent(self.dirs.control())),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error).context("read events"),
        }
    }

    fn now(&self) -> Boot {
        boot_now()
    }
}

/// One hand-over.
#[derive(Clone, Debug, PartialEq)]
struct Leg {
    /// Who has it.
    to: String,
    /// For how long nobody was known to hold it.
    outage: Duration,
}

pub(super) fn vip(dirs: &Dirs, name: &str, runs: u32, wait: Duration) -> anyhow::Result<u8> {
    let events = ask::follow(dirs)?;
    events.set_read_timeout(Some(LOOK)).context("set a timeout")?;
    let mut ground = Running { dirs, events };
    let mut legs = [Vec::new(), Vec::new()];
    begin(&mut ground, name)?;
    local::print(&row("RUN", "WAY", "MS WITHOUT A HOLDER", "NOW HELD BY"))?;
    for run in 1..=runs {
        for (way, legs) in ["over", "back"].into_iter().zip(&mut legs) {
            let leg = match way {
                "over" => over(&mut ground, name, wait)?,
                _ => back(&mut ground, name, wait)?,
            };
            local::print(&row(&run.to_string(), way, &ms(leg.outage), &leg.to))?;
            legs.push(leg.outage);
        }
    }
    let [over, back] = legs;
    local::print(&format!("\n{}\n{}\n", summary("over", over), summary("back", back)))
}

/// The vip, which has to be here.
fn find(ground: &mut dyn Ground, name: &str) -> anyhow::Result<VipStatus> {
    let status = ground.status()?;
    let known: Vec<String> = status.vips.iter().map(|vip| vip.name.clone()).collect();
    let found = status.vips.into_iter().find(|vip| vip.name == name);
    found.with_context(|| crate::words::unknown("vip", name, &known))
}

fn begin(ground: &mut dyn Ground, name: &str) -> anyhow::Result<()> {
    let vip = find(ground, name)?;
    if vip.state != State::Active {
        let holder = vip.holder.unwrap_or_else(|| "nobody that this node can hear".into());
        bail!("vip {name} is not held by this node but by {holder}: drill where it is held");
    }
    Ok(())
}

/// Gives it to whoever comes next.
fn over(ground: &mut dyn Ground, name: &str, wait: Duration) -> anyhow::Result<Leg> {
    let before = find(ground, name)?;
    ground.tell(name, VipAction::Move)?;
    let by = ground.now() + wait;
    loop {
        let vip = find(ground, name)?;
        let outage = between(&before, &vip);
        match (&vip.holder, vip.state) {
            (_, State::Active) if vip.epoch > before.epoch => {
                bail!("nobody took vip {name}: it came back after {} ms without a holder", ms(outage))
            }
            (Some(to), State::Backup | State::Fault) => return Ok(Leg { to: to.clone(), outage }),
            (_, State::Active) | (None, State::Backup | State::Fault) => {}
        }
        if ground.now() >= by {
            // What was asked for is taken back, so that the vip is not left to wait for longer than it has to.
            ground.tell(name, VipAction::Ready)?;
            bail!("nobody was heard to hold vip {name} within {} s", wait.as_secs());
        }
        ground.wait()?;
    }
}

/// Takes it back.
fn back(ground: &mut dyn Ground, name: &str, wait: Duration) -> anyhow::Result<Leg> {
    let before = find(ground, name)?;
    ground.tell(name, VipAction::Ready)?;
    let by = ground.now() + wait;
    loop {
        let vip = find(ground, name)?;
        if vip.state == State::Active {
            return Ok(Leg { to: "this node".into(), outage: between(&before, &vip) });
        }
        if ground.now() >= by {
            let holder = vip.holder.unwrap_or_else(|| "nobody that this node can hear".into());
            bail!(
                "vip {name} stays with {holder}: its priority is not lower, or preempt = false here; bring it back \
                 with `mainstay vip move {name}` there"
            );
        }
        ground.wait()?;
    }
}

fn between(before: &VipStatus, after: &VipStatus) -> Duration {
    Duration::from_secs_f64((after.outage_s - before.outage_s).max(0.0))
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn row(run: &str, way: &str, outage: &str, to: &str) -> String {
    format!("{run:<5}{way:<6}{outage:<21}{to}\n")
}

/// Median and worst.
fn summary(way: &str, mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let (Some(median), Some(worst)) = (all.get(all.len() / 2), all.last()) else { return way.to_owned() };
    format!("{way}: median {} ms, worst {} ms", ms(*median), ms(*worst))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node whose vip goes away when it is told to and comes back when it may.
    struct Scripted {
        now: Boot,
        vip: VipStatus,
        taker: Option<&'static str>,
        returns: bool,
        /// What comes about at the next wait.
        next: Option<VipAction>,
        told: Vec<VipAction>,
    }

    impl Scripted {
        fn new(taker: Option<&'static str>, returns: bool) -> Self {
            let mut vip = crate::status::tests::vip();
            vip.state = State::Active;
            vip.outage_s = 7.5;
            Self { now: Boot::from_nanos(1), vip, taker, returns, next: None, told: Vec::new() }
        }
    }

    impl Ground for Scripted {
        fn status(&mut self) -> anyhow::Result<Status> {
            let mut status = Status::empty("web-1");
            status.vips.push(self.vip.clone());
            Ok(status)
        }

        fn tell(&mut self, vip: &str, word: VipAction) -> anyhow::Result<()> {
            assert_eq!(vip, "front");
            self.told.push(word);
            self.next = Some(word);
            Ok(())
        }

        fn wait(&mut self) -> anyhow::Result<()> {
            self.now += LOOK;
            match (self.next.take(), self.taker) {
                (Some(VipAction::Move), Some(taker)) => {
                    self.vip.state = State::Backup;
                    self.vip.holder = Some(taker.into());
                    self.vip.outage_s += 0.0025;
                }
                (Some(VipAction::Move), None) => {
                    self.vip.outage_s += 2.0;
                    self.vip.epoch += 1;
                }
                (Some(VipAction::Ready), _) if self.returns => {
                    self.vip.state = State::Active;
                    self.vip.holder = Some("web-1".into());
                    self.vip.outage_s += 0.001;
                }
                (Some(VipAction::Drain | VipAction::Hold | VipAction::Ready) | None, _) => {}
            }
            Ok(())
        }

        fn now(&self) -> Boot {
            self.now
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_vip_goes_over_and_back_and_the_node_s_own_counter_is_what_is_told() {
        let mut node = Scripted::new(Some("10.0.4.21"), true);
        begin(&mut node, "front").unwrap();
        let gone = over(&mut node, "front", SECOND).unwrap();
        assert_eq!((gone.to.as_str(), ms(gone.outage).as_str()), ("10.0.4.21", "2.5"));
        let back = back(&mut node, "front", SECOND).unwrap();
        assert_eq!((back.to.as_str(), ms(back.outage).as_str()), ("this node", "1.0"));
        assert_eq!(node.told, [VipAction::Move, VipAction::Ready]);
    }

    #[test]
    fn a_vip_that_nobody_takes_or_that_does_not_come_back_is_a_failure_with_its_cause() {
        let mut alone = Scripted::new(None, true);
        let said = over(&mut alone, "front", SECOND).unwrap_err().to_string();
        assert!(said.contains("nobody took vip front: it came back after 2000.0 ms"), "{said}");
        let mut polite = Scripted::new(Some("10.0.4.21"), false);
        over(&mut polite, "front", SECOND).unwrap();
        let said = back(&mut polite, "front", SECOND).unwrap_err().to_string();
        assert!(said.contains("vip front stays with 10.0.4.21"), "{said}");
        assert!(polite.now >= Boot::from_nanos(1) + SECOND);
    }

    #[test]
    fn a_drill_is_held_where_the_vip_is() {
        let mut node = Scripted::new(None, true);
        node.vip.state = State::Backup;
        node.vip.holder = Some("10.0.4.21".into());
        let said = begin(&mut node, "front").unwrap_err().to_string();
        assert!(said.contains("not held by this node but by 10.0.4.21"), "{said}");
        let said = begin(&mut node, "frnt").unwrap_err().to_string();
        assert!(said.contains("no vip is called \"frnt\"; there are: front"), "{said}");
        assert!(node.told.is_empty());
    }

    #[test]
    fn a_summary_has_the_median_and_the_worst() {
        let times = [4, 1, 9].map(Duration::from_millis).to_vec();
        assert_eq!(summary("over", times), "over: median 4.0 ms, worst 9.0 ms");
    }
}
