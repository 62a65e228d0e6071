//! Seed 001: its server's file and its client's line, imported.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mainstay_lab::Lab;
use mainstay_lab::peer::{Keeper as _, Mainstay};
use mainstay_lab::probe::fetch_from;

use crate::{HOST, LIMIT, binary, client, file, folder, imported};

#[test]
fn the_seeds_line_lists_its_files_two_take_turns_and_one_that_dies_is_not_missed() {
    mainstay_lab::test(|| {
        let lab = Lab::new("fleet")?;
        let lan = lab.segment("lan")?;
        let hosts = [
            ("hub", "10.0.4.20/24"),
            ("one", "10.0.4.41/24"),
            ("two", "10.0.4.42/24"),
            ("visitor", "10.0.4.200/24"),
        ];
        let mut plugged = Vec::new();
        for (name, addr) in hosts {
            let host = lab.host(name)?;
            host.plug(&lan, "eth0", &[addr])?;
            plugged.push(host);
        }
        let [hub, one, two, visitor] = &plugged[..] else { unreachable!("four hosts") };
        let server = file("examples/001-gost-tunnel/gost.yaml").display().to_string();
        let _node = Mainstay::start(hub, &binary(), &imported(&["--domain", "gost.local", &server])?)?;
        let mut nodes = Vec::new();
        for (host, name) in [(one, "of-one"), (two, "of-two")] {
            let config = client("10.0.4.20:8421", &folder(host, name)?)?;
            nodes.push(Mainstay::start(host, &binary(), &config)?);
        }
        let entry: SocketAddr = "10.0.4.20:80".parse()?;
        let ask = || visitor.run(|| fetch_from(entry, HOST, LIMIT));
        for name in ["of-one", "of-two"] {
            mainstay_lab::wait_until(name, LIMIT, || Ok(ask()?.is_ok_and(|page| page.contains(name))))?;
        }
        let turns = |requests: usize| -> Result<Vec<bool>> {
            (0..requests).map(|_| Ok(ask()??.contains("of-one"))).collect()
        };
        let seen = turns(16)?;
        let of_one = seen.iter().filter(|one| **one).count();
        ensure!((4..=12).contains(&of_one), "{of_one} of 16 went to one of two");
        nodes[0].daemon().kill_all()?;
        let seen = turns(20)?;
        ensure!(seen.iter().all(|one| !one), "a dead client's page was shown: {seen:?}");
        Ok(())
    });
}
