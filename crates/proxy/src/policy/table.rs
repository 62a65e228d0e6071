//! The tables of keys in memory that all processes share: open addressing, words changed by compare-and-swap, no lock.
//!
//! A key is its 64-bit hash. It lies in one of the few places behind the one that its hash names, so that a look-up
//! reads a bounded number of words whatever clients send. A process may die between any two steps.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use mainstay_core::rate::{Rate, Verdict};
use mainstay_core::time::Boot;

use crate::shared::{COLUMNS, Cells, Permit};

/// Places that a key of a rate may lie in.
const RATE_PROBES: usize = 16;

/// Places that a key of requests at once may lie in.
const HELD_PROBES: usize = 64;

/// Words of a row of requests at once.
const ROW: usize = COLUMNS + 1;

/// No key lies here.
const EMPTY: u64 = 0;

/// Somebody is about to give this place to another key.
const MOVING: u64 = 1;

/// Hashes of keys leave the two marks alone.
const fn mark_free(hash: u64) -> u64 {
    if hash <= MOVING { hash + 2 } else { hash }
}

/// The two words of a key's place, if it has one.
fn find(words: &'static [AtomicU64], hash: u64) -> Option<(&'static AtomicU64, &'static AtomicU64)> {
    places(words, hash).find(|(key, _)| key.load(Ordering::Acquire) == hash)
}

/// The places that a key may lie in.
fn places(
    words: &'static [AtomicU64],
    hash: u64,
) -> impl Iterator<Item = (&'static AtomicU64, &'static AtomicU64)> {
    let count = words.len() / 2;
    let first = usize::try_from(hash % count.max(1) as u64).unwrap_or(0);
    (0..RATE_PROBES.min(count)).map(move |n| {
        let at = (first + n) % count * 2;
        (&words[at], &words[at + 1])
    })
}

/// What is kept of a key; [`Boot::ZERO`] when nothing is.
pub(super) fn due(cells: Cells, hash: u64) -> Boot {
    let due = find(cells.keys(), mark_free(hash)).map_or(0, |(_, due)| due.load(Ordering::Acquire));
    Boot::from_nanos(due)
}

/// Asks for one request of a key, and counts it when it passes.
pub(super) fn ask(cells: Cells, hash: u64, rate: Rate, now: Boot) -> Verdict {
    change(cells, hash, now, |due| rate.ask(due, now))
}

/// Counts a request of a key without asking.
pub(super) fn charge(cells: Cells, hash: u64, rate: Rate, now: Boot) {
    let _ = change(cells, hash, now, |due| Verdict::Pass {
        due: rate.charge(due, now),
        delay: std::time::Duration::ZERO,
    });
}

/// Counts something that takes so long at a key's rate; how far ahead of its time the key is then.
pub(super) fn spend(cells: Cells, hash: u64, cost: std::time::Duration, now: Boot) -> std::time::Duration {
    let verdict = change(cells, hash, now, |due| {
        let due = due.max(now) + cost;
        Verdict::Pass { due, delay: due.since(now) }
    });
    match verdict {
        Verdict::Pass { delay, .. } => delay,
        Verdict::Refuse(_) => std::time::Duration::ZERO,
    }
}

/// Finds or makes the place of a key and changes its due time. When its place is given away meanwhile the next try finds
/// another; after a few the last verdict stands uncounted.
fn change(cells: Cells, hash: u64, now: Boot, decide: impl Fn(Boot) -> Verdict) -> Verdict {
    const TRIES: usize = 32;
    let hash = mark_free(hash);
    let words = cells.keys();
    let mut verdict = decide(Boot::ZERO);
    for _ in 0..TRIES {
        let Some((key, word)) = find(words, hash).or_else(|| claim(words, hash, now)) else { continue };
        // Whoever loses the swap has lost it to somebody who went on: some thread always does, so no bound is needed.
        let mut seen = word.load(Ordering::Acquire);
        loop {
            verdict = decide(Boot::from_nanos(seen));
            let Verdict::Pass { due, .. } = verdict else { return verdict };
            match word.compare_exchange_weak(seen, due.as_nanos(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(other) => seen = other,
            }
        }
        if key.load(Ordering::Acquire) == hash {
            return verdict;
        }
    }
    verdict
}

/// Takes a place for a new key: an empty one, else the one whose requests are worked off first. What it says is not
/// changed but for an old one's: that one lies in the past, or is charged to the newcomer for the moment that it is ahead.
fn claim(
    words: &'static [AtomicU64],
    hash: u64,
    now: Boot,
) -> Option<(&'static AtomicU64, &'static AtomicU64)> {
    let mut best: Option<(&AtomicU64, &AtomicU64, u64, u64)> = None;
    for (key, word) in places(words, hash) {
        let (old, due) = (key.load(Ordering::Acquire), word.load(Ordering::Acquire));
        if old == hash {
            // Somebody has made it since we looked: a second place would count the key twice.
            return Some((key, word));
        }
        let due = if old == EMPTY { 0 } else { due };
        if best.is_none_or(|(.., least)| due < least) {
            best = Some((key, word, old, due));
        }
        if due <= now.as_nanos() {
            break;
        }
    }
    let (key, word, old, due) = best?;
    key.compare_exchange(old, hash, Ordering::AcqRel, Ordering::Acquire).ok()?;
    if due > now.as_nanos() {
        // The table is full of busy keys: the newcomer begins afresh.
        let _ = word.compare_exchange(due, 0, Ordering::AcqRel, Ordering::Acquire);
    }
    Some((key, word))
}

/// Takes a place among the `max` that a key has at once, by every process; `None` when they are taken, or when the table
/// has no room for one more key.
pub(super) fn hold(cells: Cells, hash: u64, max: u32) -> Option<Permit> {
    const TRIES: usize = 32;
    let hash = mark_free(hash);
    let words = cells.held();
    for _ in 0..TRIES {
        let row = find_row(words, hash).or_else(|| claim_row(words, hash))?;
        let permit = Permit::take(&row[1 + cells.column()]);
        // Whoever wants to give the row away reads the counts after it has changed the hash: one of us sees the other.
        fence(Ordering::SeqCst);
        if row[0].load(Ordering::SeqCst) != hash {
            drop(permit);
            continue;
        }
        return (count(row) <= u64::from(max)).then_some(permit);
    }
    None
}

fn count(row: &[AtomicU64]) -> u64 {
    row[1..].iter().map(|word| word.load(Ordering::SeqCst)).fold(0, u64::saturating_add)
}

fn rows(words: &'static [AtomicU64], hash: u64) -> impl Iterator<Item = &'static [AtomicU64]> {
    let count = words.len() / ROW;
    let first = usize::try_from(hash % count.max(1) as u64).unwrap_or(0);
    (0..HELD_PROBES.min(count)).map(move |n| {
        let at = (first + n) % count * ROW;
        &words[at..at + ROW]
    })
}

fn find_row(words: &'static [AtomicU64], hash: u64) -> Option<&'static [AtomicU64]> {
    rows(words, hash).find(|row| row[0].load(Ordering::Acquire) == hash)
}

/// Gives a row that nobody counts in to a key.
fn claim_row(words: &'static [AtomicU64], hash: u64) -> Option<&'static [AtomicU64]> {
    for row in rows(words, hash) {
        let old = row[0].load(Ordering::Acquire);
        if old == hash {
            return Some(row);
        }
        if old == MOVING || count(row) > 0 {
            continue;
        }
        if row[0].compare_exchange(old, MOVING, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            continue;
        }
        fence(Ordering::SeqCst);
        if count(row) > 0 {
            row[0].store(old, Ordering::SeqCst);
            continue;
        }
        row[0].store(hash, Ordering::SeqCst);
        return Some(row);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shared::{KEYS, KEYS_HELD, WORDS};

    fn at(secs: u64) -> Boot {
        Boot::from_nanos(secs * 1_000_000_000)
    }

    fn passes(cells: Cells, hash: u64, rate: Rate, now: Boot) -> bool {
        matches!(ask(cells, hash, rate, now), Verdict::Pass { .. })
    }

    /// One memory, seen by as many processes.
    fn shared(processes: usize) -> Vec<Cells> {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let words: &'static [AtomicU64] = Box::leak(words.into_boxed_slice());
        (0..processes).map(|column| Cells::new(words, column)).collect()
    }

    #[test]
    fn processes_that_ask_at_once_let_no_more_through_than_one_would() {
        let all = shared(4);
        let rate = Rate::new(1, 99, u32::MAX);
        for key in [0, 1, 7, u64::MAX] {
            let passed: usize = std::thread::scope(|scope| {
                let asking: Vec<_> = all
                    .iter()
                    .map(|cells| {
                        scope.spawn(move || (0..100).filter(|_| passes(*cells, key, rate, at(5))).count())
                    })
                    .collect();
                asking.into_iter().map(|one| one.join().unwrap()).sum()
            });
            assert_eq!(passed, 100, "key {key}");
        }
    }

    #[test]
    fn a_full_table_still_takes_new_keys_and_forgets_the_one_that_is_done_first() {
        let cells = Cells::private();
        let count = KEYS as u64;
        let (slow, fast) = (Rate::new(1, 0, 0), Rate::new(1_000_000, 0, 0));
        for n in 0..RATE_PROBES as u64 {
            let rate = if n == 3 { fast } else { slow };
            assert!(passes(cells, 2 + n * count, rate, at(5)));
        }
        assert!(passes(cells, 2 + 100 * count, slow, at(5)));
        assert_eq!(due(cells, 2 + 3 * count), Boot::ZERO, "forgotten");
        assert!(!passes(cells, 2, slow, at(5)));
        assert!(!passes(cells, 2 + 100 * count, slow, at(5)));
    }

    #[test]
    fn places_of_keys_that_are_done_are_used_again() {
        let cells = Cells::private();
        let rate = Rate::new(1000, 0, 0);
        for n in 0..1000 {
            assert!(passes(cells, 2 + n * KEYS as u64, rate, at(5 + 2 * n)));
        }
        let used = cells.keys().iter().step_by(2).filter(|key| key.load(Ordering::Relaxed) != EMPTY).count();
        assert_eq!(used, 1);
    }

    #[test]
    fn a_key_that_is_given_away_while_it_is_asked_for_is_still_counted() {
        let all = shared(4);
        let rate = Rate::new(1_000_000_000, 3, u32::MAX);
        std::thread::scope(|scope| {
            for (thread, cells) in (0_u64..).zip(&all) {
                scope.spawn(move || {
                    for n in 0..20_000_u64 {
                        let key = 2 + (n * 7 + thread) % 40 * KEYS as u64;
                        let _ = ask(*cells, key, rate, at(5) + Duration::from_micros(n));
                    }
                });
            }
        });
        let keys: Vec<u64> = all[0].keys().iter().step_by(2).map(|key| key.load(Ordering::Relaxed)).collect();
        assert!(keys.iter().filter(|key| **key != EMPTY).count() <= RATE_PROBES);
    }

    #[test]
    fn of_a_key_no_more_are_held_at_once_than_allowed_by_all_processes() {
        let all = shared(4);
        let most = AtomicU64::new(0);
        let held = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for cells in &all {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        if let Some(permit) = hold(*cells, 42, 2) {
                            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
        let one = hold(all[0], 42, 2);
        let other = hold(all[3], 42, 2);
        assert!(one.is_some() && other.is_some() && hold(all[1], 42, 2).is_none());
    }

    #[test]
    fn rows_that_nobody_counts_in_are_given_away_and_busy_ones_are_not() {
        let cells = Cells::private();
        let count = KEYS_HELD as u64;
        let busy: Vec<Permit> =
            (0..HELD_PROBES as u64).map(|n| hold(cells, 2 + n * count, 1).expect("there is room")).collect();
        assert!(hold(cells, 2 + 1000 * count, 1).is_none(), "no room");
        drop(busy);
        let held: Vec<Permit> =
            (0..1000).filter_map(|n| hold(cells, 2 + (2000 + n) * count, 1)).take(HELD_PROBES).collect();
        assert_eq!(held.len(), HELD_PROBES);
    }

    #[test]
    fn what_a_dead_process_held_is_free_once_its_column_is_cleared() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let words: &'static [AtomicU64] = Box::leak(words.into_boxed_slice());
        let (dead, alive) = (Cells::new(words, 3), Cells::new(words, 4));
        std::mem::forget(hold(dead, 9, 1));
        assert!(hold(alive, 9, 1).is_none());
        Cells::clear(words, 3);
        assert!(hold(alive, 9, 1).is_some());
    }
}
