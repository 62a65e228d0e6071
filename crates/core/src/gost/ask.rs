//! What the one request of a connection means, and what is answered.

use std::net::{IpAddr, Ipv4Addr};

use super::relay::{Addr, Command, Feature, Host, Id, Login, Message, Network, Status};
use crate::tunnel::Kind;

/// What a client wants of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To serve a tunnel: the connection becomes a session.
    Bind(Bind),
    /// A stream through a tunnel: the connection becomes that stream.
    Connect(Connect),
}

/// A client that serves a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The tunnel, and the client's weight in it.
    pub tunnel: Id,
    /// What streams carry.
    pub kind: Kind,
    /// Where it comes from, as it sees it.
    pub source: Option<Addr>,
    /// The host that it wants to be reached under beside the generated one, and a port that means nothing.
    pub wanted: Addr,
    /// Who it is.
    pub login: Option<Login>,
}

impl Bind {
    /// The host of its own that it wants, when it named one.
    #[must_use]
    pub fn own_host(&self) -> Option<&str> {
        self.wanted.name()
    }
}

/// A visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The tunnel that it wants.
    pub tunnel: Id,
    /// What the stream carries.
    pub kind: Kind,
    /// Who visits, as it is told.
    pub source: Option<Addr>,
    /// The host that it wants behind the tunnel.
    pub target: Addr,
    /// Who it is.
    pub login: Option<Login>,
}

/// What a server grants a client that serves a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Under which host it is reached: the first label of the generated one, or its own.
    pub at: Addr,
    /// This client's own number, and its weight.
    pub connector: Id,
}

impl Ask {
    /// What a request means.
    ///
    /// # Errors
    /// The status that it is to be answered with.
    pub fn read(message: &Message) -> Result<Self, Status> {
        let (mut source, mut target, mut tunnel, mut login) = (None, None, None, None);
        for feature in &message.features {
            match feature {
                Feature::Login(said) => login = Some(said.clone()),
                Feature::Addr(addr) if source.is_none() => source = Some(addr.clone()),
                Feature::Addr(addr) => target = Some(addr.clone()),
                Feature::Tunnel(id) => tunnel = Some(*id),
                Feature::Network(_) => {}
            }
        }
        let kind = match message.network() {
            Network::Tcp => Kind::Bytes,
            Network::Udp => Kind::Datagrams,
            Network::Other(_) => return Err(Status::BadRequest),
        };
        let tunnel = tunnel.filter(|id| !id.is_zero()).ok_or(Status::BadRequest)?;
        let target = target.unwrap_or(Addr::NONE);
        match Command::of(message.word) {
            Command::Bind => Ok(Self::Bind(Bind { tunnel, kind, source, wanted: target, login })),
            Command::Connect => Ok(Self::Connect(Connect { tunnel, kind, source, target, login })),
            Command::Associate | Command::Other(_) => Err(Status::BadRequest),
        }
    }

    /// The request.
    #[must_use]
    pub fn message(&self) -> Message {
        let (command, kind, login, source, target, tunnel) = match self {
            Self::Bind(b) => (Command::Bind, b.kind, &b.login, &b.source, &b.wanted, b.tunnel),
            Self::Connect(c) => (Command::Connect, c.kind, &c.login, &c.source, &c.target, c.tunnel),
        };
        let mut features: Vec<Feature> = login.iter().cloned().map(Feature::Login).collect();
        // The first address is where it comes from: the second has no place without it.
        features.push(Feature::Addr(source.clone().unwrap_or(Addr::NONE)));
        features.push(Feature::Addr(target.clone()));
        features.push(Feature::Tunnel(tunnel));
        Message::request(command, network(kind), features)
    }

    /// Who asks.
    #[must_use]
    pub const fn login(&self) -> Option<&Login> {
        match self {
            Self::Bind(bind) => bind.login.as_ref(),
            Self::Connect(connect) => connect.login.as_ref(),
        }
    }
}

const fn network(kind: Kind) -> Network {
    match kind {
        Kind::Bytes => Network::Tcp,
        Kind::Datagrams => Network::Udp,
    }
}

impl Grant {
    /// Of a client, with a number that nobody else has: its weight and what it carries stand in it.
    #[must_use]
    pub fn new(bind: &Bind, host: &str, connector: [u8; 16]) -> Self {
        let flags = match bind.kind {
            Kind::Bytes => 0,
            Kind::Datagrams => Id::DATAGRAMS,
        };
        let connector = Id { uuid: connector, flags, weight: bind.tunnel.weight };
        Self { at: Addr::new(host, bind.wanted.port), connector }
    }

    /// The answer.
    #[must_use]
    pub fn message(&self) -> Message {
        let features = vec![Feature::Addr(self.at.clone()), Feature::Tunnel(self.connector)];
        Message::answer(Status::Ok, features)
    }

    /// What an answer grants; what it leaves out is nothing.
    ///
    /// # Errors
    /// Why it grants nothing.
    pub fn read(message: &Message) -> Result<Self, Status> {
        granted(message)?;
        let mut grant = Self { at: Addr::NONE, connector: Id::default() };
        for feature in &message.features {
            match feature {
                Feature::Addr(addr) => grant.at = addr.clone(),
                Feature::Tunnel(id) => grant.connector = *id,
                Feature::Login(_) | Feature::Network(_) => {}
            }
        }
        Ok(grant)
    }
}

/// Whether an answer says yes.
pub(super) fn granted(message: &Message) -> Result<(), Status> {
    match Status::of(message.word) {
        Status::Ok => Ok(()),
        status => Err(status),
    }
}

/// What stands before a stream that a visitor's connection became: who visits, and what it asked for.
pub(super) fn header(visitor: Option<std::net::SocketAddr>, target: Addr) -> Message {
    // A client that cannot make an address of the first one gives the whole session up.
    let none = Addr { host: Host::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port: 0 };
    let visitor = visitor.map_or(none, Addr::from);
    Message::answer(Status::Ok, vec![Feature::Addr(visitor), Feature::Addr(target)])
}
