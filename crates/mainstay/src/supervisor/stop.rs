//! An orderly end: what visitors of vips have under way is answered, vips are given up, then commands and deliveries under way get a
//! bounded time.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use mainstay_core::time::Boot;
use mainstay_sys::clock::boot_now;

use super::Supervisor;
use crate::ipc::{ToAgent, ToEdge, ToVip};
use crate::role::Role;

/// How long the vip role may take to stop what its vips own and release them.
pub(super) const RELEASE_MAX: Duration = Duration::from_secs(35);

/// How long what visitors of vips have under way may take before the vips go. Who calls meanwhile is not answered and asks again after
/// a second (RFC 6298 section 2), so that the next holder has to be there by then.
const LULL: Duration = Duration::from_millis(500);

/// How long commands and deliveries may go on after the vips are gone.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// How long connections of the edge may go on at TERM: the unit's TimeoutStopSec is 20 s, and vips are given up before.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How much longer than that an edge process may take to end.
const END_GRACE: Duration = Duration::from_secs(1);

/// How far an orderly stop has come.
pub(super) struct Stop {
    vips_gone: bool,
    by: Boot,
    /// When connections of the edge are cut.
    cut: Boot,
    at_once: bool,
    /// Connections get all the time that the configuration gives them.
    long: bool,
    /// Vips are kept until then at most, while the edge answers what it has.
    lull: Option<Boot>,
    /// Sockets that leave calls to vips unanswered.
    hushed: Vec<OwnedFd>,
    /// The edge was told to drain.
    drains: bool,
}

impl Stop {
    pub(super) fn deadline(&self, now: Boot) -> Boot {
        if let Some(lull) = self.lull {
            return lull;
        }
        if now < self.by { self.by } else { self.cut.max(self.by) }
    }

    /// Whether nothing is left to wait for.
    pub(super) fn done(&self, now: Boot, supervisor: &Supervisor) -> bool {
        let runs = |role: Role| supervisor.workers.iter().any(|w| w.role == role && w.running.is_some());
        let quiet = !runs(Role::Probe) && !runs(Role::Registry);
        let told = now >= self.by || (supervisor.calls.runs.is_empty() && quiet);
        let drained = now >= self.cut || !(runs(Role::Edge) || runs(Role::Agent));
        self.at_once || (self.vips_gone && told && drained)
    }
}

impl Supervisor {
    /// The first request releases in order, the second ends at once.
    pub(super) fn begin_stop(&mut self, long: bool) {
        if let Some(stop) = &mut self.stop {
            tracing::warn!("asked a second time: stopping at once");
            stop.at_once = true;
            return;
        }
        super::tell_systemd(&[sd_notify::NotifyState::Stopping]);
        let by = boot_now() + RELEASE_MAX;
        let hushed = self.hush_vips();
        let lull = (!hushed.is_empty()).then(|| boot_now() + LULL);
        self.stop =
            Some(Stop { vips_gone: false, by, cut: by, at_once: false, long, lull, hushed, drains: false });
        if lull.is_none() {
            return self.give_up_vips();
        }
        tracing::info!("stopping: what is under way at vips is answered first");
        self.drain_edges();
    }

    /// The same without a pause: somebody else may hold what we hold.
    pub(super) fn begin_stop_hurriedly(&mut self) {
        self.begin_stop(false);
        self.end_lull();
    }

    /// Leaves new calls to vips that are held unanswered, when the edge listens there.
    fn hush_vips(&self) -> Vec<OwnedFd> {
        if !self.runs(Role::Edge) {
            return Vec::new();
        }
        let held = self.plan.vips.iter().filter(|vip| self.deposits.holds(vip.spec.name.as_str()));
        let addrs: Vec<IpAddr> = held.flat_map(|vip| &vip.addrs).map(|addr| addr.addr).collect();
        self.edges.listeners.hush(&addrs)
    }

    fn runs(&self, role: Role) -> bool {
        self.workers.iter().any(|w| w.role == role && w.running.is_some())
    }

    fn end_lull(&mut self) {
        if self.stop.as_mut().is_some_and(|stop| stop.lull.take().is_some()) {
            self.give_up_vips();
        }
    }

    fn give_up_vips(&mut self) {
        tracing::info!("stopping: vips are given up first");
        if let Some(stop) = &mut self.stop {
            stop.by = boot_now() + RELEASE_MAX;
            stop.cut = stop.cut.max(stop.by);
        }
        let mut told = false;
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Vip && w.running.is_some()) {
            worker.send(&ToVip::Stop);
            told = true;
        }
        if !told {
            self.vips_are_gone();
        }
    }

    /// Has the edge answer what it has and end.
    fn drain_edges(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        if std::mem::replace(&mut stop.drains, true) {
            return;
        }
        let drain = if stop.long { self.plan.edge.drain } else { self.plan.edge.drain.min(DRAIN_MAX) };
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Edge) {
            worker.send(&ToEdge::Drain(drain));
        }
    }

    /// The vip role has given everything up, or is dead and its deposit redeemed.
    pub(super) fn vips_are_gone(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        if stop.vips_gone {
            return;
        }
        stop.vips_gone = true;
        stop.lull = None;
        stop.hushed.clear();
        self.close_watchdog();
        self.drain_edges();
        let Some(stop) = &mut self.stop else { return };
        let drain = if stop.long { self.plan.edge.drain } else { self.plan.edge.drain.min(DRAIN_MAX) };
        let offered = super::agents::longest_drain(&self.plan);
        let offered = if stop.long { offered } else { offered.min(DRAIN_MAX) };
        stop.by = boot_now() + LINGER_MAX;
        stop.cut = boot_now() + drain.max(offered) + END_GRACE;
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Agent) {
            worker.send(&ToAgent::Leave(offered));
        }
        self.dismiss_registry();
        // A probe worker whose channel closes delivers what it has and exits.
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Probe) {
            if let Some(running) = &mut worker.running {
                running.hang_up();
            }
        }
    }

    /// A registry worker whose channel closes gives back what is being given back and exits.
    pub(super) fn dismiss_registry(&mut self) {
        let vip = self.workers.iter().any(|w| w.role == Role::Vip && w.running.is_some());
        if self.stop.is_none() || vip {
            return;
        }
        for worker in self.workers.iter_mut().filter(|w| w.role == Role::Registry) {
            if let Some(running) = &mut worker.running {
                running.hang_up();
            }
        }
    }

    /// Goes on when a deadline has passed or the vip role has died on the way.
    pub(super) fn press_stop(&mut self, now: Boot) {
        let Some(stop) = &self.stop else { return };
        if stop.vips_gone {
            return;
        }
        if let Some(lull) = stop.lull {
            if lull <= now || !self.runs(Role::Edge) {
                self.end_lull();
            }
            return;
        }
        let alive = self.workers.iter().any(|w| w.role == Role::Vip && w.running.is_some());
        if !alive || now >= stop.by {
            self.deposits.redeem();
            self.vips_are_gone();
        }
    }
}
