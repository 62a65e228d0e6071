//! Three nodes and one random fault after the other, about twenty a minute: never two holders, each outage within its bound.
//!
//! A fault strikes when everybody hears everybody again, so that its outage has a bound. One in five is followed by a second
//! one on another node while it lasts: then there may be no majority, and only two holders are forbidden.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Signal, kill_process};

use super::bed::{Bed, CALM, LIMIT, Shape, Wound};
use crate::cluster::Software;
use crate::probe::UdpClient;
use crate::timeline::{median, millis};
use crate::{Fault, Way, wait_until};

/// One fault in so much time, where the cluster recovers that fast.
const PACE: Duration = Duration::from_secs(3);

/// What a takeover may take beyond the term.
const BOUND: Duration = Duration::from_millis(100);

/// Splitmix64: repeatable, and good enough to choose faults.
struct Chance(u64);

impl Chance {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }
}

/// What may happen to a node.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Alone,
    PartedFromOne,
    NotHeard,
    DoesNotHear,
    Isolated,
    Frozen,
    Killed,
    Paused,
    WorkerKilled,
    Stopped,
    Moved,
    CarrierLost,
    WireCut,
    Unwell,
}

impl Blow {
    const ALL: [Self; 14] = [
        Self::Alone,
        Self::PartedFromOne,
        Self::NotHeard,
        Self::DoesNotHear,
        Self::Isolated,
        Self::Frozen,
        Self::Killed,
        Self::Paused,
        Self::WorkerKilled,
        Self::Stopped,
        Self::Moved,
        Self::CarrierLost,
        Self::WireCut,
        Self::Unwell,
    ];

    fn strike(self, bed: &Bed, node: usize) -> Result<Wound> {
        let cut = |cuts| Wound { cuts, ..Wound::default() };
        let others: Vec<usize> = (0..bed.members.len()).filter(|other| *other != node).collect();
        Ok(match self {
            Self::Alone => cut(bed.part(&[node], &others)?),
            Self::PartedFromOne => cut(bed.part(&[node], &others[..1])?),
            Self::NotHeard => cut(bed.mute(node, Way::Out)?),
            Self::DoesNotHear => cut(bed.mute(node, Way::In)?),
            Self::Isolated => cut(bed.isolate(node, Way::Both)?),
            Self::Frozen => bed.strike(node, &Fault::Freeze)?,
            Self::Killed => bed.strike(node, &Fault::KillAll)?,
            Self::Paused => {
                let role = bed.ours(node)?.worker_pid("vip")?;
                kill_process(role, Signal::STOP)?;
                Wound { stopped: vec![role], ..Wound::default() }
            }
            Self::WorkerKilled => bed.strike(node, &Fault::KillWorker("vip".into()))?,
            Self::Stopped => bed.strike(node, &Fault::Stop)?,
            Self::Moved => {
                // A node that holds nothing has nothing to move.
                let _ = bed.ours(node)?.ctl(&["vip", "move", "front"])?;
                Wound::default()
            }
            Self::CarrierLost => {
                let port = bed.port(node, 0)?;
                port.set_carrier(false)?;
                Wound { carrier: vec![port], ..Wound::default() }
            }
            Self::WireCut => cut(vec![bed.port(node, 1)?.isolate(Way::Both)?]),
            Self::Unwell => {
                let flag = bed.well(node);
                std::fs::remove_file(&flag)?;
                Wound { flags: vec![flag], ..Wound::default() }
            }
        })
    }
}

/// What was found.
#[derive(Default)]
struct Findings {
    faults: usize,
    doubled: usize,
    outages: Vec<Duration>,
    over: Vec<String>,
    two: Vec<String>,
    dual: Duration,
    late: Duration,
}

/// Runs it for `time` and prints what came of it.
pub(super) fn soak(
    binary: &Path,
    term: Duration,
    time: Duration,
    seed: u64,
    out: &mut dyn Write,
) -> Result<()> {
    let shape = Shape { nodes: 3, witness: false, preempt: false, term };
    let bed = Bed::start(&Software::Mainstay(binary.to_owned()), shape)?;
    let (client, watch) = (bed.ask()?, bed.watch()?);
    let (mut chance, mut findings, begun) = (Chance(seed), Findings::default(), Instant::now());
    while begun.elapsed() < time {
        let from = Instant::now();
        let blows = match strike(&bed, &mut chance, term, &client, &mut findings) {
            Ok(blows) => blows,
            Err(error) => {
                findings.print(term, begun.elapsed(), seed, out)?;
                return Err(error);
            }
        };
        let window = from..Instant::now();
        let dual = watch.answers().dual(&window);
        let record = client.record();
        let outage = record.outage(&window);
        findings.late = findings.late.max(record.lateness(&window));
        drop(record);
        let at = (from - begun).as_secs_f64();
        eprintln!("soak | T {term:?} | {at:.1} s | {}: outage {} ms", blows.text, millis(outage));
        for span in &dual {
            findings.dual += span.end - span.start;
            findings.two.push(format!(
                "{}: two from {} to {} ms",
                blows.text,
                millis(span.start - from),
                millis(span.end - from)
            ));
        }
        if blows.single {
            findings.outages.push(outage);
            if outage > term + BOUND {
                findings.over.push(format!("{}: {} ms", blows.text, millis(outage)));
            }
        }
        std::thread::sleep(PACE.saturating_sub(from.elapsed()));
    }
    findings.print(term, begun.elapsed(), seed, out)
}

/// What was done, and whether its outage has a bound.
struct Blows {
    text: String,
    single: bool,
}

fn strike(
    bed: &Bed,
    chance: &mut Chance,
    term: Duration,
    client: &UdpClient,
    findings: &mut Findings,
) -> Result<Blows> {
    // Two of three blows hit the holder, who has something to lose.
    let holder = bed.holder().unwrap_or(0);
    let node = if chance.below(3) < 2 { holder } else { chance.below(3) };
    let blow = Blow::ALL[chance.below(Blow::ALL.len())];
    let mut text = format!("{blow:?} n{}{}", node + 1, if node == holder { " (holder)" } else { "" });
    let mut wounds = vec![blow.strike(bed, node)?];
    findings.faults += 1;
    let single = chance.below(5) != 0;
    if !single {
        std::thread::sleep(term * u32::try_from(chance.below(10)).unwrap_or(0) / 10);
        let (other, blow) = ((node + 1 + chance.below(2)) % 3, Blow::ALL[chance.below(Blow::ALL.len())]);
        // A node that is frozen, say, can't be asked for its worker.
        if let Ok(wound) = blow.strike(bed, other) {
            wounds.push(wound);
            text += &format!(", {blow:?} n{}", other + 1);
            findings.faults += 1;
            findings.doubled += 1;
        }
    }
    let least = u64::try_from(term.as_millis()).unwrap_or(300);
    std::thread::sleep(Duration::from_millis(least / 2 + chance.next() % (least * 3 / 2)));
    for wound in wounds {
        bed.heal(wound)?;
    }
    bed.meet()?;
    wait_until("somebody serves, alone and steadily", LIMIT, || {
        let now = Instant::now();
        let Some((holder, _)) = client.last() else { return Ok(false) };
        Ok(client.record().is_steady(&holder, now - CALM, now))
    })?;
    Ok(Blows { text, single })
}

impl Findings {
    fn print(&self, term: Duration, time: Duration, seed: u64, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "Soak: T = {term:?}, 3 nodes, seed {seed}: {} faults in {:.0} s ({:.1} a minute), {} of them while another lasted",
            self.faults,
            time.as_secs_f64(),
            60.0 * self.faults as f64 / time.as_secs_f64().max(1.0),
            self.doubled
        )?;
        writeln!(
            out,
            "two holders: {} ms; outage of single faults: median {} ms, worst {} ms, bound {} ms; over it: {} of {}; observer late by {} ms",
            millis(self.dual),
            millis(median(&self.outages).unwrap_or_default()),
            millis(self.outages.iter().max().copied().unwrap_or_default()),
            millis(term + BOUND),
            self.over.len(),
            self.outages.len(),
            millis(self.late)
        )?;
        for line in self.two.iter().chain(&self.over) {
            writeln!(out, "- {line}")?;
        }
        writeln!(out)?;
        Ok(())
    }
}
