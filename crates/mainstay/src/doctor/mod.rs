//! `doctor`: why nodes don't hear each other. It listens before the firewall and behind it, asks who answers for the
//! addresses, compares with the configuration and the running node, and names each cause with what to do.

mod analyse;
mod differences;
mod finding;
mod firewall;
mod holders;
mod listen;
mod node;
mod observed;
mod place;
mod show;
#[cfg(test)]
mod tests;
mod wire;

use std::path::Path;
use std::time::Duration;

use crate::cli::{DEGRADED, load};
use crate::dirs::Dirs;

/// Adverts of the slowest vip that are waited for: one is lost now and then.
const ADVERTS: u32 = 3;

/// Listens, judges and prints; the exit code is 0 when nothing is wrong, else 4.
pub(crate) fn run(config: &Path, dirs: &Dirs, listen: u64) -> anyhow::Result<u8> {
    let loaded = load(config)?;
    let plan = loaded.plan;
    let slowest = plan.vips.iter().map(|vip| vip.spec.advert).max().unwrap_or_default();
    let time = Duration::from_secs(listen).max(slowest * ADVERTS + slowest / 2);
    let mut ears = listen::Ears::open(&plan)?;
    eprintln!("listening for {:.1} s on {}", time.as_secs_f64(), plan.links.join(", "));
    let observed = ears.listen(dirs, time)?;
    let report = analyse::analyse(&plan, &observed);
    crate::cli::print(&show::report(&report, &plan, &observed))?;
    Ok(if report.wrong() == 0 { 0 } else { DEGRADED })
}
