//! What an operator may count on of `mainstay plugin`: the real program, a real redis, a real gRPC client (Debian's python3-grpcio),
//! curl, and connections that say what nobody should.

mod bed;
mod faults;
mod hostile;
mod node;
mod recorded;
