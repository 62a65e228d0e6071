//! Those who ask for the status all at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use mainstay_lab::peer::Mainstay;

use super::{CONFIG, LIMIT, binary, host};

/// Below what one api worker takes at a time.
const CLIENTS: usize = 200;

#[test]
fn two_hundred_who_ask_at_once_are_all_answered() {
    mainstay_lab::test(|| {
        let (_lab, host) = host()?;
        let node = Mainstay::start(&host, binary(), CONFIG)?;
        node.wait_for_state("front", "active", LIMIT)?;
        host.run(|| -> Result<()> {
            let connect = |_| -> Result<TcpStream> {
                let mut stream = TcpStream::connect("127.0.0.1:9105")?;
                stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n")?;
                Ok(stream)
            };
            let clients = (0..CLIENTS).map(connect).collect::<Result<Vec<_>>>()?;
            for mut client in clients {
                let mut answer = String::new();
                client.read_to_string(&mut answer)?;
                ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
            Ok(())
        })?
    });
}
