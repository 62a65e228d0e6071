//! The visitor at a server of gost's.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::process::Stdio;

use anyhow::{Context as _, ensure};

use crate::bed::{Bed, DOOR, LIMIT, SERVER, TUNNEL, binary, said};

#[test]
fn over_each_carrier_bytes_and_datagrams_of_our_visitor_reach_our_agent() {
    mainstay_lab::test(|| {
        for way in ["tcp", "tls", "ws", "wss"] {
            let bed = Bed::make()?;
            let server = bed.server(way, &["-user", "ada:secret"])?;
            let target = bed.echo("127.0.0.1:0")?;
            let (to, datagrams) = (target.text(), bed.echo_datagrams()?.to_string());
            let hub = format!("gost+{way}://{SERVER}");
            let mut shown = vec!["--user", "ada", "--password", "secret"];
            if matches!(way, "tls" | "wss") {
                shown.push("--no-verify");
            }
            let both = ["--to", &to, "--tunnel", TUNNEL, "--udp", "--to", &datagrams];
            let agent = bed.agent(&hub, &[&both[..], &shown].concat())?;
            server.daemon().wait_until("both are bound", LIMIT, || Ok(server.count("bound") == 2))?;
            let _visit = bed.visitor(&hub, &shown)?;
            let bytes: Vec<u8> = (0..2_u32 << 20).map(|at| (at >> 5) as u8 ^ at as u8).collect();
            for size in [1, 3000, bytes.len()] {
                bed.echoed(DOOR, &bytes[..size])?;
            }
            let _datagrams = bed.visitor(&hub, &[&["--udp"][..], &shown].concat())?;
            let socket = bed.socket(DOOR)?;
            for size in [1, 1400, 9000, 60_000] {
                let mut buffer = vec![0; 65_536];
                // As with UDP the first may be lost, and an answer may come late.
                agent.wait_until("a datagram comes back", LIMIT, || {
                    let _ = socket.send(&bytes[..size]);
                    Ok(socket.recv(&mut buffer).is_ok_and(|count| buffer[..count] == bytes[..size]))
                })?;
            }
        }
        Ok(())
    });
}

#[test]
fn an_answer_is_heard_to_its_end_by_who_has_said_its_last() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let server = bed.server("ws", &[])?;
        // It answers a question of known length, after a megabyte of thought.
        let target = bed.target("127.0.0.1:0", |mut stream| {
            let mut asked = [0; 8];
            if stream.read_exact(&mut asked).is_ok() {
                let _ = stream.write_all(&vec![b'.'; 1 << 20]);
                let _ = stream.write_all(&asked);
            }
        })?;
        let _agent = bed.agent("gost+ws://127.0.0.1:8421", &["--to", &target.text()])?;
        server.wait_for("bound", LIMIT)?;
        let _visit = bed.visitor("gost+ws://127.0.0.1:8421", &[])?;
        let mut stream = bed.dial(DOOR)?;
        stream.write_all(b"question")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer.len() == (1 << 20) + 8 && answer.ends_with(b"question"), "{} bytes", answer.len());
        Ok(())
    });
}

#[test]
fn standard_input_and_output_are_a_connection() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let server = bed.server("tcp", &[])?;
        let target = bed.target("127.0.0.1:0", |mut stream| {
            let mut asked = [0; 5];
            if stream.read_exact(&mut asked).is_ok() {
                let _ = stream.write_all(&[b"you said ", &asked[..]].concat());
            }
        })?;
        let _agent = bed.agent("gost+tcp://127.0.0.1:8421", &["--to", &target.text()])?;
        server.wait_for("bound", LIMIT)?;
        let mut command = bed.host.command(binary());
        command.args(["visit", "--hub", "gost+tcp://127.0.0.1:8421", "--tunnel", TUNNEL, "--listen", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("it is piped")?.write_all(b"hello")?;
        let output = child.wait_with_output()?;
        ensure!(output.stdout == b"you said hello", "{}", String::from_utf8_lossy(&output.stdout));
        ensure!(output.status.success());
        Ok(())
    });
}

#[test]
fn a_tunnel_without_a_client_is_no_way_and_its_connections_are_reset() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _server = bed.server("tcp", &[])?;
        let visit = bed.visitor("gost+tcp://127.0.0.1:8421", &[])?;
        let mut stream = bed.dial(DOOR)?;
        stream.write_all(b"anybody?")?;
        let heard = stream.read(&mut [0; 8]);
        ensure!(heard.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{heard:?}");
        said(&visit, "refused")
    });
}
