//! The split brain: two nodes that lose each other while clients still reach both, under keepalived and under `guard = "quorum"`.
//!
//! Both clusters meet the same cut at once, each in a lab of its own. The drawing shows who answered "who has the vip" when.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::bench::quorum::bed::{Bed, CALM, LIMIT, Shape, Wound};
use crate::cluster::Software;
use crate::probe::Claim;
use crate::timeline::millis;

/// Lease term; keepalived's adverts come every third of it.
const TERM: Duration = Duration::from_millis(300);

/// The peace before the cut, the cut, and what is watched after the healing.
const ACTS: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(1400), Duration::from_millis(600)];

/// A block stands for so long.
const SLICE: Duration = Duration::from_millis(40);

/// Green and blue, as in the drawing of the faults; red for both at once.
const COLOURS: [u8; 2] = [32, 34];
const RED: u8 = 31;

/// What one cluster made of the cut.
struct Played {
    /// Who answered in each slice: the first node, the second.
    slices: Vec<[bool; 2]>,
    dual: Duration,
    outage: Duration,
    cut: usize,
    healed: usize,
}

/// Cuts keepalived's pair, where it is installed, and ours; prints who answered when. Needs [`crate::enter()`] before.
pub fn split_brain(binary: &Path, drawing: bool, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "\nsplit brain: web-1 and web-2 lose each other for {:.1} s, clients still reach both (T = {} ms, the witness with web-2)",
        ACTS[1].as_secs_f64(),
        TERM.as_millis()
    )?;
    out.flush()?;
    let ours = Software::Mainstay(binary.to_owned());
    let software = installed("keepalived").then_some(Software::Keepalived).into_iter().chain([ours]);
    let played: Vec<(Software, Result<Played>)> = std::thread::scope(|scope| {
        let stages: Vec<_> = software
            .map(|software| {
                let stage = scope.spawn({
                    let software = software.clone();
                    move || play(&software)
                });
                (software, stage)
            })
            .collect();
        let end = |stage: std::thread::ScopedJoinHandle<'_, Result<Played>>| {
            stage.join().unwrap_or_else(|_| Err(anyhow!("the stage collapsed")))
        };
        stages.into_iter().map(|(software, stage)| (software, end(stage))).collect()
    });
    for (software, played) in played {
        let played = played.with_context(|| format!("split brain under {software}"))?;
        draw(&software, &played, drawing, out)?;
    }
    Ok(())
}

fn play(software: &Software) -> Result<Played> {
    let bed = Bed::start(software, Shape { nodes: 2, witness: true, preempt: true, term: TERM })?;
    let (client, watch) = (bed.ask()?, bed.watch()?);
    let origin = Instant::now();
    std::thread::sleep(ACTS[0]);
    let cut = Instant::now();
    let others: Vec<usize> = (1..bed.members.len()).collect();
    let wound = Wound { cuts: bed.part(&[0], &others)?, ..Wound::default() };
    std::thread::sleep(ACTS[1]);
    let healed = Instant::now();
    bed.heal(wound)?;
    std::thread::sleep(ACTS[2]);
    let end = Instant::now();
    // The end of the story is one holder, here and there.
    client.wait_for_steady("n1", CALM, LIMIT)?;
    let answers = watch.stop();
    let macs = [bed.members[0].host.mac("eth0")?, bed.members[1].host.mac("eth0")?];
    Ok(Played {
        slices: slices(&answers.claims, macs, origin, end),
        dual: answers.dual_time(&(origin..end)),
        outage: client.record().outage(&(cut..end)),
        cut: column(cut - origin),
        healed: column(healed - origin),
    })
}

fn column(at: Duration) -> usize {
    usize::try_from(at.as_nanos() / SLICE.as_nanos()).unwrap_or(usize::MAX)
}

fn slices(claims: &[Claim], macs: [[u8; 6]; 2], origin: Instant, end: Instant) -> Vec<[bool; 2]> {
    let mut slices = vec![[false; 2]; column(end - origin) + 1];
    for claim in claims.iter().filter(|claim| claim.at >= origin && claim.at <= end) {
        let Some(node) = macs.iter().position(|mac| *mac == claim.mac) else { continue };
        slices[column(claim.at - origin)][node] = true;
    }
    slices
}

fn draw(software: &Software, played: &Played, drawing: bool, out: &mut dyn Write) -> Result<()> {
    // A slice in which the address moved has an answer of each; two holders answer in many.
    let dual = played.dual > Duration::ZERO;
    let verdict = if dual {
        format!("both answered for {} ms", millis(played.dual))
    } else {
        format!("never both; clients waited {} ms", millis(played.outage))
    };
    writeln!(out, "{:>12}  {verdict}", software.to_string())?;
    for (node, name) in ["web-1", "web-2"].into_iter().enumerate() {
        let mut text = String::new();
        for slice in &played.slices {
            let colour = if dual && *slice == [true; 2] { RED } else { COLOURS[node] };
            match (slice[node], drawing) {
                (true, true) => text += &format!("\x1b[{colour}m█\x1b[0m"),
                (true, false) => text.push('#'),
                (false, _) => text.push(' '),
            }
        }
        writeln!(out, "{name:>12}  {}", text.trim_end())?;
    }
    let width = played.healed.saturating_sub(played.cut);
    writeln!(out, "{:>12}  {}{:<width$}healed", "", " ".repeat(played.cut), "cut")?;
    Ok(())
}

/// Whether a program of this name can be started.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/sbin".into(), "/sbin".into()];
    std::env::split_paths(&path).chain(administration).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_answer_at_once_are_drawn_side_by_side_and_named() {
        let slices = vec![[true, false], [true, true], [true, true], [false, true]];
        let played = Played { slices, dual: SLICE * 2, outage: Duration::ZERO, cut: 1, healed: 3 };
        let mut out = Vec::new();
        draw(&Software::Keepalived, &played, false, &mut out).expect("a vector takes all");
        let text = String::from_utf8(out).expect("it is text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  keepalived  both answered for 80.0 ms");
        assert_eq!(lines[1..3], ["       web-1  ###", "       web-2   ###"]);
    }
}
