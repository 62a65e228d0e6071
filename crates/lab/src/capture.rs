//! Captures: what passes an interface, as a pcap file, and as tshark reads it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use mainstay_sys::labsock::{ALL, PacketSocket};

use crate::probe::{Task, readable};
use crate::{Host, Lab, Segment};

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    task: Task<std::io::Result<()>>,
    path: PathBuf,
}

impl Capture {
    /// Captures what one interface of a host sends and hears.
    pub fn start(host: &Host, interface: &str) -> Result<Self> {
        let path = host.directory().join(format!("{interface}.pcap"));
        let socket = host.run(|| PacketSocket::open(interface, ALL))?;
        let socket = socket.with_context(|| format!("host {}: cannot capture {interface}", host.name()))?;
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let task = Task::start("lab-capture", move |stop| {
            write_header(&mut file)?;
            while !stop.load(Ordering::Relaxed) {
                copy(&socket, &mut file, stop)?;
            }
            copy(&socket, &mut file, stop)?;
            file.flush()
        })?;
        Ok(Self { task, path })
    }

    /// Captures all that reaches the bridge of a segment.
    pub fn of_segment(lab: &Lab, segment: &Segment) -> Result<Self> {
        lab.switch().ip(&format!("link set {} promisc on", segment.bridge()))?;
        Self::start(lab.switch(), segment.bridge())
    }

    /// Ends it and returns the file, which goes with the lab.
    pub fn stop(self) -> Result<PathBuf> {
        self.task.finish().context("the capture broke off")?.context("the capture could not be written")?;
        Ok(self.path)
    }
}

/// The header of a pcap file with Ethernet frames and nanoseconds (draft-ietf-opsawg-pcap).
fn write_header(file: &mut impl Write) -> std::io::Result<()> {
    const NANOSECONDS: u32 = 0xa1b2_3c4d;
    const ETHERNET: u32 = 1;
    file.write_all(&NANOSECONDS.to_ne_bytes())?;
    for half in [2_u16, 4] {
        file.write_all(&half.to_ne_bytes())?;
    }
    for word in [0_u32, 0, 65_535, ETHERNET] {
        file.write_all(&word.to_ne_bytes())?;
    }
    Ok(())
}

fn copy(socket: &PacketSocket, file: &mut impl Write, stop: &AtomicBool) -> std::io::Result<()> {
    let mut frame = vec![0_u8; 65_535];
    if !stop.load(Ordering::Relaxed) {
        readable(socket, super::probe::NAP);
    }
    while let Some(length) = socket.receive(&mut frame)? {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let length_word = u32::try_from(length).unwrap_or(u32::MAX);
        for word in [seconds, now.subsec_nanos(), length_word, length_word] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.write_all(&frame[..length])?;
    }
    Ok(())
}

/// Frames of a capture that match a display filter of tshark(1): one row each, with the named fields.
pub fn dissect(file: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-Y", filter, "-T", "fields"]);
    // Nobody's preferences, and none that can't be read.
    command.env("HOME", file.parent().unwrap_or(Path::new("/")));
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().context("cannot start tshark (package tshark)")?;
    if !output.status.success() {
        bail!("tshark: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}
