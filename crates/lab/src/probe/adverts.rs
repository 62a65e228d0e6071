//! Listens to the VRRP adverts that pass a segment: who claims which vrid when (RFC 9568 5.2).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_sys::labsock::{ALL, PacketSocket};

use crate::probe::{NAP, Task, readable};
use crate::{Lab, Segment};

/// A running listener.
#[derive(Debug)]
pub struct AdvertWatch {
    task: Task<()>,
    adverts: Arc<Mutex<Vec<Advert>>>,
}

/// One advert, as far as it tells who claims what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// When it passed.
    pub at: Instant,
    /// Who sent it.
    pub source: IpAddr,
    /// VRRP version.
    pub version: u8,
    /// Virtual router id.
    pub vrid: u8,
    /// Priority; 0 says farewell.
    pub priority: u8,
}

impl AdvertWatch {
    /// Listens on the bridge of `segment`, to unicast too. A cut doesn't hide adverts from it: it hears what reaches the
    /// bridge.
    pub fn start(lab: &Lab, segment: &Segment) -> Result<Self> {
        lab.switch().ip(&format!("link set {} promisc on", segment.bridge()))?;
        let socket = lab.switch().run(|| PacketSocket::open(segment.bridge(), ALL))?;
        let socket = socket.with_context(|| format!("cannot listen on segment {}", segment.bridge()))?;
        let adverts = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&adverts);
        let task = Task::start("lab-adverts", move |stop| listen(&socket, &shared, stop))?;
        Ok(Self { task, adverts })
    }

    /// The adverts so far.
    pub fn adverts(&self) -> Vec<Advert> {
        self.adverts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it and returns all adverts.
    pub fn stop(self) -> Vec<Advert> {
        let Self { task, adverts } = self;
        task.finish();
        std::mem::take(&mut *adverts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How often, within `window`, `source` began to claim a vrid: its first advert after a silence of `quiet` or more.
pub fn takeovers(adverts: &[Advert], source: IpAddr, quiet: Duration, window: &Range<Instant>) -> usize {
    let mut last: BTreeMap<u8, Instant> = BTreeMap::new();
    let mut count = 0;
    for advert in adverts.iter().filter(|advert| advert.source == source && advert.priority > 0) {
        let before = last.insert(advert.vrid, advert.at);
        let begins = before.is_none_or(|before| advert.at - before >= quiet);
        count += usize::from(begins && window.contains(&advert.at));
    }
    count
}

fn listen(socket: &PacketSocket, adverts: &Mutex<Vec<Advert>>, stop: &AtomicBool) {
    let mut buffer = [0_u8; 2048];
    while !stop.load(Ordering::Relaxed) {
        if !readable(socket, NAP) {
            continue;
        }
        while let Ok(Some(length)) = socket.receive(&mut buffer) {
            if let Some(advert) = parse(&buffer[..length], Instant::now()) {
                adverts.lock().unwrap_or_else(PoisonError::into_inner).push(advert);
            }
        }
    }
}

/// The advert in an Ethernet frame, if there is one.
fn parse(frame: &[u8], at: Instant) -> Option<Advert> {
    const VRRP: u8 = 112;
    let packet = frame.get(14..)?;
    let (source, message): (IpAddr, &[u8]) = match frame.get(12..14)? {
        [0x08, 0x00] if *packet.get(9)? == VRRP => {
            let header = usize::from(packet.first()? & 15) * 4;
            (<[u8; 4]>::try_from(packet.get(12..16)?).ok()?.into(), packet.get(header..)?)
        }
        [0x86, 0xdd] if *packet.get(6)? == VRRP => {
            (<[u8; 16]>::try_from(packet.get(8..24)?).ok()?.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let [kind, vrid, priority, ..] = message else { return None };
    Some(Advert { at, source, version: kind >> 4, vrid: *vrid, priority: *priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advert_of_version_3_is_read_from_its_frame() {
        let mut frame = vec![0_u8; 14 + 20 + 12];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[23] = 112;
        frame[26..30].copy_from_slice(&[10, 0, 4, 21]);
        frame[34..37].copy_from_slice(&[0x31, 51, 150]);
        let at = Instant::now();
        let advert = parse(&frame, at).expect("a whole advert");
        assert_eq!(advert, Advert { at, source: [10, 0, 4, 21].into(), version: 3, vrid: 51, priority: 150 });
        assert_eq!(parse(&frame[..35], at), None);
    }

    #[test]
    fn a_takeover_is_the_first_claim_after_a_silence_and_a_farewell_is_none() {
        let start = Instant::now();
        let advert = |at: u64, priority: u8| Advert {
            at: start + Duration::from_millis(at),
            source: [10, 0, 0, 2].into(),
            version: 3,
            vrid: 1,
            priority,
        };
        let heard = [advert(0, 0), advert(5, 100), advert(15, 100), advert(25, 0), advert(100, 100)];
        let window = start..start + Duration::from_secs(1);
        assert_eq!(takeovers(&heard, [10, 0, 0, 2].into(), Duration::from_millis(50), &window), 2);
        assert_eq!(takeovers(&heard, [10, 0, 0, 1].into(), Duration::from_millis(50), &window), 0);
    }
}
