//! The rehearsal: three nodes with a web service and a vip, a client that counts, and one fault after the other.
//!
//! It draws who answers while it happens, ends by itself within three quarters of a minute, and leaves a table: fault, outage, lost
//! requests, how long two hosts answered, and the same for the way back. Then two nodes lose each other, under a quorum and under
//! keepalived. Without a terminal it prints plain lines.

mod screen;
mod split;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::write_lines;
use crate::cluster::{Cluster, Pace, Plan, Software, echo_target, vip_addr};
use crate::demo::screen::Screen;
use crate::peer::Mainstay;
use crate::probe::{ArpProbe, UdpClient};
use crate::timeline::millis;
use crate::{Fault, Node};

pub use split::split_brain;

/// The client's pause between requests.
const INTERVAL: Duration = Duration::from_millis(2);

/// The demo's pace: fast enough for half a minute, slow enough to be seen.
pub const PACE: Pace = Pace { version: 3, advert: Duration::from_millis(100) };

/// No step begins after this, so that the demo ends in time.
const LAST_START: Duration = Duration::from_secs(24);

/// How long a takeover or a return is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a node must have answered alone before the next thing happens.
const CALM: Duration = Duration::from_millis(500);

/// One thing that the demo does to the holder.
enum Step {
    Fault(Fault, char),
    /// The operator moves the vip away.
    Move,
}

/// What a client saw of one step.
struct Outcome {
    what: String,
    from: String,
    to: Option<String>,
    away: Seen,
    /// What it saw while the first holder came back; nothing where nothing had to heal.
    back: Option<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    outage: Duration,
    lost: usize,
    two: Duration,
}

/// Runs the demo with our binary and prints to `out`; a drawing only where standard output is a terminal.
///
/// Without root the program is started again in a user namespace ([`crate::enter()`]), so call it before anything else.
pub fn run(binary: &Path, out: &mut dyn Write) -> Result<()> {
    crate::enter()?;
    let drawing = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    rehearse(&Software::Mainstay(binary.to_owned()), drawing, out)?;
    split_brain(binary, drawing, out)
}

/// Runs the demo with any software. Needs [`crate::enter()`] before.
pub fn rehearse(software: &Software, drawing: bool, out: &mut dyn Write) -> Result<()> {
    let mut demo = Demo::start(software, drawing, out)?;
    for step in steps(software) {
        if demo.client.record().origin.elapsed() > LAST_START {
            writeln!(demo.out, "out of time: the rest is left out")?;
            break;
        }
        demo.play(&step)?;
    }
    demo.finish()
}

/// Keepalived has no command that moves a vip.
fn steps(software: &Software) -> Vec<Step> {
    let mut steps = vec![
        Step::Fault(Fault::KillAll, 'K'),
        Step::Fault(Fault::Isolation, 'I'),
        Step::Fault(Fault::Freeze, 'F'),
        Step::Fault(Fault::LinkDown, 'L'),
    ];
    match software {
        Software::Keepalived => {}
        Software::Mainstay(_) => steps.push(Step::Move),
    }
    steps
}

struct Demo<'a> {
    out: &'a mut dyn Write,
    screen: Screen,
    outcomes: Vec<Outcome>,
    arp: ArpProbe,
    client: UdpClient,
    cluster: Cluster,
    software: Software,
}

impl<'a> Demo<'a> {
    fn start(software: &Software, drawing: bool, out: &'a mut dyn Write) -> Result<Self> {
        let vip = std::net::Ipv4Addr::from(vip_addr(0, 0));
        let advert = PACE.advert.as_millis();
        writeln!(
            out,
            "three nodes with a web service, vip {vip}, adverts every {advert} ms, a client asks every 2 ms ({software})"
        )?;
        out.flush()?;
        let plan = Plan::simple(software, PACE, &["web-1", "web-2", "web-3"]);
        let cluster = Cluster::start(&plan)?;
        let client = UdpClient::start(&cluster.outside, echo_target(), INTERVAL)?;
        let arp = ArpProbe::start(&cluster.watcher, "eth0", vip, Duration::from_millis(1))?;
        client.wait_for_steady("web-1", CALM, PATIENCE)?;
        let screen = Screen::new(drawing, &plan.nodes);
        let software = software.clone();
        Ok(Self { out, screen, outcomes: Vec::new(), arp, client, cluster, software })
    }

    /// Looks at `condition` until it holds or patience ends, and draws meanwhile.
    fn watch(&mut self, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if condition(self) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            self.screen.tick(&self.client, self.out)?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn play(&mut self, step: &Step) -> Result<()> {
        let (holder, _) = self.client.last().context("nobody has answered yet")?;
        let node = self.cluster.node(&holder)?.clone();
        match step {
            Step::Fault(fault, mark) => {
                self.say(*mark, &format!("{fault} of {holder}"))?;
                let from = Instant::now();
                let damage = fault.strike(&node)?;
                let to = self.await_successor(&holder, from)?;
                let away = self.seen(from);
                let healed = Instant::now();
                self.say('h', &format!("{fault} of {holder} healed"))?;
                damage.heal()?;
                self.watch(PATIENCE, |demo| demo.is_calm(Some(&holder), healed))?;
                let back = Some(self.seen(healed));
                self.outcomes.push(Outcome { what: fault.to_string(), from: holder, to, away, back });
            }
            Step::Move => {
                self.say('M', &format!("the operator moves the vip away from {holder}"))?;
                let from = Instant::now();
                self.move_away(&node)?;
                let to = self.await_successor(&holder, from)?;
                let (what, away) = ("move".to_owned(), self.seen(from));
                self.outcomes.push(Outcome { what, from: holder, to, away, back: None });
            }
        }
        Ok(())
    }

    fn say(&mut self, mark: char, sentence: &str) -> Result<()> {
        self.screen.event(mark, sentence, &self.client, self.out)
    }

    /// Who answers after `holder`, once he has done so alone for a moment.
    fn await_successor(&mut self, holder: &str, from: Instant) -> Result<Option<String>> {
        let other = |demo: &Self| demo.client.last().map(|(name, _)| name).filter(|name| name != holder);
        self.watch(PATIENCE, |demo| other(demo).is_some_and(|name| demo.is_calm(Some(&name), from)))?;
        Ok(other(self))
    }

    /// Whether `node` alone has answered for a while, all of it after `since`.
    fn is_calm(&self, node: Option<&str>, since: Instant) -> bool {
        let now = Instant::now();
        let begin = now.checked_sub(CALM).unwrap_or(now);
        begin >= since && node.is_some_and(|node| self.client.record().is_steady(node, begin, now))
    }

    fn seen(&self, from: Instant) -> Seen {
        let window = from..Instant::now();
        let record = self.client.record();
        let two = self.arp.answers().dual_time(&window);
        Seen { outage: record.outage(&window), lost: record.lost(&window), two }
    }

    fn move_away(&self, node: &Node) -> Result<()> {
        let Software::Mainstay(binary) = &self.software else { bail!("{} can't move a vip", self.software) };
        let output = Mainstay::ctl_on(&node.host, binary, &["vip", "move", "front"])?;
        if !output.status.success() {
            bail!("mainstay vip move front: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.screen.last(&self.client, self.out)?;
        let record = self.client.record();
        let whole = record.whole();
        let (requests, late) = (record.requests(&whole), record.lateness(&whole));
        drop(record);
        let head =
            ["fault", "holder", "outage ms", "lost", "two held ms", "back: outage ms", "lost", "two held ms"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.outcomes.iter().map(Outcome::line));
        writeln!(self.out)?;
        write_lines(&lines, self.out)?;
        writeln!(self.out, "\n{requests} requests; the client itself was at most {} ms late", millis(late))?;
        Ok(())
    }
}

impl Outcome {
    fn line(&self) -> Vec<String> {
        let to = self.to.as_deref().unwrap_or("nobody");
        let mut line = vec![self.what.clone(), format!("{} > {to}", self.from)];
        for seen in [Some(self.away), self.back] {
            match seen {
                Some(seen) => line.extend([millis(seen.outage), seen.lost.to_string(), millis(seen.two)]),
                None => line.extend(["-", "-", "-"].map(str::to_owned)),
            }
        }
        line
    }
}
