//! Seeded faults over whole nodes: never two holders (the rig looks at every step), and soon one again.

use super::rig::{A, B, C, Net, RIGHT, ms, ready, terms};
use crate::lease::{Input, Leases, Stance};

/// Numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn node(&mut self) -> usize {
        [A, B, C][self.roll(3) as usize]
    }
}

struct Run {
    net: Net,
    dice: Dice,
    instances: [u64; 3],
    paused: [Option<Leases>; 3],
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut net = Net::new(terms(1500), &["a", "b", "c"]);
        let instances = [A, B, C].map(|node| net.start(node, true, None));
        for node in [A, B, C] {
            net.stance(node, ready(100));
        }
        Self { net, dice: Dice(seed), instances, paused: [None, None, None] }
    }

    fn fault(&mut self) {
        let node = self.dice.node();
        match self.dice.roll(9) {
            0 => self.cut(),
            1 => self.net.loss = Box::new(|_, _, _| false),
            2 => {
                self.net.crash(node);
                self.paused[node] = None;
            }
            3 => self.start(node),
            4 if self.paused[node].is_none() => self.paused[node] = self.net.nodes[node].take(),
            4 | 5 => self.resume(node),
            6 => {
                let preempts = self.dice.roll(2) == 0;
                let priority = self.dice.roll(200) as u8;
                self.net.stance(node, Stance::Ready { priority, preempts });
            }
            7 => self.net.stance(node, Stance::Unable),
            _ if self.net.nodes[node].is_some() => self.net.gone(node),
            _ => {}
        }
    }

    /// Each wire, in each direction, may be cut.
    fn cut(&mut self) {
        let cut = self.dice.roll(512);
        self.net.loss = Box::new(move |from, to, _| cut >> (from * 3 + to) & 1 == 1);
    }

    /// A process starts where none is; as the heir of the one before it, or after a reboot.
    fn start(&mut self, node: usize) {
        if self.net.nodes[node].is_some() || self.paused[node].is_some() {
            return;
        }
        let heir_of = (self.dice.roll(2) == 0).then_some(self.instances[node]);
        self.instances[node] = self.net.start(node, false, heir_of);
        self.net.stance(node, ready(100));
    }

    fn resume(&mut self, node: usize) {
        if let Some(leases) = self.paused[node].take() {
            self.net.nodes[node] = Some(leases);
            self.net.give(node, &Input::Tick);
        }
    }

    fn heal(&mut self) {
        self.net.loss = Box::new(|_, _, _| false);
        for node in [A, B, C] {
            self.resume(node);
            self.start(node);
            self.net.stance(node, ready(100));
        }
    }
}

#[test]
fn after_any_faults_there_is_one_holder_within_a_mute_and_a_term_and_it_stays() {
    let mut takes = 0;
    for seed in 0..300 {
        let mut run = Run::new(seed);
        for _ in 0..40 {
            run.fault();
            let pause = run.dice.roll(700);
            run.net.run(ms(pause));
        }
        run.heal();
        run.net.until(ms(3_600), |net| net.holder().is_some());
        run.net.run(ms(2_000));
        let settled = run.net.takes.len();
        run.net.run(ms(20_000));
        assert_eq!(run.net.takes.len(), settled, "seed {seed}: needless moves {:?}", run.net.takes);
        assert!(run.net.holder().is_some(), "seed {seed}");
        takes += settled;
        let epochs: Vec<u64> = run.net.takes.iter().map(|(_, _, epoch)| *epoch).collect();
        assert!(epochs.is_sorted(), "seed {seed}: {epochs:?}");
    }
    assert!(takes > 800, "something happened: {takes}");
}

#[test]
fn many_rights_are_renewed_in_few_messages() {
    let mut net = Net::new(terms(1500), &["a", "b", "w"]);
    net.names = (0..200).map(|n| format!("vip/{n:04}")).collect();
    for node in [A, B, C] {
        net.start(node, true, None);
    }
    for at in 0..200 {
        let right = crate::name::RightId(at);
        net.give(A, &Input::Stance { right, stance: ready(100) });
        net.give(B, &Input::Stance { right, stance: ready(50) });
    }
    net.run(ms(3_000));
    assert_eq!(net.node(A).held(net.now).count(), 200);
    let before = net.node(A).counters().requests;
    net.run(ms(15_000));
    let requests = net.node(A).counters().requests - before;
    // Fifty rounds, each of 200 names of 8 bytes with what they take beside.
    assert!((50 * 6..=51 * 8).contains(&requests), "{requests}");
    assert_eq!(net.node(A).view(RIGHT, net.now).unwrap().acquired, 1);
    net.crash(A);
    net.run(ms(1_520));
    assert_eq!(net.node(B).held(net.now).count(), 200);
}
