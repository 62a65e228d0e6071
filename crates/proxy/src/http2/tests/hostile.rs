//! Clients that mean harm.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::http2;
use crate::http1::tests::rig::{Rig, run};

#[test]
fn who_was_told_to_be_calm_and_goes_on_is_cut_off() {
    run(async {
        let rig = Rig::with(&[], http2).await;
        let mut client = TcpStream::connect(rig.addr).await.unwrap();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        // A head without end, and then the empty CONTINUATION frames of a flood.
        client.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x82").await.unwrap();
        client.write_all(&b"\0\0\0\x09\0\0\0\0\x01".repeat(10_000)).await.unwrap();
        let mut said = Vec::new();
        let calm = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
        while !said.windows(calm.len()).any(|frame| frame == calm) {
            assert!(client.read_buf(&mut said).await.unwrap() > 0, "{said:?}");
        }
        let flood = [0_u8; 65_536];
        let mut taken = 0;
        while client.write_all(&flood).await.is_ok() {
            taken += flood.len();
            // What both sockets may hold, and what is read to be polite.
            assert!(taken < 48 << 20, "there is no end to it");
        }
    });
}
