//! Clients that mean harm.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{client_with, get, http2};
use crate::http1::tests::rig::{Rig, Scripted, run};

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

#[test]
fn who_takes_nothing_in_is_given_up() {
    run(async {
        let backend = Scripted::answers(
            "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n0123456789012345678901234567890123456789",
        )
        .await;
        let rig = Rig::with(&[backend.addr], |edge| {
            http2(edge);
            edge.listeners[0].http.send_timeout = Duration::from_millis(60);
        })
        .await;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(10);
        let mut client = client_with(&rig, builder).await;
        let (response, _) = client.send_request(get("/"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "0123456789");
        let error = body.data().await.unwrap().unwrap_err();
        assert!(error.is_reset(), "{error}");
    });
}
