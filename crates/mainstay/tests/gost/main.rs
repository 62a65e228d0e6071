//! What gost's clients and visitors may count on of a hub: the real program, and a peer on the real smux and WebSocket libraries.

mod bed;
mod clients;
mod hostile;
mod rolling;
mod visitors;
