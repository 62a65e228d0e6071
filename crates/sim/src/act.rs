//! Effects carried out: by the kernel at once, by the wires after a while.

use std::net::IpAddr;
use std::rc::Rc;

use mainstay_core::election::{Effect, Reason, State};
use mainstay_core::vrrp::{GROUP_V4, GROUP_V6};

use crate::node::Frame;
use crate::scenario::{SERVICE, address};
use crate::world::{Event, World};

impl World {
    /// Everything that a node's machine asks for, in order.
    pub(crate) fn carry_out(&mut self, n: usize) {
        while let Some(effect) = self.nodes[n].task.as_mut().and_then(|task| task.poll_effect()) {
            self.perform(n, &effect);
        }
        self.check_drained(n);
    }

    fn perform(&mut self, n: usize, effect: &Effect) {
        match effect {
            Effect::Stance { .. } | Effect::Gone { .. } => {
                return self.fail(|| format!("node {n}: {effect:?} without a lease"));
            }
            Effect::Arm { .. } | Effect::Advertise { .. } => {}
            Effect::Changed { .. }
            | Effect::Take { .. }
            | Effect::Release { .. }
            | Effect::Announce { .. }
            | Effect::Start { .. }
            | Effect::Stop { .. } => self.trace(|_| format!("node {n} {effect:?}")),
        }
        let vip = effect.vip();
        let Some(v) = vip.and_then(|vip| self.nodes[n].order.get(vip.index()).copied()) else {
            return self.fail(|| format!("node {n}: {effect:?} names no vip"));
        };
        match effect {
            Effect::Arm { until, .. } => {
                self.check_right(n, v, "arms");
                self.nodes[n].kernel[v].gate = *until;
            }
            Effect::Take { .. } => self.take(n, v),
            Effect::Release { .. } => self.release(n, v),
            Effect::Advertise { priority, .. } => {
                self.check_right(n, v, "advertises");
                if *priority == 0 && self.nodes[n].kernel[v].present {
                    self.fail(|| format!("promise 9: node {n} resigns v{v} and still has the address"));
                }
                for (to, frame) in self.frames(n, v, *priority) {
                    self.transmit(n, to, frame);
                }
            }
            Effect::Announce { .. } => self.announce(n, v),
            Effect::Start { .. } => self.service(n, v, true),
            Effect::Stop { .. } => self.service(n, v, false),
            Effect::Changed { to: State::Active, reason, .. } => {
                self.outcome.claims += 1;
                if matches!(reason, Reason::Silence { .. }) {
                    self.check_need(n, v);
                }
            }
            Effect::Changed { .. } | Effect::Stance { .. } | Effect::Gone { .. } => {}
        }
    }

    fn take(&mut self, n: usize, v: usize) {
        let local = self.nodes[n].clock.read(self.now);
        if self.nodes[n].kernel[v].gate <= local {
            self.fail(|| format!("promise 8: node {n} takes v{v} behind a closed gate"));
        }
        self.nodes[n].farewells[v] = self.frames(n, v, 0);
        self.nodes[n].kernel[v].present = true;
        self.nodes[n].kernel[v].announced = false;
    }

    fn release(&mut self, n: usize, v: usize) {
        self.nodes[n].kernel[v].present = false;
        for client in (0..self.scenario.clients).filter(|client| self.arp[*client][v] == Some(n)) {
            if self.is_lame(n) {
                self.checks.unannounced_to(client, v);
            }
        }
    }

    /// One advert to the group or to each peer, as bytes.
    fn frames(&self, n: usize, v: usize, priority: u8) -> Vec<(IpAddr, Frame)> {
        let node = &self.nodes[n];
        let (Some(task), Some(id)) = (&node.task, node.id(v)) else { return Vec::new() };
        let spec = &node.specs[v];
        let link = spec.link.index();
        let from = address(n, link, spec.ipv6);
        let group = if spec.ipv6 { IpAddr::from(GROUP_V6) } else { IpAddr::from(GROUP_V4) };
        let to = if spec.unicast.is_empty() { vec![group] } else { spec.unicast.clone() };
        to.into_iter()
            .map(|to| {
                let mut payload = Vec::new();
                task.vips.packet(id, priority, from, to, &mut payload);
                (to, Frame { link, from, to, payload: Rc::from(payload) })
            })
            .collect()
    }

    /// Puts a frame on the wire to all whom it is for.
    pub(crate) fn transmit(&mut self, n: usize, to: IpAddr, frame: Frame) {
        if !self.nodes[n].links[frame.link] {
            return;
        }
        for peer in 0..self.scenario.nodes {
            let meant = to.is_multicast() || to == address(peer, frame.link, to.is_ipv6());
            if peer == n || !meant || self.cut[n][peer] || self.rng.percent(self.loss) {
                continue;
            }
            let worst = if self.loss > 0 { 5 * self.scenario.delay } else { self.scenario.delay };
            let copies = if self.loss > 0 && self.rng.percent(20) { 2 } else { 1 };
            for _ in 0..copies {
                let delay = self.rng.within(20_000..worst);
                self.at(self.now + delay, Event::Frame { node: peer, frame: frame.clone() });
            }
        }
    }

    fn announce(&mut self, n: usize, v: usize) {
        self.nodes[n].kernel[v].announced = true;
        if !self.nodes[n].kernel[v].present {
            self.fail(|| format!("promise 2: node {n} announces v{v} and has no address"));
        }
        let carried = self.nodes[n].links[self.nodes[n].specs[v].link.index()];
        for client in 0..self.scenario.clients {
            if carried && !self.cut[n][self.scenario.nodes + client] {
                let delay = self.rng.within(20_000..self.scenario.delay);
                self.at(self.now + delay, Event::Announcement { client, vip: v, node: n });
            } else {
                self.checks.unannounced_to(client, v);
            }
        }
    }

    fn service(&mut self, n: usize, v: usize, start: bool) {
        // Commands of one vip run one after the other, so their answers come in order.
        let after = self.nodes[n].answer_at[v].max(self.now);
        let took = after - self.now + self.rng.within(1_000_000..SERVICE);
        self.nodes[n].answer_at[v] = self.now + took;
        self.disturb(took);
        let running = start && !self.rng.percent(5);
        if start && !running {
            // The machine tries again half a minute later, and its group waits with it.
            for member in self.checks.group_of(v) {
                self.nodes[n].unfit_until[member] = self.now + took + 31_000_000_000;
            }
        }
        let life = self.nodes[n].life;
        self.at(self.now + took, Event::Owned { node: n, life, vip: v, running });
    }
}
