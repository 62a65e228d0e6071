//! Sessions over QUIC on loopback: streams, datagrams, loss, a caller that moves, datagrams that come in at another endpoint.

mod quic {
    mod bed;
    mod moves;
    mod streams;
}
