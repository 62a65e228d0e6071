//! Names, codecs and state machines of Mainstay: values that never ask the time, draw lots or open anything.

pub mod arbitration;
pub mod arp;
pub mod balance;
mod checksum;
pub mod conflict;
pub mod election;
pub mod gost;
pub mod hello;
pub mod http1;
pub mod http2;
pub mod lease;
pub mod name;
pub mod ndp;
pub mod net;
pub mod path;
pub mod peer;
pub mod probe;
pub mod proxy_header;
pub mod rate;
pub mod real_ip;
pub mod resp;
pub mod time;
pub mod tunnel;
pub mod vrrp;
