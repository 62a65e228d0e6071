//! What an operator may count on of `mainstay plugin`: the real program, a real redis, a real gRPC client (Debian's python3-grpcio),
//! curl, and connections that say what nobody should.
#![expect(clippy::disallowed_methods, reason = "what callers see is measured by the clock that they use")]

mod bed;
mod faults;
mod hostile;
mod node;
mod recorded;
