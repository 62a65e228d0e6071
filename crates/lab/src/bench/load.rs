//! Many vips: false takeovers on a busy machine, and what a thousand of them cost.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::{Cluster, Pace, Plan, Software, node_addr};
use crate::probe::{AdvertWatch, takeovers};
use crate::{Node, process};

/// What 50 vips with 10 ms adverts did while every core was busy.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// How often the second node claimed a vip whose holder was alive.
    pub takeovers: usize,
    /// Adverts that were sent meanwhile.
    pub adverts: usize,
}

/// What 1,000 vips with 1 s adverts cost one node.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Part of one core, in percent.
    pub cpu: f64,
    /// Memory of each process, in bytes (PSS), with its command line.
    pub memory: Vec<(String, u64)>,
}

/// Vips of the storm.
const STORM_VIPS: u8 = 50;

/// How long every core is kept busy.
const STORM: Duration = Duration::from_secs(4);

/// How long the cost is taken.
const COST: Duration = Duration::from_secs(20);

/// Late announcements (5 s after a takeover, by default) are over after this.
const SETTLE: Duration = Duration::from_secs(8);

/// Keeps both cores busy for 4 s while 50 vips send adverts every 10 ms.
pub fn storm(software: &Software) -> Result<Storm> {
    let pace = Pace { version: 3, advert: Duration::from_millis(10) };
    let mut plan = Plan::simple(software, pace, &["web-1", "web-2"]);
    plan.vips = STORM_VIPS;
    let cluster = Cluster::start(&plan)?;
    cluster.wait_until_first_holds(usize::from(STORM_VIPS))?;
    let watch = AdvertWatch::start(&cluster.lab, &cluster.segments[0])?;
    std::thread::sleep(Duration::from_millis(500));
    let from = Instant::now();
    let end = from + STORM;
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| spin(end));
        }
    });
    let adverts = watch.stop();
    let window = from..end;
    let count = takeovers(&adverts, node_addr(0, 1).into(), pace.advert * 5, &window);
    Ok(Storm {
        takeovers: count,
        adverts: adverts.iter().filter(|advert| window.contains(&advert.at)).count(),
    })
}

fn spin(end: Instant) {
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Four segments with 250 vips each: processor time and memory of the holder and of its backup.
pub fn cost(software: &Software) -> Result<[Cost; 2]> {
    let pace = Pace { version: 2, advert: Duration::from_secs(1) };
    let mut plan = Plan::simple(software, pace, &["web-1", "web-2"]);
    (plan.segments, plan.vips) = (4, 250);
    let cluster = Cluster::start(&plan)?;
    cluster.wait_until_first_holds(1000)?;
    std::thread::sleep(SETTLE);
    let before = [used(&cluster.nodes[0])?, used(&cluster.nodes[1])?];
    let from = Instant::now();
    std::thread::sleep(COST);
    let time = from.elapsed().as_secs_f64();
    let finding = |index: usize| -> Result<Cost> {
        let node = &cluster.nodes[index];
        let cpu = (used(node)? - before[index]).as_secs_f64() / time * 100.0;
        let tree = node.keeper.daemon().tree()?;
        let memory = tree.iter().map(|pid| Ok((process::command_line(*pid), process::memory(*pid)?)));
        Ok(Cost { cpu, memory: memory.collect::<Result<_>>()? })
    };
    Ok([finding(0)?, finding(1)?])
}

/// Processor time of all the keeper's processes.
fn used(node: &Node) -> Result<Duration> {
    node.keeper.daemon().tree()?.into_iter().map(process::cpu_time).sum()
}
