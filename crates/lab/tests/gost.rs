//! Our machines of gost's tunnels against the real smux: both roles, many streams, bulk, half closes, datagrams, errors.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_core::gost::ask::{Ask, Bind, Connect, Grant};
use mainstay_core::gost::relay::{Addr, Id, Login, Status};
use mainstay_core::gost::smux::Limits;
use mainstay_core::gost::step::{Call, Failed};
use mainstay_core::tunnel::{Kind, Side};
use mainstay_lab::peer::Gost;
use mainstay_lab::{Host, Lab};

#[path = "gost/line.rs"]
mod line;
#[path = "gost/talk.rs"]
mod talk;

use line::Line;
use talk::{Asker, Echo};

const LIMIT: Duration = Duration::from_secs(60);
const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
/// What gost makes of that tunnel's id.
const HOST: &str = "b7de88a94729b931";

fn tunnel() -> Id {
    TUNNEL.parse().expect("a UUID")
}

/// Somebody dials us: what it wants, and its line.
fn meet(listener: &TcpListener) -> Result<(Ask, Line)> {
    let (stream, _) = listener.accept()?;
    let mut line = Line::new(stream)?;
    let ask = line.ask()?;
    Ok((ask, line))
}

/// A real client that has bound its tunnel to our server.
fn bound(host: &Host, arguments: &[&str], kind: Kind) -> Result<(Gost, Line)> {
    let listener = host.run(|| TcpListener::bind("127.0.0.1:0"))??;
    let url = format!("tcp://{}", listener.local_addr()?);
    let all = [&["-url", &url, "-tunnel", TUNNEL][..], arguments].concat();
    let client = Gost::start(host, "client", "client", &all)?;
    let (ask, mut line) = meet(&listener)?;
    let Ask::Bind(bind) = ask else { anyhow::bail!("{ask:?}") };
    ensure!(bind.tunnel.uuid == tunnel().uuid && bind.kind == kind, "{bind:?}");
    let grant = Grant::new(&bind, HOST, [7; 16]);
    line.begin(Side::Hub, kind, Limits::default(), &grant.message().bytes())?;
    ensure!(client.wait_for("bound", LIMIT)? == HOST);
    Ok((client, line))
}

#[test]
fn a_thousand_streams_at_once_to_a_real_client_come_back_whole() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let (client, mut line) = bound(&host, &["-weight", "3"], Kind::Bytes)?;
        let mut asker = Asker::new(&mut line, (0..1000).map(|n| 1 + n * 37))?;
        line.run(&mut asker, LIMIT)?;
        ensure!(line.session().living() == 0 && !line.session().is_closed());
        client.daemon().wait_until("all streams are served", LIMIT, || Ok(client.count("served") == 1000))?;
        ensure!(client.count("lost") == 0, "{}", client.daemon().log());
        Ok(())
    });
}

#[test]
fn bulk_goes_both_ways_through_a_real_client_beside_small_streams() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let (client, mut line) = bound(&host, &[], Kind::Bytes)?;
        // The echo's answer ends when ours has: each is a half close.
        let sizes = [32 << 20, 16 << 20, 1, 0, 9 << 20, 100].into_iter();
        let mut asker = Asker::new(&mut line, sizes)?;
        line.run(&mut asker, LIMIT)?;
        ensure!(line.session().unread() == 0 && client.count("lost") == 0);
        Ok(())
    });
}

#[test]
fn streams_that_nobody_reads_leave_room_for_others() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let (_client, mut line) = bound(&host, &[], Kind::Bytes)?;
        let mut asker = Asker::new(&mut line, [8 << 20, 8 << 20].into_iter())?;
        asker.read_nothing();
        line.run_for(&mut asker, Duration::from_millis(500))?;
        let held = line.session().unread();
        ensure!((512 << 10..4 << 20).contains(&held), "{held} bytes wait");
        let mut others = Asker::new(&mut line, (0..50).map(|n| n * 100))?;
        line.run_both(&mut asker, &mut others, LIMIT)?;
        asker.read_all();
        line.run(&mut asker, LIMIT)
    });
}

#[test]
fn datagrams_of_a_real_client_keep_their_borders() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let (client, mut line) = bound(&host, &["-udp"], Kind::Datagrams)?;
        let keys = [line.open()?, line.open()?];
        for (n, size) in [1, 1400, 0, 65_000, 512, 2, 32_766, 32_767, 65_535].into_iter().enumerate() {
            for key in keys {
                let sent: Vec<u8> = (0..size).map(|at| (at * 7 + n) as u8 ^ key.id() as u8).collect();
                let got = line.datagram(key, &sent, LIMIT)?;
                ensure!(got == sent, "{} of {size} bytes came back", got.len());
            }
        }
        ensure!(client.count("lost") == 0, "{}", client.daemon().log());
        Ok(())
    });
}

#[test]
fn a_real_client_comes_again_when_its_session_is_lost() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let listener = host.run(|| TcpListener::bind("127.0.0.1:0"))??;
        let url = format!("tcp://{}", listener.local_addr()?);
        let login = ["-user", "ada:secret", "-bind", "dash:0"];
        let all = [&["-url", &url, "-tunnel", TUNNEL][..], &login].concat();
        let _client = Gost::start(&host, "client", "client", &all)?;
        for _ in 0..2 {
            let (ask, mut line) = meet(&listener)?;
            ensure!(ask.login() == Some(&Login { user: "ada".into(), password: "secret".into() }));
            let Ask::Bind(bind) = ask else { anyhow::bail!("{ask:?}") };
            ensure!(bind.own_host() == Some("dash"));
            let grant = Grant::new(&bind, "dash", [7; 16]);
            line.begin(Side::Hub, Kind::Bytes, Limits::default(), &grant.message().bytes())?;
            let mut asker = Asker::new(&mut line, [5, 500].into_iter())?;
            line.run(&mut asker, LIMIT)?;
        }
        Ok(())
    });
}

/// A real server, and our client that serves its tunnel.
fn serving(host: &Host, arguments: &[&str], bind: Bind) -> Result<(Gost, String, Line)> {
    let all = [&["-listen", "tcp://127.0.0.1:0"][..], arguments].concat();
    let server = Gost::start(host, "server", "server", &all)?;
    let at = server.wait_for("listening", LIMIT)?;
    let mut line = Line::dial(host, &at)?;
    let kind = bind.kind;
    let grant = line.call(|now| Call::bind(bind, now))?.context("it is granted")?;
    ensure!(grant.at.name() == Some(HOST) && grant.connector.weight == 9, "{grant:?}");
    line.begin(Side::Agent, kind, Limits::default(), b"")?;
    // As gost does, it answers first and has the tunnel then.
    server.wait_for("bound", LIMIT)?;
    Ok((server, at, line))
}

fn bind(kind: Kind, login: Option<Login>) -> Bind {
    let source = Some(Addr::new("127.0.0.1", 1));
    Bind { tunnel: Id { weight: 9, ..tunnel() }, kind, source, wanted: Addr::NONE, login }
}

fn connect(kind: Kind, login: Option<Login>) -> Connect {
    let source = Some(Addr::new("192.0.2.9", 5));
    Connect { tunnel: tunnel(), kind, source, target: Addr::new("files", 80), login }
}

#[test]
fn our_client_serves_a_thousand_visitors_of_a_real_server() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let (server, at, mut line) = serving(&host, &[], bind(Kind::Bytes, None))?;
        let mut echo = Echo::default();
        for wave in 0..4 {
            // Visitors speak raw bytes once they are let through; the server opens a stream to us for each.
            let mut visitors = Vec::new();
            for _ in 0..250 {
                let mut visitor = Line::dial(&host, &at)?;
                visitor.send_call(|now| Call::connect(connect(Kind::Bytes, None), now))?;
                visitors.push(visitor);
            }
            for (n, visitor) in visitors.iter_mut().enumerate() {
                let said: Vec<u8> = (0..1 + n * 90).map(|at| (at * 31 + n) as u8).collect();
                visitor.answered(&mut line, &mut echo, LIMIT)?.context("it is let through")?;
                visitor.say(&said)?;
                let back = visitor.hear(said.len(), &mut line, &mut echo, LIMIT)?;
                ensure!(back == said, "visitor {n} of wave {wave}");
            }
            ensure!(echo.open() == 250, "{} streams are open at once", echo.open());
            drop(visitors);
            // Nothing says that a visitor has gone but the end of the server's copying: ours end too.
            echo.finish(&mut line);
            line.run_until(&mut echo, LIMIT, |echo| echo.open() == 0)?;
        }
        ensure!(echo.served() == 1000 && !line.session().is_closed());
        ensure!(
            echo.visitors()
                .iter()
                .all(|open| open.visitor == "192.0.2.9:5".parse().ok()
                    && open.host.as_deref() == Some("files"))
        );
        ensure!(server.count("lost") == 0, "{}", server.daemon().log());
        Ok(())
    });
}

#[test]
fn our_client_and_our_visitor_exchange_datagrams_through_a_real_server() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let login = || Some(Login { user: "ada".into(), password: "pw".into() });
        let all = ["-user", "ada:pw"];
        let (_server, at, mut line) = serving(&host, &all, bind(Kind::Datagrams, login()))?;
        let mut echo = Echo::default();
        let mut visitor = Line::dial(&host, &at)?;
        visitor.send_call(|now| Call::connect(connect(Kind::Datagrams, login()), now))?;
        visitor.answered(&mut line, &mut echo, LIMIT)?.context("it is let through")?;
        for size in [3, 0, 1200, 65_535, 9] {
            let sent: Vec<u8> = (0..size).map(|at| (at * 13 + size) as u8).collect();
            visitor.say(&(size as u16).to_be_bytes())?;
            visitor.say(&sent)?;
            let back = visitor.hear(size + 2, &mut line, &mut echo, LIMIT)?;
            ensure!(back[..2] == (size as u16).to_be_bytes() && back[2..] == sent, "{size} bytes");
        }
        Ok(())
    });
}

#[test]
fn a_real_server_tells_us_why_it_refuses() {
    mainstay_lab::test(|| {
        let lab = Lab::new("gost")?;
        let host = lab.host("edge")?;
        let server =
            Gost::start(&host, "server", "server", &["-listen", "tcp://127.0.0.1:0", "-user", "a:b"])?;
        let at = server.wait_for("listening", LIMIT)?;
        let wrong = Login { user: "a".into(), password: "c".into() };
        let told = Line::dial(&host, &at)?.call(|now| Call::bind(bind(Kind::Bytes, Some(wrong)), now))?;
        ensure!(told == Err(Failed::Told(Status::Unauthorized)), "{told:?}");
        let right = Login { user: "a".into(), password: "b".into() };
        let told =
            Line::dial(&host, &at)?.call(|now| Call::connect(connect(Kind::Bytes, Some(right)), now))?;
        ensure!(told == Err(Failed::Told(Status::Unavailable)), "{told:?}");
        Ok(())
    });
}
