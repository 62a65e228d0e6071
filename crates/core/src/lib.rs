//! Names, codecs and state machines of Mainstay: values that never ask the time, draw lots or open anything.

pub mod arp;
mod checksum;
pub mod election;
pub mod name;
pub mod ndp;
pub mod probe;
pub mod rate;
pub mod time;
pub mod vrrp;
