//! `mainstay-sim [--world vrrp|lease|strict] [--seeds A..B | --seed N | --hours H] [--trace] [--mutant NAME]`: plays seeds and says
//! which break a promise.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use mainstay_sim::{Mutant, Outcome, lease, run};

const USAGE: &str = "usage: mainstay-sim [--world vrrp|lease|strict] [--seeds A..B | --seed N | --hours H] [--trace] [--mutant NAME]";

/// So many seeds are played between two looks at the clock.
const BATCH: u64 = 500;

/// How a seed of leases is played.
type Play = fn(u64, lease::Mutant, bool) -> lease::Outcome;

/// What is asked for.
struct Order {
    vrrp: bool,
    lease: bool,
    strict: bool,
    seeds: Range<u64>,
    /// In place of `seeds`: for so long, beginning where nobody has been.
    time: Option<Duration>,
    traced: bool,
    mutant: Option<Mutant>,
    lease_mutant: Option<lease::Mutant>,
}

fn main() -> ExitCode {
    let Some(order) = read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let failed = match order.time {
        Some(time) => play_for(&order, time),
        None => play(&order, order.seeds.clone(), true),
    };
    ExitCode::from(u8::from(failed > 0))
}

/// Plays the seeds in each world that was asked for; how many failed.
fn play(order: &Order, seeds: Range<u64>, sums: bool) -> u64 {
    let mut failed = 0;
    if order.vrrp {
        failed += vrrp(order, seeds.clone(), sums);
    }
    if order.lease {
        failed += leases(order, seeds.clone(), sums, false);
    }
    if order.strict {
        failed += leases(order, seeds, sums, true);
    }
    failed
}

/// On every core, until the time is over.
fn play_for(order: &Order, time: Duration) -> u64 {
    let start = SystemTime::now();
    let first = start.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()) * 1_000_000;
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(0));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("seeds from {first} on, on {cores} cores");
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while start.elapsed().is_ok_and(|elapsed| elapsed < time) {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    failed.fetch_add(play(order, from..from + BATCH, false), Ordering::Relaxed);
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!("{} seeds, {failed} failed", next.into_inner() - first);
    failed
}

fn vrrp(order: &Order, seeds: Range<u64>, sums: bool) -> u64 {
    let (mut failed, mut sum) = (0_u64, Outcome::default());
    for seed in seeds.clone() {
        let outcome = run(seed, order.mutant.unwrap_or_default(), order.traced);
        print!("{}", outcome.trace);
        if let Some(failure) = outcome.failure {
            println!("vrrp: seed {seed}: {failure}");
            failed += 1;
        }
        sum.events += outcome.events;
        sum.claims += outcome.claims;
        sum.needless += outcome.needless;
    }
    if sums {
        println!(
            "vrrp: {} seeds, {failed} failed; {} events, {} claims, {} of them while another still answered (cut, lost or paused)",
            seeds.end - seeds.start,
            sum.events,
            sum.claims,
            sum.needless
        );
    }
    failed
}

fn leases(order: &Order, seeds: Range<u64>, sums: bool, strict: bool) -> u64 {
    let (name, play) =
        if strict { ("strict", lease::run_strict as Play) } else { ("lease", lease::run as Play) };
    let (mut failed, mut sum) = (0_u64, lease::Outcome::default());
    for seed in seeds.clone() {
        let outcome = play(seed, order.lease_mutant.unwrap_or_default(), order.traced);
        print!("{}", outcome.trace);
        if let Some(failure) = &outcome.failure {
            println!("{name}: seed {seed}: {failure}");
            failed += 1;
        }
        sum.add(&outcome);
    }
    if sums {
        println!("{name}: {} seeds, {failed} failed; {sum}", seeds.end - seeds.start);
    }
    failed
}

fn read(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let mut order = Order {
        vrrp: true,
        lease: true,
        strict: true,
        seeds: 0..1_000,
        time: None,
        traced: false,
        mutant: None,
        lease_mutant: None,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--world" => {
                let world = words.next()?;
                (order.vrrp, order.lease) = (world == "vrrp", world == "lease");
                order.strict = world == "strict";
            }
            "--seed" => {
                let seed: u64 = words.next()?.parse().ok()?;
                order.seeds = seed..seed.checked_add(1)?;
            }
            "--seeds" => {
                let range = words.next()?;
                let (from, to) = range.split_once("..")?;
                order.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--hours" => {
                order.time = Duration::try_from_secs_f64(words.next()?.parse::<f64>().ok()? * 3_600.0).ok()
            }
            "--trace" => order.traced = true,
            "--mutant" => {
                let name = words.next()?;
                order.mutant = Mutant::ALL.into_iter().find(|known| format!("{known:?}") == name);
                let find =
                    |all: &[lease::Mutant]| all.iter().copied().find(|known| format!("{known:?}") == name);
                let (of_many, of_two) = (find(&lease::Mutant::ALL), find(&lease::Mutant::STRICT));
                order.lease_mutant = of_many.or(of_two);
                (order.vrrp, order.lease) = (order.mutant.is_some(), of_many.is_some());
                order.strict = of_two.is_some();
            }
            _ => return None,
        }
    }
    (order.vrrp || order.lease || order.strict).then_some(order)
}
