//! Authenticated, encrypted sessions between the nodes of a cluster (docs/internals/peers.md): datagrams in, datagrams
//! out, the time is given, no socket is opened.
//!
//! [`Sessions`] holds one session to each peer over all its wires at once: what is sent goes over every wire, what
//! comes is taken once. Static keys are pinned ([`Keys`]); the cluster key, or a token, only enrols,
//! and nodes that are known answer for a newcomer's key to each other.

mod enrol;
mod event;
mod house;
pub mod keys;
mod limit;
mod noise;
mod packet;
mod peer;
mod session;
mod sessions;
pub mod tunnel;
mod view;
mod vouch;
mod window;

pub use event::{Event, Intrusion, Means, Refusal};
pub use house::{Causes, Transmit};
pub use keys::{Keys, Secret};
pub use noise::{Entropy, SystemEntropy};
pub use packet::{DATAGRAM, DATAGRAM_MAX};
pub use sessions::{Config, Heard, Local, PeerSpec, Sessions, Token};
pub use view::{LinkView, PeerView, SessionView, WireView};
