//! A client, an edge and the hosts behind it on one segment, and what a client says and hears.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::Mainstay;
use mainstay_lab::{Host, Lab, Segment, wait_until};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("MAINSTAY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mainstay").into(), PathBuf::from)
}

/// One segment that everybody is on.
pub(crate) struct Ground {
    pub(crate) lab: Lab,
    pub(crate) lan: Segment,
}

impl Ground {
    pub(crate) fn lay(name: &str) -> Result<Self> {
        let lab = Lab::new(name)?;
        let lan = lab.segment("lan")?;
        Ok(Self { lab, lan })
    }

    /// A host with these addresses, with prefix lengths.
    pub(crate) fn host(&self, name: &str, addrs: &[&str]) -> Result<Host> {
        let host = self.lab.host(name)?;
        host.plug(&self.lan, "eth0", addrs)?;
        Ok(host)
    }
}

/// What `mainstay import nginx` makes of a file on this host, with nothing dropped.
pub(crate) fn import(host: &Host, file: &Path, more: &[&str]) -> Result<String> {
    let text = file.to_string_lossy();
    let arguments: Vec<&str> =
        ["import", "nginx"].into_iter().chain(more.iter().copied()).chain([&*text]).collect();
    let output = Mainstay::ctl_on(host, &binary(), &arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the import of {}: {said}", file.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// Writes a file below the host's folder and returns its path.
pub(crate) fn write(host: &Host, name: &str, text: &str) -> Result<PathBuf> {
    let path = host.directory().join(name);
    fs::create_dir_all(path.parent().context("it has a folder")?)?;
    fs::write(&path, text)?;
    Ok(path)
}

/// Starts a node and waits until each of `ports` takes connections.
pub(crate) fn start(host: &Host, toml: &str, ports: &[SocketAddr]) -> Result<Mainstay> {
    let node = Mainstay::start(host, &binary(), toml)?;
    for port in ports {
        node_opens(host, &node, *port)?;
    }
    Ok(node)
}

fn node_opens(host: &Host, node: &Mainstay, port: SocketAddr) -> Result<()> {
    let open = || host.run(|| TcpStream::connect_timeout(&port, Duration::from_secs(1)).is_ok());
    let opened = wait_until(&format!("{port} takes connections"), LIMIT, open);
    opened.with_context(|| mainstay_lab::peer::Keeper::daemon(node).log_tail())
}

/// Sends bytes and returns all that comes back until the end.
pub(crate) fn talk(host: &Host, to: SocketAddr, bytes: &[u8]) -> Result<String> {
    let answer = host.run(|| -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    })??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A GET over a connection of its own: status line and headers, then body.
pub(crate) fn get(
    host: &Host,
    to: SocketAddr,
    path: &str,
    name: &str,
    more: &str,
) -> Result<(String, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n{more}Connection: close\r\n\r\n");
    let answer = talk(host, to, request.as_bytes())?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("an answer, not {answer:?}"))?;
    Ok((head.to_owned(), body.to_owned()))
}
