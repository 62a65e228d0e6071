//! Memory of connections that do nothing.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

use super::peers::{Tunnel, ask};
use crate::Host;
use crate::bench::write_lines;

/// Connections that are opened and left alone.
const IDLE: usize = 3000;

/// Connections that come before: what belongs to no connection is there after a few.
const WARM: usize = 200;

/// After this long a connection counts as idle.
const SILENCE: Duration = Duration::from_secs(3);

/// Prints what an idle connection costs each side of each tunnel.
pub(super) fn table(host: &Host, tunnels: &[Tunnel], out: &mut dyn Write) -> Result<()> {
    let mut lines = vec![["tunnel", "server", "agent"].map(str::to_owned).to_vec()];
    // They stay open to the end: no tunnel uses what another one's connections have left to the same process.
    let mut kept = Vec::new();
    for tunnel in tunnels {
        let [server, agent] = measure(host, tunnel, &mut kept)
            .with_context(|| format!("idle connections through {}", tunnel.name))?;
        eprintln!("idle | {}: {server} and {agent} bytes", tunnel.name);
        lines.push(vec![tunnel.name.to_owned(), server.to_string(), agent.to_string()]);
    }
    writeln!(out, "\nMemory (PSS) of an idle connection, in bytes\n")?;
    write_lines(&lines, out)
}

fn measure(host: &Host, tunnel: &Tunnel, kept: &mut Vec<TcpStream>) -> Result<[u64; 2]> {
    let many = |count: usize| (0..count).map(|_| ask(tunnel.port)).collect::<Result<Vec<_>>>();
    kept.extend(host.run(|| many(WARM))??);
    std::thread::sleep(SILENCE);
    let before = tunnel.memory()?;
    kept.extend(host.run(|| many(IDLE))??);
    std::thread::sleep(SILENCE);
    let after = tunnel.memory()?;
    Ok([0, 1].map(|side| after[side].saturating_sub(before[side]) / IDLE as u64))
}
