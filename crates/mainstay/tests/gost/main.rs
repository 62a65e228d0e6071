//! What gost's clients and visitors may count on of a hub: the real program, and a peer on the real smux and WebSocket libraries.
#![expect(clippy::disallowed_methods, reason = "what clients see is measured by the clock that they use")]

mod bed;
mod clients;
mod hostile;
mod rolling;
mod visitors;
