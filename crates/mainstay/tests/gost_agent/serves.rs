//! The agent at a server of gost's.

use std::io::{Read as _, Write as _};

use anyhow::{Result, ensure};
use mainstay_lab::peer::Gost;
use rustix::process::Signal;

use crate::bed::{Bed, DOOR, HOST, LIMIT, SERVER, TUNNEL, said};

const HUB: &str = "gost+tcp://127.0.0.1:8421";

/// The real visitor, and where it takes connections.
fn visitor(bed: &Bed, way: &str, more: &[&str]) -> Result<(Gost, String)> {
    let url = format!("{way}://{SERVER}");
    let all = [&["-url", &url, "-tunnel", TUNNEL, "-listen", "127.0.0.1:0"][..], more].concat();
    let visitor = Gost::start(&bed.host, "visitor", "visit", &all)?;
    let at = visitor.wait_for("listening", LIMIT)?;
    Ok((visitor, at))
}

#[test]
fn over_each_carrier_a_real_visitor_reaches_what_the_agent_offers() {
    mainstay_lab::test(|| {
        for way in ["tcp", "tls", "ws", "wss"] {
            let bed = Bed::make()?;
            let server = bed.server(way, &["-user", "ada:secret"])?;
            let target = bed.echo("127.0.0.1:0")?;
            let (to, hub) = (target.text(), format!("gost+{way}://localhost:8421"));
            let mut what = vec!["--to", &to, "--user", "ada", "--password", "secret", "--drain", "1"];
            if matches!(way, "tls" | "wss") {
                what.push("--no-verify");
            }
            let agent = bed.agent(&hub, &what)?;
            said(&agent, &format!("tunnel {TUNNEL} is served as http://{HOST}.localhost"))?;
            let (_visitor, at) = visitor(&bed, way, &["-user", "ada:secret"])?;
            let bytes: Vec<u8> = (0..3_u32 << 20).map(|at| (at >> 4) as u8 ^ at as u8).collect();
            for size in [1, 100, 70_000, bytes.len()] {
                bed.echoed(&at, &bytes[..size])?;
            }
            ensure!(server.count("lost") == 0 && server.count("bound") == 1, "{}", server.daemon().log());
            agent.signal(Signal::TERM)?;
            agent.wait_ended(LIMIT)?;
        }
        Ok(())
    });
}

#[test]
fn a_certificate_that_nobody_has_signed_is_refused_unless_none_is_looked_at() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _server = bed.server("tls", &[])?;
        let target = bed.echo("127.0.0.1:0")?;
        let agent = bed.agent("gost+tls://127.0.0.1:8421", &["--to", &target.text()])?;
        said(&agent, "cannot be reached: TLS")
    });
}

#[test]
fn a_thousand_streams_are_open_at_once() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let server = bed.server("tcp", &[])?;
        // It echoes so many bytes as the first four say, and ends with the one behind them: that nobody hears, but by it.
        let target = bed.target("127.0.0.1:0", |mut stream| {
            let mut head = [0; 4];
            if stream.read_exact(&mut head).is_err() {
                return;
            }
            let mut bytes = vec![0; u32::from_be_bytes(head) as usize];
            let echoed = stream.read_exact(&mut bytes).and_then(|()| stream.write_all(&bytes));
            let _ = echoed.and_then(|()| stream.read_exact(&mut head[..1]));
        })?;
        let _agent = bed.agent(HUB, &["--to", &target.text()])?;
        server.wait_for("bound", LIMIT)?;
        let (_visitor, at) = visitor(&bed, "tcp", &[])?;
        let mut streams = (0..1000).map(|_| bed.dial(&at)).collect::<Result<Vec<_>>>()?;
        for (n, stream) in streams.iter_mut().enumerate() {
            let len = 1 + n * 9;
            stream.write_all(&[&(len as u32).to_be_bytes()[..], &vec![n as u8; len]].concat())?;
        }
        // All of them are open while the last is answered.
        for (n, stream) in streams.iter_mut().enumerate().rev() {
            let mut heard = vec![0; 1 + n * 9];
            stream.read_exact(&mut heard)?;
            ensure!(heard.iter().all(|byte| *byte == n as u8), "stream {n}");
        }
        ensure!(server.count("served") == 0);
        for mut stream in streams {
            stream.write_all(b".")?;
            ensure!(stream.read(&mut [0; 1])? == 0, "it ends");
        }
        server.daemon().wait_until("all have ended", LIMIT, || Ok(server.count("served") == 1000))?;
        ensure!(server.count("lost") == 0, "{}", server.daemon().log());
        Ok(())
    });
}

#[test]
fn a_visitor_that_does_not_read_costs_nobody_else_anything() {
    mainstay_lab::test(|| {
        const LONG: usize = 12 << 20;
        let bed = Bed::make()?;
        let server = bed.server("ws", &[])?;
        // Whoever connects is sent a lot, once it has said a byte; else it hears what it says.
        let target = bed.target("127.0.0.1:0", |mut stream| {
            let mut first = [0; 1];
            if stream.read_exact(&mut first).is_err() {
                return;
            }
            if first == *b"!" {
                let _ = stream.write_all(&vec![7; LONG]);
                return;
            }
            let _ = stream.write_all(&first);
            let Ok(mut reads) = stream.try_clone() else { return };
            let _ = std::io::copy(&mut reads, &mut stream);
        })?;
        let _agent = bed.agent("gost+ws://127.0.0.1:8421", &["--to", &target.text()])?;
        server.wait_for("bound", LIMIT)?;
        let (_visitor, at) = visitor(&bed, "ws", &[])?;
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut stream = bed.dial(&at)?;
            stream.write_all(b"!")?;
            slow.push(stream);
        }
        for n in 0..50 {
            bed.echoed(&at, &vec![b'a'; 10 + n * 100])?;
        }
        // Both readers of what the agent was told to send, at last.
        for mut stream in slow {
            let mut heard = vec![0; LONG];
            stream.read_exact(&mut heard)?;
            ensure!(heard.iter().all(|byte| *byte == 7));
        }
        ensure!(server.count("lost") == 0, "{}", server.daemon().log());
        Ok(())
    });
}

#[test]
fn a_server_that_was_killed_is_bound_again_and_another_serves_meanwhile() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let first = bed.server("tcp", &[])?;
        let other = bed.server_at("other", "ws", "127.0.0.1:8422", &[])?;
        let target = bed.echo("127.0.0.1:0")?;
        let to = target.text();
        let what = ["--hub", "gost+ws://127.0.0.1:8422", "--to", &to, "--weight", "7"];
        let agent = bed.agent(HUB, &what)?;
        first.wait_for("bound", LIMIT)?;
        other.wait_for("bound", LIMIT)?;
        let _visit = bed.visitor(HUB, &["--hub", "gost+ws://127.0.0.1:8422"])?;
        bed.echoed(DOOR, b"by either")?;

        first.daemon().kill_all()?;
        for _ in 0..6 {
            bed.echoed(DOOR, b"by the one that is left")?;
        }
        said(&agent, "gost+tcp://127.0.0.1:8421 cannot be reached")?;
        let again = bed.server_at("again", "tcp", SERVER, &[])?;
        again.wait_for("bound", LIMIT)?;
        other.daemon().kill_all()?;
        for _ in 0..3 {
            bed.echoed(DOOR, b"by the one that came back")?;
        }
        Ok(())
    });
}

#[test]
fn who_shows_the_wrong_password_is_told_so_and_an_own_host_is_asked_for() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let server = bed.server("tcp", &["-user", "ada:secret"])?;
        let target = bed.echo("127.0.0.1:0")?;
        let to = target.text();
        let wrong = bed.agent(HUB, &["--to", &to, "--user", "ada", "--password", "guess"])?;
        said(&wrong, "refused: the user or the password is wrong")?;
        ensure!(server.count("bound") == 0);
        wrong.kill_all()?;
        let what = ["--to", &to, "--user", "ada", "--password", "secret", "--host", "dash"];
        let right = bed.agent(HUB, &what)?;
        ensure!(server.wait_for("bound", LIMIT)? == "dash");
        said(&right, &format!("tunnel {TUNNEL} is served by {HUB} as host dash"))
    });
}

#[test]
fn without_a_target_that_is_well_the_agent_leaves_its_servers_and_comes_back_with_one() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let server = bed.server("tcp", &[])?;
        let target = bed.echo("127.0.0.1:0")?;
        let to = target.text();
        let agent = bed.agent(HUB, &["--to", &to, "--probe", "50"])?;
        server.wait_for("bound", LIMIT)?;
        drop(target);
        let gone = || Ok(server.said("lost").is_some_and(|why| why == "a client has gone"));
        agent.wait_until("its session has ended", LIMIT, gone)?;
        ensure!(server.count("bound") == 1, "it stays away");
        let _target = bed.echo(&to)?;
        agent.wait_until("it is back", LIMIT, || Ok(server.count("bound") == 2))
    });
}
