//! Memory of idle keep-alive connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

use super::peers::{Peer, Peers};
use crate::bench::write_lines;
use crate::{Host, process};

/// Connections that are opened and left alone.
const CONNECTIONS: usize = 4000;

/// Connections that come before.
const WARM: usize = 200;

/// After this long of silence a connection counts as idle.
const SILENCE: Duration = Duration::from_secs(4);

/// Opens the connections, a request over each, and prints what each holds.
pub(super) fn table(host: &Host, peers: &Peers, out: &mut dyn Write) -> Result<()> {
    let mut lines = vec![["proxy", "bytes"].map(str::to_owned).to_vec()];
    for peer in peers.all() {
        let bytes = measure(host, peer).with_context(|| format!("idle connections of {}", peer.name()))?;
        eprintln!("idle | {}: {bytes} bytes", peer.name());
        lines.push(vec![peer.name().to_owned(), bytes.to_string()]);
    }
    write_lines(&lines, out)
}

fn measure(host: &Host, peer: &Peer) -> Result<u64> {
    let port = peer.ports()[0];
    // Buffers and pools, which belong to no connection, are there after a few; these stay open, so that nothing is used twice.
    let _warm = host.run(|| open(port, WARM))??;
    std::thread::sleep(SILENCE);
    let before = memory(peer)?;
    let kept = host.run(|| open(port, CONNECTIONS))??;
    std::thread::sleep(SILENCE);
    let after = memory(peer)?;
    Ok(after.saturating_sub(before) / kept.len() as u64)
}

fn open(port: u16, count: usize) -> Result<Vec<TcpStream>> {
    let mut kept = Vec::with_capacity(count);
    let mut answer = [0; 4096];
    for number in 0..count {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("connect {number}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /api/1k HTTP/1.1\r\nHost: bench.example.com\r\n\r\n")?;
        let mut got = 0;
        while got < 1024 {
            let n = stream.read(&mut answer)?;
            anyhow::ensure!(n > 0, "connection {number} was closed");
            got += n;
        }
        kept.push(stream);
    }
    Ok(kept)
}

fn memory(peer: &Peer) -> Result<u64> {
    peer.daemon().tree()?.into_iter().map(process::memory).sum()
}
