//! Sessions over QUIC on loopback: streams, datagrams, loss, a caller that moves, datagrams that come in at another endpoint.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shows where")]

mod quic {
    mod bed;
    mod moves;
    mod streams;
}
