//! gost's clients: every carrier, many streams, datagrams, turns, deaths, weights, logins.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_lab::peer::Keeper as _;
use rustix::process::Signal;

use crate::bed::{BYTES, Bed, DATAGRAMS, ENTRY, GOST, HOST, LABEL, LIMIT, TARGET, TLS, agents};

#[test]
fn a_client_by_any_carrier_is_reached_by_the_host_that_is_made_for_it() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config("", "")?)?;
        let (status, _) = bed.get("no.gost.local")?;
        ensure!(status.contains("404"), "{status}");
        let urls = [
            format!("tcp://{GOST}"),
            format!("tls://{TLS}"),
            format!("ws://{GOST}/any/path"),
            format!("wss://{TLS}/ws"),
            format!("ws://{ENTRY}/ws"),
        ];
        for url in &urls {
            let client = bed.client(0, url, &["-target", TARGET])?;
            ensure!(client.said("bound").as_deref() == Some(LABEL), "{}", client.daemon().log());
            ensure!(bed.whose()? == "one", "{url}");
            let status = node.status_json()?;
            let agent = &status["tunnels"][0]["agents"][0];
            let carrier = format!("gost+{}", url.split(':').next().unwrap_or_default());
            ensure!(agent["carrier"] == carrier.as_str(), "{agent}");
            ensure!(agent["agent"].as_str().is_some_and(|name| name.starts_with("gost-")), "{agent}");
            ensure!(client.count("lost") == 0, "{}", client.daemon().log());
            client.daemon().kill_all()?;
            node.daemon().wait_until("it is gone", LIMIT, || Ok(agents(&node)? == 0))?;
        }
        Ok(())
    });
}

#[test]
fn a_thousand_streams_and_datagrams_go_beside_each_other() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config(&format!("tcp = [\"{BYTES}\"]\nudp = [\"{DATAGRAMS}\"]"), "")?)?;
        let bytes = bed.client(0, &format!("tcp://{GOST}"), &["-target", "echo"])?;
        let datagrams = bed.client(1, &format!("tcp://{GOST}"), &["-target", "echo", "-udp"])?;
        node.daemon().wait_until("both are there", LIMIT, || Ok(agents(&node)? == 2))?;
        // Each thread hears of the client that another one has within moments; connections before that find nobody.
        let echoes = || -> Result<bool> {
            let mut stream = bed.dial(BYTES)?;
            stream.write_all(b"?")?;
            Ok(stream.read_exact(&mut [0]).is_ok())
        };
        let mut first = 0;
        bytes.daemon().wait_until("every thread serves it", LIMIT, || {
            for _ in 0..20 {
                if !echoes()? {
                    return Ok(false);
                }
                first += 1;
            }
            Ok(true)
        })?;
        let mut streams = (0..1000).map(|_| bed.dial(BYTES)).collect::<Result<Vec<_>>>()?;
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.write_all(format!("{n:08}").repeat(100).as_bytes())?;
        }
        let socket = bed.visitor.run(|| UdpSocket::bind("0.0.0.0:0"))??;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        socket.connect(DATAGRAMS)?;
        for size in [1, 100, 1400, 8000] {
            let sent = vec![size as u8; size];
            let mut got = vec![0; 65_536];
            // A thread may not have heard yet of the client that another one has: that loses what comes first, as datagrams are lost.
            datagrams.daemon().wait_until("a datagram comes back", LIMIT, || {
                socket.send(&sent)?;
                Ok(socket.recv(&mut got).is_ok_and(|count| got[..count] == sent))
            })?;
        }
        for (n, stream) in streams.iter_mut().enumerate() {
            let mut got = vec![0; 800];
            stream.read_exact(&mut got)?;
            ensure!(got == format!("{n:08}").repeat(100).as_bytes(), "stream {n}");
        }
        ensure!(bytes.count("lost") + datagrams.count("lost") == 0);
        drop(streams);
        bytes.daemon().wait_until("all are served", LIMIT, || Ok(bytes.count("served") == 1000 + first))
    });
}

#[test]
fn two_clients_take_turns_and_one_that_dies_is_missed_by_nobody() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config("", "")?)?;
        let url = format!("tcp://{GOST}");
        let one = bed.client(0, &url, &["-target", TARGET])?;
        let two = bed.client(1, &format!("ws://{ENTRY}/ws"), &["-target", TARGET])?;
        node.daemon().wait_until("both are there", LIMIT, || Ok(agents(&node)? == 2))?;
        node.daemon().wait_until("both are asked", LIMIT, || Ok(bed.all(20)?.len() == 2))?;
        one.daemon().signal(Signal::KILL)?;
        ensure!(bed.all(100)?.contains(&"two".to_owned()));
        ensure!(bed.all(20)? == ["two"], "a dead one is asked");
        // The hub dies, and the client is back by itself.
        let before = two.count("bound");
        node.daemon().kill_all()?;
        node.daemon().start()?;
        bed.wait_there(&node)?;
        two.daemon().wait_until("it is back", LIMIT, || Ok(two.count("bound") > before))?;
        ensure!(bed.whose()? == "two");
        Ok(())
    });
}

#[test]
fn a_client_of_weight_255_takes_all_while_it_is_there() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config("", "")?)?;
        let url = format!("tcp://{GOST}");
        let one = bed.client(0, &url, &["-target", TARGET])?;
        ensure!(bed.all(4)? == ["one"]);
        let two = bed.client(1, &url, &["-target", TARGET, "-weight", "255"])?;
        node.daemon().wait_until("it takes all", LIMIT, || Ok(bed.all(10)? == ["two"]))?;
        two.daemon().kill_all()?;
        node.daemon().wait_until("the other is asked again", LIMIT, || Ok(bed.all(5)? == ["one"]))?;
        ensure!(one.count("lost") == 0, "{}", one.daemon().log());
        Ok(())
    });
}

#[test]
fn who_has_no_login_is_refused_and_one_that_is_taken_away_is_cut() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let users = |list: &str| bed.config("", &format!("[gost]\nusers = [{list}]"));
        let alice = "{ name = \"alice\", password = \"wonder\" }";
        let node = bed.start(&users(alice)?)?;
        let all = ["-url", &format!("tcp://{GOST}"), "-tunnel", crate::bed::TUNNEL, "-target", TARGET];
        let stranger = mainstay_lab::peer::Gost::start(
            &bed.sites[1].0,
            "stranger",
            "client",
            &[&all[..], &["-user", "alice:wander"]].concat(),
        )?;
        ensure!(stranger.wait_for("lost", LIMIT)? == "status 2");
        let client =
            bed.client(0, &format!("tcp://{GOST}"), &["-target", TARGET, "-user", "alice:wonder"])?;
        ensure!(bed.whose()? == "one" && stranger.count("bound") == 0);
        let (status, _) = bed.get(HOST)?;
        ensure!(status.contains("200"), "{status}");
        std::fs::write(node.config_path(), users("{ name = \"bob\", password = \"b\" }")?)?;
        node.say(&["reload"])?;
        client.daemon().wait_until("it is cut and refused", LIMIT, || {
            Ok(client.said("lost").as_deref() == Some("status 2"))
        })?;
        let metrics = bed.metrics()?;
        ensure!(
            metrics.contains("mainstay_gost_refused_total{listener=\"gost\",reason=\"login\"}"),
            "{metrics}"
        );
        Ok(())
    });
}
