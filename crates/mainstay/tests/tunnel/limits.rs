//! What bounds a tunnel, with the real agent: connections at once, new ones, bytes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use mainstay_lab::peer::Keeper as _;
use mainstay_sys::clock::boot_now;

use crate::bed::{Bed, LIMIT, reload, talk};
use crate::role::start;

const PORT: &str = "10.0.4.20:8022";

/// A connection through the tunnel that has been answered once and stays open.
fn held(bed: &Bed) -> Result<TcpStream> {
    let at: SocketAddr = PORT.parse()?;
    let mut stream = bed.client.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    ensure!(stream.read(&mut [0; 4096])? > 0, "it was closed at once");
    Ok(stream)
}

#[test]
fn a_tunnel_has_as_many_connections_at_once_as_it_may_and_one_more_when_one_ends() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let hub = bed.start(&bed.config(&format!("tcp = [\"{PORT}\"]\nstreams = 2")))?;
        let _agent = start(&bed, 0, "")?;
        let (first, _second) = (held(&bed)?, held(&bed)?);
        ensure!(held(&bed).is_err(), "a third one");
        let (status, _) = bed.get("app.example.com")?;
        ensure!(status.starts_with("HTTP/1.1 503"), "{status}");
        drop(first);
        hub.daemon().wait_until("there is room again", LIMIT, || Ok(held(&bed).is_ok()))?;
        Ok(())
    });
}

#[test]
fn a_tunnel_is_opened_as_often_as_it_may_be_and_a_reload_lets_it_go() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let hub = bed.start(&bed.config(&format!("tcp = [\"{PORT}\"]\nrate = \"3/m\"")))?;
        let _agent = start(&bed, 0, "")?;
        let connections: Vec<bool> = (0..8).map(|_| held(&bed).is_ok()).collect();
        let count = connections.iter().filter(|open| **open).count();
        ensure!((1..=3).contains(&count), "{connections:?}");
        ensure!(bed.get("app.example.com")?.0.starts_with("HTTP/1.1 503"), "a request that needs one");
        reload(&hub, &bed.config(&format!("tcp = [\"{PORT}\"]")))?;
        hub.daemon().wait_until("it is without bound", LIMIT, || Ok(held(&bed).is_ok()))
    });
}

#[test]
fn a_tunnels_bytes_take_the_time_that_its_bandwidth_gives_them() {
    const BYTES: usize = 300_000;
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _hub = bed.start(&bed.config("bandwidth = \"200KB\""))?;
        let _agent = start(&bed, 0, "")?;
        let began = boot_now();
        let head = format!(
            "PUT / HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n"
        );
        let answer = talk(&bed.client, crate::bed::WEB, &(head + &"x".repeat(BYTES)))?;
        let took = boot_now().since(began);
        ensure!(answer.contains(&format!("body: {BYTES} bytes")), "{answer}");
        // A tenth of a second's bytes may run ahead.
        ensure!(took.as_millis() >= 1300, "{BYTES} bytes took {took:?}");
        Ok(())
    });
}
