//! `mainstay-sim --seeds A..B | --seed N [--trace] [--mutant NAME]`: plays seeds and says which break a promise.

use std::process::ExitCode;

use mainstay_sim::{Mutant, Outcome, run};

const USAGE: &str = "usage: mainstay-sim --seeds A..B | --seed N [--trace] [--mutant NAME]";

struct Order {
    seeds: std::ops::Range<u64>,
    traced: bool,
    mutant: Mutant,
}

fn main() -> ExitCode {
    let Some(order) = read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let (mut failed, mut sum) = (0_u64, Outcome::default());
    for seed in order.seeds.clone() {
        let outcome = run(seed, order.mutant, order.traced);
        print!("{}", outcome.trace);
        if let Some(failure) = outcome.failure {
            println!("seed {seed}: {failure}");
            failed += 1;
        }
        sum.events += outcome.events;
        sum.claims += outcome.claims;
        sum.needless += outcome.needless;
    }
    println!(
        "{} seeds, {failed} failed; {} events, {} claims, {} of them while another still answered (cut, lost or paused)",
        order.seeds.end - order.seeds.start,
        sum.events,
        sum.claims,
        sum.needless
    );
    ExitCode::from(u8::from(failed > 0))
}

fn read(mut words: impl Iterator<Item = String>) -> Option<Order> {
    let mut order = Order { seeds: 0..1_000, traced: false, mutant: Mutant::None };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => {
                let seed: u64 = words.next()?.parse().ok()?;
                order.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let range = words.next()?;
                let (from, to) = range.split_once("..")?;
                order.seeds = from.parse().ok()?..to.parse().ok()?;
            }
            "--trace" => order.traced = true,
            "--mutant" => {
                let name = words.next()?;
                order.mutant = Mutant::ALL.into_iter().find(|known| format!("{known:?}") == name)?;
            }
            _ => return None,
        }
    }
    Some(order)
}
