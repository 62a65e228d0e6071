//! The relay protocol's messages: a version, a command or a status, and features.
//!
//! `01 | word | length 2 | features`, each feature `type 1 | length 2 | value`, numbers big-endian. A request's word is a command,
//! an answer's a status. Features of types that are not known are skipped and counted, which gost itself does not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

/// The only version there is.
const VERSION: u8 = 1;

/// The longest features of a message that are taken; what gost sends has at most some 1,100 bytes.
pub const FEATURES_MAX: usize = 8 << 10;

/// What stands before the features.
const HEAD: usize = 4;

/// A flag of a command: datagrams. Older clients say it so, later ones by a feature too.
const DATAGRAMS: u8 = 0x80;

mod feature {
    pub(super) const LOGIN: u8 = 1;
    pub(super) const ADDR: u8 = 2;
    pub(super) const TUNNEL: u8 = 3;
    pub(super) const NETWORK: u8 = 4;
}

mod atyp {
    pub(super) const V4: u8 = 1;
    pub(super) const NAME: u8 = 3;
    pub(super) const V6: u8 = 4;
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// Another version, or another protocol.
    #[error("its first byte is {0}, which is no version of the relay protocol")]
    Version(u8),
    /// More features than anybody sends.
    #[error("its features have {0} bytes, more than {FEATURES_MAX}")]
    Long(usize),
    /// A feature that breaks off.
    #[error("its features break off within one")]
    Cut,
    /// A feature that is known and cannot be read.
    #[error("its feature of type {0} cannot be read")]
    Feature(u8),
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A stream to a tunnel.
    Connect,
    /// To be a tunnel's end.
    Bind,
    /// Datagrams for anybody, which tunnels have no use for.
    Associate,
    /// Something else.
    Other(u8),
}

impl Command {
    /// What a request's word means; the flags in its upper half are not looked at.
    #[must_use]
    pub const fn of(word: u8) -> Self {
        match word & 0x0f {
            1 => Self::Connect,
            2 => Self::Bind,
            3 => Self::Associate,
            other => Self::Other(other),
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Connect => 1,
            Self::Bind => 2,
            Self::Associate => 3,
            Self::Other(number) => number & 0x0f,
        }
    }
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Status {
    /// It is granted.
    #[error("granted")]
    Ok,
    /// It cannot be read, or means nothing.
    #[error("the request is none that it knows")]
    BadRequest,
    /// The user or the password is wrong.
    #[error("the user or the password is wrong")]
    Unauthorized,
    /// It is not allowed.
    #[error("it is not allowed")]
    Forbidden,
    /// It took too long.
    #[error("it took too long")]
    Timeout,
    /// Nobody is there to serve it.
    #[error("no client serves the tunnel")]
    Unavailable,
    /// No tunnel is behind the host, or not this one.
    #[error("the host leads to no such tunnel")]
    HostUnreachable,
    /// No tunnel is behind the host.
    #[error("the host leads to no tunnel")]
    NetworkUnreachable,
    /// A mistake of who answers.
    #[error("the server made a mistake")]
    Internal,
    /// A status that is not known.
    #[error("status {0}")]
    Other(u8),
}

impl Status {
    /// What an answer's word means.
    #[must_use]
    pub const fn of(word: u8) -> Self {
        match word {
            0 => Self::Ok,
            1 => Self::BadRequest,
            2 => Self::Unauthorized,
            3 => Self::Forbidden,
            4 => Self::Timeout,
            5 => Self::Unavailable,
            6 => Self::HostUnreachable,
            7 => Self::NetworkUnreachable,
            8 => Self::Internal,
            other => Self::Other(other),
        }
    }

    /// As the wire has it.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::BadRequest => 1,
            Self::Unauthorized => 2,
            Self::Forbidden => 3,
            Self::Timeout => 4,
            Self::Unavailable => 5,
            Self::HostUnreachable => 6,
            Self::NetworkUnreachable => 7,
            Self::Internal => 8,
            Self::Other(number) => number,
        }
    }
}

/// A user and a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The name, at most 255 bytes.
    pub user: String,
    /// The password, at most 255 bytes.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A host, as an address or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name of at most 255 bytes; empty when nothing was named.
    Name(String),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addr {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Addr {
    /// No host and no port, as `:0` is sent.
    pub const NONE: Self = Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port: 0 };

    /// A name and a port; a name that is an address becomes one.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.parse().map_or_else(|_| Host::Name(host.to_owned()), Host::Ip);
        Self { host, port }
    }

    /// The name, when it has one that is not empty.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) if !name.is_empty() => Some(name),
            Host::Name(_) | Host::Ip(_) => None,
        }
    }

    /// The address, when it is one.
    #[must_use]
    pub const fn socket(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => {
                out.push(atyp::V4);
                out.extend(ip.octets());
            }
            Host::Ip(IpAddr::V6(ip)) => {
                out.push(atyp::V6);
                out.extend(ip.octets());
            }
            Host::Name(name) => {
                out.push(atyp::NAME);
                short(out, name);
            }
        }
        out.extend(self.port.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        let (host, rest) = match kind {
            atyp::V4 => {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                (Host::Ip(IpAddr::from(*ip)), rest)
            }
            atyp::V6 => {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                (Host::Ip(IpAddr::from(*ip)), rest)
            }
            atyp::NAME => {
                let (name, rest) = text(rest)?;
                (Host::Name(name), rest)
            }
            _ => return None,
        };
        let (port, _) = rest.split_first_chunk::<2>()?;
        Some(Self { host, port: u16::from_be_bytes(*port) })
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Self {
        Self { host: Host::Ip(addr.ip()), port: addr.port() }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// A tunnel, or one of its clients: a UUID with what was said of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Id {
    /// The UUID.
    pub uuid: [u8; 16],
    /// Of a tunnel: 0x80 is private. Of a client: 1 is datagrams.
    pub flags: u8,
    /// How many connections it wants beside others: 0 is 1, 255 is all.
    pub weight: u8,
}

impl Id {
    /// The flag of a private tunnel.
    pub const PRIVATE: u8 = 0x80;
    /// The flag of a client of datagrams.
    pub const DATAGRAMS: u8 = 1;

    /// Whether nobody was named: no tunnel has this one.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.uuid == [0; 16]
    }

    /// Whether only visitors that know it reach it.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.flags & Self::PRIVATE != 0
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend(self.uuid);
        out.extend([self.flags, 0, 0, self.weight]);
    }

    /// The first versions sent the UUID alone.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (uuid, rest) = bytes.split_first_chunk::<16>()?;
        let at = |n: usize| rest.get(n).copied().unwrap_or_default();
        Some(Self { uuid: *uuid, flags: at(0), weight: at(3) })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.uuid.iter().enumerate() {
            if matches!(n, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} flags {:#x} weight {}", self.flags, self.weight)
    }
}

/// A text that is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("write a UUID as 381433e1-7980-11ee-bbdb-60f262c1e32d, with $ before it when it is private")]
pub struct NoId;

impl FromStr for Id {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (flags, text) = text.strip_prefix('$').map_or((0, text), |text| (Self::PRIVATE, text));
        let bytes = text.as_bytes();
        let dashes = [8, 13, 18, 23];
        if bytes.len() != 36 || dashes.iter().any(|at| bytes[*at] != b'-') {
            return Err(NoId);
        }
        let mut uuid = [0; 16];
        let digits: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'-').collect();
        if digits.len() != 32 {
            return Err(NoId);
        }
        let value = |digit: u8| char::from(digit).to_digit(16).ok_or(NoId);
        for (byte, two) in uuid.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = (value(two[0])? * 16 + value(two[1])?) as u8;
        }
        Ok(Self { uuid, flags, weight: 0 })
    }
}

/// What streams carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes.
    Tcp,
    /// Datagrams.
    Udp,
    /// Something that tunnels have no use for.
    Other(u16),
}

/// A feature of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Who asks.
    Login(Login),
    /// An address: where it comes from first, what it wants second.
    Addr(Addr),
    /// The tunnel; of an answer, the client's own number.
    Tunnel(Id),
    /// What streams carry.
    Network(Network),
}

impl Feature {
    fn write(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::Login(_) => feature::LOGIN,
            Self::Addr(_) => feature::ADDR,
            Self::Tunnel(_) => feature::TUNNEL,
            Self::Network(_) => feature::NETWORK,
        };
        let begun = out.len();
        out.extend([kind, 0, 0]);
        match self {
            Self::Login(Login { user, password }) => {
                short(out, user);
                short(out, password);
            }
            Self::Addr(addr) => addr.write(out),
            Self::Tunnel(id) => id.write(out),
            Self::Network(network) => {
                let number: u16 = match network {
                    Network::Tcp => 0,
                    Network::Udp => 1,
                    Network::Other(number) => *number,
                };
                out.extend(number.to_be_bytes());
            }
        }
        let len = (out.len() - begun - 3) as u16;
        out[begun + 1..begun + 3].copy_from_slice(&len.to_be_bytes());
    }

    /// `None` of a type that is not known.
    fn read(kind: u8, bytes: &[u8]) -> Result<Option<Self>, Broken> {
        let read = match kind {
            feature::LOGIN => text(bytes).and_then(|(user, rest)| {
                let (password, _) = text(rest)?;
                Some(Self::Login(Login { user, password }))
            }),
            feature::ADDR => Addr::read(bytes).map(Self::Addr),
            feature::TUNNEL => Id::read(bytes).map(Self::Tunnel),
            feature::NETWORK => bytes.first_chunk().map(|number| {
                Self::Network(match u16::from_be_bytes(*number) {
                    0 => Network::Tcp,
                    1 => Network::Udp,
                    other => Network::Other(other),
                })
            }),
            _ => return Ok(None),
        };
        read.map(Some).ok_or(Broken::Feature(kind))
    }
}

/// A request, or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A command with its flags, or a status.
    pub word: u8,
    /// What it says.
    pub features: Vec<Feature>,
    /// How many features were of a type that is not known.
    pub skipped: usize,
}

impl Message {
    /// A request. That it is for datagrams is said in both ways.
    #[must_use]
    pub fn request(command: Command, network: Network, mut features: Vec<Feature>) -> Self {
        let flag = if network == Network::Udp { DATAGRAMS } else { 0 };
        if network != Network::Tcp {
            features.insert(0, Feature::Network(network));
        }
        Self { word: command.number() | flag, features, skipped: 0 }
    }

    /// An answer.
    #[must_use]
    pub const fn answer(status: Status, features: Vec<Feature>) -> Self {
        Self { word: status.number(), features, skipped: 0 }
    }

    /// What streams shall carry: what the feature says, or the command's flag.
    #[must_use]
    pub fn network(&self) -> Network {
        let said = self.features.iter().rev().find_map(|feature| match feature {
            Feature::Network(network) => Some(*network),
            Feature::Login(_) | Feature::Addr(_) | Feature::Tunnel(_) => None,
        });
        match said {
            Some(Network::Tcp) | None if self.word & DATAGRAMS != 0 => Network::Udp,
            Some(network) => network,
            None => Network::Tcp,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.word, 0, 0];
        self.features.iter().for_each(|feature| feature.write(&mut out));
        let len = (out.len() - HEAD) as u16;
        out[2..HEAD].copy_from_slice(&len.to_be_bytes());
        out
    }

    fn read(word: u8, mut bytes: &[u8]) -> Result<Self, Broken> {
        let mut message = Self { word, features: Vec::new(), skipped: 0 };
        while !bytes.is_empty() {
            let (&[kind, a, b], rest) = bytes.split_first_chunk::<3>().ok_or(Broken::Cut)?;
            let (value, rest) =
                rest.split_at_checked(u16::from_be_bytes([a, b]).into()).ok_or(Broken::Cut)?;
            match Feature::read(kind, value)? {
                Some(feature) => message.features.push(feature),
                None => message.skipped += 1,
            }
            bytes = rest;
        }
        Ok(message)
    }
}

/// Puts a message together from pieces, and takes no byte behind it.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Vec<u8>,
}

impl Reader {
    /// How many bytes it takes before it can say more; never more than what belongs to the message.
    #[must_use]
    pub fn wants(&self) -> usize {
        match self.kept.first_chunk::<HEAD>() {
            None => HEAD - self.kept.len(),
            Some(&[_, _, a, b]) => HEAD + usize::from(u16::from_be_bytes([a, b])) - self.kept.len(),
        }
    }

    /// Takes bytes off `input`; the message, once it is there.
    ///
    /// # Errors
    /// When it cannot be read: nothing that follows can be, either.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Broken> {
        loop {
            let (bytes, rest) = input.split_at(self.wants().min(input.len()));
            self.kept.extend_from_slice(bytes);
            *input = rest;
            match self.kept.first() {
                Some(&version) if version != VERSION => return Err(Broken::Version(version)),
                Some(_) | None => {}
            }
            let Some((&[_, word, a, b], features)) = self.kept.split_first_chunk::<HEAD>() else {
                return Ok(None);
            };
            let len = usize::from(u16::from_be_bytes([a, b]));
            if len > FEATURES_MAX {
                return Err(Broken::Long(len));
            }
            if features.len() == len {
                let message = Message::read(word, features);
                self.kept = Vec::new();
                return message.map(Some);
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
    }
}

/// A text behind its length in one byte; one that is too long is the caller's mistake and is cut off.
fn short(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (bytes, rest) = rest.split_at_checked(len.into())?;
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then(|| (text.to_owned(), rest))
}
