//! A message between hubs as bytes: its length (2 bytes, big endian), its type, a byte to spare, then fields.

use thiserror::Error;

use super::{AGENTS_MAX, About, Agent, Gost, HOST_MAX, HOSTS_MAX, Message, Offers, TROUBLE_MAX};
use crate::tunnel::fields::{Broken, Fields, put, text};
use crate::tunnel::hello::{LIST_MAX, NAME_MAX, TEXT_MAX};

/// Bytes before the fields.
pub const HEAD: usize = 4;

/// The longest message, its head included.
pub const MESSAGE_MAX: usize = HEAD + u16::MAX as usize;

const HUB: u8 = 1;
const TUNNEL: u8 = 2;

const HUB_URL: u8 = 1;
const HUB_LEAVING: u8 = 2;

const TUNNEL_ID: u8 = 1;
const TUNNEL_AGENT: u8 = 2;
const TUNNEL_GOST: u8 = 3;
const TUNNEL_HOST: u8 = 4;

const BYTES: u8 = 1;
const DATAGRAMS: u8 = 2;

const PRIVATE: u8 = 1;

/// Why bytes are no message between hubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// Fields that break off, or hold something else than they should.
    #[error("a message of a hub cannot be read")]
    Broken,
    /// A list that is too long.
    #[error("a hub tells of more than there may be")]
    List,
}

impl From<Broken> for Wrong {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// A message as bytes. Of what is too long as much is said as may be.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = vec![0; HEAD];
    match message {
        Message::Hub(about) => {
            out[2] = HUB;
            for url in about.urls.iter().filter(|url| fits(url, TEXT_MAX)).take(LIST_MAX) {
                put(&mut out, HUB_URL, url.as_bytes());
            }
            if about.leaving {
                put(&mut out, HUB_LEAVING, &[1]);
            }
        }
        Message::Tunnel(offers) => {
            out[2] = TUNNEL;
            put(&mut out, TUNNEL_ID, offers.tunnel.as_bytes());
            for agent in offers.agents.iter().filter(|agent| is_name(&agent.name)).take(AGENTS_MAX) {
                put(&mut out, TUNNEL_AGENT, &agent_bytes(agent));
            }
            if let Some(gost) = &offers.gost {
                put(&mut out, TUNNEL_GOST, &[if gost.private { PRIVATE } else { 0 }]);
                for host in gost.hosts.iter().filter(|host| is_host(host)).take(HOSTS_MAX) {
                    put(&mut out, TUNNEL_HOST, host.as_bytes());
                }
            }
        }
    }
    let length = u16::try_from(out.len() - HEAD).expect("the bounds of lists and texts keep it below 64 KiB");
    out[..2].copy_from_slice(&length.to_be_bytes());
    out
}

/// Flags 1, weight 4, name behind its length, trouble behind its length; when they are said run 8, load 4.
fn agent_bytes(agent: &Agent) -> Vec<u8> {
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    let mut out = vec![flag(agent.bytes, BYTES) | flag(agent.datagrams, DATAGRAMS)];
    out.extend(agent.weight.to_be_bytes());
    let trouble: String =
        agent.trouble.iter().flat_map(|text| text.chars()).filter(|c| !c.is_control()).collect();
    let end = (0..=trouble.len().min(TROUBLE_MAX)).rev().find(|end| trouble.is_char_boundary(*end));
    let trouble = match &agent.trouble {
        // One that has no words is trouble all the same.
        Some(_) if trouble.is_empty() => "it says no more",
        Some(_) | None => &trouble[..end.unwrap_or(0)],
    };
    for part in [agent.name.as_bytes(), trouble.as_bytes()] {
        out.push(u8::try_from(part.len()).expect("names and sentences are shorter than 256 bytes"));
        out.extend_from_slice(part);
    }
    if (agent.run, agent.load) != (0, 0) {
        out.extend(agent.run.to_be_bytes());
        out.extend(agent.load.to_be_bytes());
    }
    out
}

/// Messages out of a stream of bytes, however these are cut.
#[derive(Clone, Debug, Default)]
pub struct Reader(Vec<u8>);

impl Reader {
    /// Takes what has come. What is kept is less than one message, as long as [`Self::take`] is called until it has none.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message; messages of a type that is not known are skipped.
    ///
    /// # Errors
    /// When the bytes contradict themselves: nothing that follows can be read.
    pub fn take(&mut self) -> Result<Option<Message>, Wrong> {
        loop {
            let Some(&[a, b, kind, _]) = self.0.first_chunk::<HEAD>() else { return Ok(None) };
            let end = HEAD + usize::from(u16::from_be_bytes([a, b]));
            if self.0.len() < end {
                return Ok(None);
            }
            let message = parse(kind, &self.0[HEAD..end]);
            self.0.drain(..end);
            if let Some(message) = message? {
                return Ok(Some(message));
            }
        }
    }
}

fn parse(kind: u8, body: &[u8]) -> Result<Option<Message>, Wrong> {
    match kind {
        HUB => about(body).map(|about| Some(Message::Hub(about))),
        TUNNEL => offers(body).map(|offers| Some(Message::Tunnel(offers))),
        _ => Ok(None),
    }
}

fn about(body: &[u8]) -> Result<About, Wrong> {
    let mut about = About::default();
    for field in Fields(body) {
        let (kind, bytes) = field?;
        match kind {
            HUB_URL if about.urls.len() == LIST_MAX => return Err(Wrong::List),
            HUB_URL => about.urls.push(text(bytes, TEXT_MAX)?),
            HUB_LEAVING => about.leaving = true,
            _ => {}
        }
    }
    Ok(about)
}

fn offers(body: &[u8]) -> Result<Offers, Wrong> {
    let mut offers = Offers::default();
    for field in Fields(body) {
        let (kind, bytes) = field?;
        match kind {
            TUNNEL_ID => offers.tunnel = name(bytes)?,
            TUNNEL_AGENT if offers.agents.len() == AGENTS_MAX => return Err(Wrong::List),
            TUNNEL_AGENT => offers.agents.push(agent(bytes)?),
            TUNNEL_GOST => {
                let flags = bytes.first().ok_or(Wrong::Broken)?;
                offers.gost.get_or_insert_default().private = flags & PRIVATE != 0;
            }
            TUNNEL_HOST => {
                let hosts = &mut offers.gost.get_or_insert_with(Gost::default).hosts;
                if hosts.len() == HOSTS_MAX {
                    return Err(Wrong::List);
                }
                let host = text(bytes, HOST_MAX)?;
                hosts.push(if host.is_empty() { return Err(Wrong::Broken) } else { host });
            }
            _ => {}
        }
    }
    if offers.tunnel.is_empty() { Err(Wrong::Broken) } else { Ok(offers) }
}

fn agent(bytes: &[u8]) -> Result<Agent, Wrong> {
    let (&[flags, a, b, c, d], rest) = bytes.split_first_chunk::<5>().ok_or(Wrong::Broken)?;
    let (called, rest) = behind_length(rest)?;
    let (trouble, rest) = behind_length(rest)?;
    let trouble = text(trouble, TROUBLE_MAX)?;
    let (run, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let (load, _) = rest.split_first_chunk().unwrap_or((&[0; 4], &[]));
    Ok(Agent {
        name: name(called)?,
        bytes: flags & BYTES != 0,
        datagrams: flags & DATAGRAMS != 0,
        weight: u32::from_be_bytes([a, b, c, d]).max(1),
        trouble: Some(trouble).filter(|text| !text.is_empty()),
        run: u64::from_be_bytes(*run),
        load: u32::from_be_bytes(*load),
    })
}

fn behind_length(bytes: &[u8]) -> Result<(&[u8], &[u8]), Wrong> {
    let (&length, rest) = bytes.split_first().ok_or(Wrong::Broken)?;
    rest.split_at_checked(length.into()).ok_or(Wrong::Broken)
}

fn name(bytes: &[u8]) -> Result<String, Wrong> {
    let name = text(bytes, NAME_MAX)?;
    if name.is_empty() { Err(Wrong::Broken) } else { Ok(name) }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && fits(name, NAME_MAX)
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && fits(host, HOST_MAX)
}

fn fits(text: &str, most: usize) -> bool {
    text.len() <= most && !text.chars().any(char::is_control)
}
