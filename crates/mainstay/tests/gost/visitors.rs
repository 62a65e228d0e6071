//! gost's visitors: by the tunnel's id and a host of its, by the entrypoint's id, to private tunnels.

use std::io::{Read as _, Write as _};

use anyhow::{Result, ensure};
use mainstay_lab::peer::Gost;

use crate::bed::{Bed, ENTRY, GOST, HOST, LIMIT, TUNNEL, dial};

const DOOR: &str = "127.0.0.1:8022";
const ENTRANCE: &str = "11111111-2222-4333-8444-555555555555";

/// A visitor's door on the visitor's host.
fn door(bed: &Bed, name: &str, all: &[&str]) -> Result<Gost> {
    let door = Gost::start(&bed.visitor, name, "visit", &[all, &["-listen", DOOR]].concat())?;
    door.wait_for("listening", LIMIT)?;
    Ok(door)
}

/// What comes back through the door.
fn echoed(bed: &Bed, said: &[u8]) -> Result<Vec<u8>> {
    let mut stream = dial(&bed.visitor, DOOR)?;
    stream.write_all(said)?;
    let mut got = vec![0; said.len()];
    let mut count = 0;
    while count < got.len() {
        match stream.read(&mut got[count..])? {
            0 => break,
            some => count += some,
        }
    }
    got.truncate(count);
    Ok(got)
}

#[test]
fn a_visitor_that_names_a_host_of_the_tunnel_is_let_through_and_no_other() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let gost = format!("[gost]\nentrypoint = \"{ENTRANCE}\"");
        let _node = bed.start(&bed.config("", &gost)?)?;
        let _client = bed.client(0, &format!("tcp://{GOST}"), &["-target", "echo"])?;
        let to = format!("{HOST}:80");
        let said = vec![7; 300_000];
        for (name, url, id, to, status) in [
            ("hub", format!("tcp://{GOST}"), TUNNEL, to.as_str(), None),
            ("entry", format!("tcp://{ENTRY}"), TUNNEL, &to, None),
            ("ws", format!("ws://{GOST}/ws"), ENTRANCE, &to, None),
            ("elsewhere", format!("tcp://{GOST}"), TUNNEL, "other.example:80", Some("status 3")),
            ("nowhere", format!("tcp://{ENTRY}"), ENTRANCE, "other.example:80", Some("status 6")),
        ] {
            let door = door(&bed, name, &["-url", &url, "-tunnel", id, "-to", to])?;
            let got = echoed(&bed, &said).unwrap_or_default();
            match status {
                None => ensure!(got == said, "{name}: {} bytes; {}", got.len(), door.daemon().log()),
                Some(status) => {
                    ensure!(got.is_empty() && door.wait_for("lost", LIMIT)? == status, "{name}");
                }
            }
            door.daemon().kill_all()?;
        }
        Ok(())
    });
}

#[test]
fn a_private_tunnel_wants_more_than_its_id() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let url = format!("tcp://{GOST}");
        let all = ["-url", &url, "-tunnel", TUNNEL, "-to", "name:80"];
        let node = bed.start(&bed.config("private = true", "")?)?;
        for (name, more, login, through) in [
            ("bare", "", None, false),
            ("direct", "[gost]\ndirect = true", None, true),
            ("login", "[gost]\nusers = [{ name = \"a\", password = \"b\" }]", Some("a:b"), true),
        ] {
            std::fs::write(node.config_path(), bed.config("private = true", more)?)?;
            node.say(&["reload"])?;
            let user: Vec<&str> = login.into_iter().flat_map(|login| ["-user", login]).collect();
            let client = bed.client(0, &url, &[&["-target", "echo"][..], &user].concat())?;
            let door = door(&bed, name, &[&all[..], &user].concat())?;
            let got = echoed(&bed, b"hello").unwrap_or_default();
            ensure!(got == if through { &b"hello"[..] } else { b"" }, "{name}: {}", door.daemon().log());
            door.daemon().kill_all()?;
            client.daemon().kill_all()?;
        }
        let (status, _) = bed.get(HOST)?;
        ensure!(status.contains("502"), "a private tunnel is closed to who comes by its host: {status}");
        Ok(())
    });
}

#[test]
fn whichever_process_a_visitor_comes_to_the_client_of_another_one_serves_it() {
    mainstay_lab::test(|| {
        let url = format!("tcp://{GOST}");
        for (name, more) in [("listed", ""), ("any", "tunnels = \"any\"\n")] {
            let bed = Bed::make()?;
            let config = bed.config("", &format!("[gost]\ndirect = true\n{more}"))?;
            let config = config.replace("instances = 1", "instances = 2");
            let listed = format!("[[tunnel]]\nid = \"{TUNNEL}\"\ngost = true\n");
            let config = if more.is_empty() { config } else { config.replace(&listed, "") };
            let _node = bed.start(&config)?;
            let _client = bed.client(0, &url, &["-target", "echo"])?;
            let door = door(&bed, name, &["-url", &url, "-tunnel", TUNNEL, "-to", "0.0.0.0:0"])?;
            for nth in 0..20 {
                let got = echoed(&bed, b"hello").unwrap_or_default();
                ensure!(got == b"hello", "{name}, visitor {nth}: {}", door.daemon().log());
            }
        }
        Ok(())
    });
}
