//! The lock, played by two contenders on one place.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn terms() -> LockTerms {
    LockTerms { stale: MS * 5_000, timeout: MS * 400 }
}

/// A node's part, and its operation under way.
struct Node {
    lock: Lock,
    flight: Option<(u64, DiskOp, Boot)>,
    told: Vec<Told>,
    /// How long its operations take.
    takes: Duration,
    frozen: bool,
}

/// Nodes and the place that they share.
struct World {
    nodes: Vec<Node>,
    place: Block,
    now: Boot,
}

impl World {
    fn new(takes: &[Duration]) -> Self {
        let node = |(n, takes): (usize, &Duration)| Node {
            lock: Lock::new(terms(), MS * 50, Owner { node: format!("n{n}"), instance: 1 }),
            flight: None,
            told: Vec::new(),
            takes: *takes,
            frozen: false,
        };
        let nodes = takes.iter().enumerate().map(node).collect();
        Self { nodes, place: Block::Free, now: Boot::from_nanos(1_000_000_000) }
    }

    fn want(&mut self, n: usize, want: Want) {
        self.nodes[n].lock.want(want, self.now);
        self.turn(n);
    }

    /// A node's timers and operations at this moment. A write comes to pass when it ends.
    fn turn(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if let Some((number, op, _)) = node.flight.take_if(|(_, _, ends)| *ends <= self.now) {
            let read = match op {
                DiskOp::Read => self.place.clone(),
                DiskOp::Write(text) => {
                    self.place = Block::parse(text.as_bytes());
                    Block::Free
                }
            };
            node.lock.answer(number, Ok(read), self.now);
        }
        node.lock.tick(self.now);
        while let Some((number, op)) = node.lock.poll_op() {
            assert!(node.flight.is_none(), "two operations at a time");
            node.flight = Some((number, op, self.now + node.takes));
        }
        node.told.extend(std::iter::from_fn(|| node.lock.poll_told()));
    }

    /// Plays on; two never own it.
    fn play(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += MS;
            for n in 0..self.nodes.len() {
                if !self.nodes[n].frozen {
                    self.turn(n);
                }
            }
            let owners = self.nodes.iter().filter(|node| node.lock.is_owned(self.now)).count();
            assert!(owners <= 1, "{owners} own it at {}", self.now);
        }
    }

    fn owners(&self) -> Vec<bool> {
        self.nodes.iter().map(|node| node.lock.is_owned(self.now)).collect()
    }
}

#[test]
fn a_holder_has_it_before_its_grace_is_over_and_before_a_backup_begins() {
    let mut world = World::new(&[MS * 390, MS * 10]);
    world.want(0, Want::Holder);
    world.want(1, Want::Backup);
    let begun = world.now;
    while !world.nodes[0].lock.is_owned(world.now) {
        assert!(world.nodes[0].lock.lets_hold(world.now), "it had to let go");
        world.play(MS);
        assert!(world.now.since(begun) < terms().grace());
    }
    world.play(MS * 60_000);
    assert_eq!(world.owners(), [true, false]);
    assert!(world.nodes[1].told.contains(&Told::Busy("n0".to_owned())));
}

#[test]
fn a_holder_that_can_t_reach_the_place_has_let_go_before_a_backup_owns_it() {
    // The first one's operations never end.
    let mut world = World::new(&[MS * 1_000_000, MS * 1]);
    world.want(0, Want::Holder);
    world.want(1, Want::Backup);
    while !world.nodes[1].lock.is_owned(world.now) {
        world.play(MS);
    }
    assert!(!world.nodes[0].lock.lets_hold(world.now));
    assert!(world.nodes[0].told.iter().any(|told| matches!(told, Told::Trouble(_))));
}

#[test]
fn of_two_contenders_at_once_exactly_one_owns_it_however_long_their_operations_take() {
    for first in (1..400).step_by(23) {
        for second in (1..400).step_by(31) {
            for head in (0..900).step_by(97) {
                let mut world = World::new(&[MS * first, MS * second]);
                world.want(0, Want::Holder);
                world.play(MS * head);
                world.want(1, Want::Holder);
                world.play(MS * 8_000);
                assert_eq!(world.owners().iter().filter(|owns| **owns).count(), 1, "{first} {second} {head}");
            }
        }
    }
}

#[test]
fn a_record_that_stands_still_is_broken_after_the_time_and_one_that_is_renewed_never() {
    let mut world = World::new(&[MS * 5, MS * 5]);
    world.want(0, Want::Holder);
    world.play(MS * 2_000);
    world.want(1, Want::Backup);
    world.play(MS * 60_000);
    assert_eq!(world.owners(), [true, false]);
    world.nodes[0].frozen = true;
    let died = world.now;
    while !world.nodes[1].lock.is_owned(world.now) {
        world.play(MS);
    }
    let waited = world.now.since(died);
    assert!(waited > terms().hold() && waited < terms().stale * 2, "{waited:?}");
    // It wakes: its right is long over, and it sees whose it is.
    world.nodes[0].frozen = false;
    world.play(MS * 10_000);
    assert_eq!(world.owners(), [false, true]);
    assert!(world.nodes[0].told.contains(&Told::Lost));
}

#[test]
fn the_place_is_given_back_when_it_is_not_wanted_any_more() {
    let mut world = World::new(&[MS * 5, MS * 5]);
    world.want(0, Want::Holder);
    world.play(MS * 2_000);
    assert_eq!(world.owners(), [true, false]);
    world.want(0, Want::No);
    world.play(MS * 100);
    assert_eq!(world.place, Block::Free);
    assert_eq!(world.nodes[0].told.last(), Some(&Told::Released));
    assert_eq!(world.nodes[0].lock.due(world.now), Boot::NEVER, "nothing is left to do");
}

#[test]
fn what_never_was_a_lock_is_not_written_over() {
    let mut world = World::new(&[MS * 5]);
    world.place = Block::Foreign;
    world.want(0, Want::Holder);
    world.play(MS * 60_000);
    assert_eq!(world.place, Block::Foreign);
    assert_eq!(world.owners(), [false]);
}

#[test]
fn a_node_that_starts_again_does_not_wait_for_its_own_record() {
    let mut world = World::new(&[MS * 5, MS * 5]);
    world.want(0, Want::Holder);
    world.play(MS * 2_000);
    let me = Owner { node: "n0".to_owned(), instance: 2 };
    world.nodes[0].lock = Lock::new(terms(), MS * 50, me);
    world.nodes[0].flight = None;
    world.want(1, Want::Backup);
    world.want(0, Want::Backup);
    let begun = world.now;
    while !world.nodes[0].lock.is_owned(world.now) {
        world.play(MS);
    }
    assert!(world.now.since(begun) < terms().stale);
}

#[test]
fn a_write_that_comes_after_its_deadline_gives_the_lock_to_nobody() {
    let mut world = World::new(&[MS * 5, MS * 5]);
    world.want(0, Want::Holder);
    world.want(1, Want::Backup);
    world.play(MS * 5_000);
    assert_eq!(world.owners(), [true, false]);
    let late = Record { owner: Owner { node: "n1".to_owned(), instance: 1 }, number: 9 };
    world.place = Block::Owned(late);
    world.play(MS * 3_000);
    assert!(world.nodes[0].told.contains(&Told::Lost), "its owner sees that it is gone");
    assert_eq!(world.owners(), [false, false]);
    world.play(MS * 20_000);
    assert_eq!(world.owners().iter().filter(|owns| **owns).count(), 1);
}
