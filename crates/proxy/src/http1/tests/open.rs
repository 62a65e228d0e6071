//! Tunnels that no file names: which one takes a request, its host says.

use std::rc::Rc;

use mainstay_config::plan::edge::{Action, BackendTls, Edge, Host};
use mainstay_core::name::PoolId;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::rig::{Rig, run};
use super::tunnels::{Agents, Does, Leads, behind, body, offer_of, rig_of};
use crate::exchange::Connection;
use crate::pool::Ask;
use crate::snapshot::Snapshot;

/// A template beside the tunnel of the file, which has a host of its own.
fn open(edge: &mut Edge) {
    edge.pools[0].backends = vec![behind("office")];
    let mut template = edge.pools[0].clone();
    (template.name, template.backends, template.keep) = ("tunnel:*".to_owned(), vec![behind("*")], 8);
    edge.pools.push(template);
    let mut route = edge.routes[0].clone();
    "tunnel:*".clone_into(&mut route.name);
    if let Action::Forward(forward) = &mut route.action {
        forward.pool = PoolId(1);
    }
    edge.routes[0].hosts = vec![Host::Exact("office.example".to_owned())];
    edge.routes.push(route);
}

async fn rig(agents: &[(&str, Does)]) -> (Rig, Rc<Agents>) {
    let (rig, roads) = rig_of(agents, open).await;
    roads.leads.borrow_mut().extend([
        ("one.example".to_owned(), Leads::To("one")),
        ("two.example".to_owned(), Leads::To("two")),
        ("closed.example".to_owned(), Leads::Private),
    ]);
    (rig, roads)
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[test]
fn the_host_says_which_tunnel_and_each_has_its_own_turns_and_connections() {
    run(async {
        let names = ["a", "b", "c", "d"];
        let (rig, roads) = rig(&names.map(|name| (name, Does::Answers))).await;
        offer_of(&rig, "one", &[("a", None), ("b", None)]);
        offer_of(&rig, "two", &[("c", None)]);
        offer_of(&rig, "office", &[("d", None)]);
        let mut answers = Vec::new();
        for host in ["one", "two", "ONE", "two", "one", "office"] {
            answers.push(body(&rig.says(&get(&format!("{host}.example"))).await).to_owned());
        }
        assert_eq!(answers, ["a", "c", "b", "c", "a", "d"]);
        assert_eq!(
            *roads.opened.borrow(),
            ["one/a", "two/c", "one/b", "d"],
            "connections are kept by tunnel"
        );
        // An agent of one name is another one in another tunnel.
        offer_of(&rig, "two", &[("a", None)]);
        assert_eq!(body(&rig.says(&get("two.example")).await), "a");
        assert_eq!(roads.opened.borrow().last().unwrap(), "two/a");
        let status = rig.thread.pools.status();
        let rows: Vec<_> = status.iter().map(|one| (&*one.pool, &*one.address, one.requests)).collect();
        assert_eq!(
            rows,
            [("pool", "tunnel:office/d", 1), ("tunnel:*", "", 6)],
            "they are counted in one row"
        );
    });
}

#[test]
fn a_host_that_no_tunnel_has_is_not_found_and_a_private_one_is_closed() {
    run(async {
        let (rig, _) = rig(&[("a", Does::Answers)]).await;
        offer_of(&rig, "one", &[("a", None)]);
        let got = rig.says(&get("other.example")).await;
        assert!(got.starts_with("HTTP/1.1 404 "), "{got}");
        // Without asking to be closed.
        let got = rig.says("GET / HTTP/1.1\r\nHost: closed.example\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
        assert_eq!(rig.thread.pools.open_ones(), 0, "nothing is kept of them");
    });
}

#[test]
fn what_was_not_answered_goes_to_the_next_agent_of_the_same_tunnel() {
    run(async {
        for ill in [Does::Dies, Does::Refuses, Does::Away] {
            let (rig, roads) = rig(&[("ill", ill), ("well", Does::Answers), ("other", Does::Answers)]).await;
            offer_of(&rig, "one", &[("ill", None), ("well", None)]);
            offer_of(&rig, "two", &[("other", None)]);
            assert_eq!(body(&rig.says(&get("one.example")).await), "well", "{ill:?}");
            assert_eq!(*roads.opened.borrow(), ["one/ill", "one/well"]);
        }
    });
}

#[test]
fn a_request_waits_until_its_host_is_found_out_and_then_for_an_agent() {
    run(async {
        let (rig, roads) = rig(&[("late", Does::Answers)]).await;
        let known = Rc::new(Notify::new());
        roads.leads.borrow_mut().insert("late.example".to_owned(), Leads::Later("late", Rc::clone(&known)));
        let mut client = rig.client().await;
        client.send(get("late.example")).await;
        while Rc::strong_count(&known) < 3 {
            tokio::task::yield_now().await;
        }
        known.notify_one();
        while rig.thread.pools.open_ones() == 0 {
            tokio::task::yield_now().await;
        }
        offer_of(&rig, "late", &[("late", None)]);
        assert_eq!(body(&client.rest().await), "late");
    });
}

#[test]
fn what_is_forgotten_is_freed_and_comes_back_as_new() {
    run(async {
        let (rig, _) = rig(&[("a", Does::Answers), ("b", Does::Answers)]).await;
        offer_of(&rig, "one", &[("a", None)]);
        assert_eq!(body(&rig.says(&get("one.example")).await), "a");
        let snapshot = rig.thread.snapshot();
        let before = rig.thread.pools.of_tunnel(&snapshot, "one").unwrap();
        rig.thread.pools.forget("one");
        assert_eq!(rig.thread.pools.open_ones(), 0);
        let lost = rig.thread.pools.lease(&snapshot, before, &Ask::default()).await;
        assert!(lost.is_err(), "whoever still has its number is told that there is nobody");
        offer_of(&rig, "one", &[("b", None)]);
        assert_eq!(body(&rig.says(&get("one.example")).await), "b");
        assert_ne!(rig.thread.pools.of_tunnel(&snapshot, "one"), Some(before));
        assert_eq!(rig.thread.pools.status().last().unwrap().requests, 2, "counters do not go back");
    });
}

#[test]
fn a_reload_changes_all_of_them_and_takes_them_away_with_their_template() {
    run(async {
        let (rig, _) = rig(&[("a", Does::Answers)]).await;
        offer_of(&rig, "one", &[("a", None)]);
        assert_eq!(body(&rig.says(&get("one.example")).await), "a");
        let old = rig.thread.snapshot();
        let id = rig.thread.pools.of_tunnel(&old, "one").unwrap();
        let next = |change: &dyn Fn(&mut Edge)| {
            let mut edge = rig.thread.snapshot().edge.clone();
            change(&mut edge);
            let (mut names, tickets) = (crate::metrics::Names::default(), crate::tls::Tickets::new());
            let before = rig.thread.snapshot();
            let snapshot =
                Snapshot::compile(edge, before.slots.clone(), &mut names, &tickets, Some(&before)).unwrap();
            rig.thread.adopt(std::sync::Arc::new(snapshot));
        };
        next(&|edge| edge.pools[1].backends[0].down = true);
        let out = rig.thread.pools.lease(&rig.thread.snapshot(), id, &Ask::default()).await;
        assert_eq!(out.unwrap_err().reason, crate::pool::Reason::Down);
        next(&|edge| {
            edge.routes.truncate(1);
            edge.pools.truncate(1);
        });
        assert_eq!(rig.thread.pools.open_ones(), 0);
        assert_eq!(rig.thread.pools.of_tunnel(&rig.thread.snapshot(), "one"), None);
    });
}

/// What a client says first that speaks TLS with a name.
fn client_hello(name: &str) -> Vec<u8> {
    let tls = BackendTls { name: None, verify: false, ca: None, cert: None };
    let config = crate::tls::client_config(&tls, false).unwrap();
    let mut client = rustls::ClientConnection::new(config, name.to_owned().try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn tls_is_passed_through_to_the_tunnel_that_its_name_leads_to() {
    run(async {
        let (rig, roads) = rig(&[("a", Does::Answers)]).await;
        offer_of(&rig, "one", &[("a", None)]);
        for (name, opened) in [("two.example.net", 0), ("One.example", 1)] {
            let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
            let (accepted, peer) = socket.accept().await.unwrap();
            let local = accepted.local_addr().ok();
            let connection = Connection {
                number: 1,
                listener: 0,
                counts: 0,
                peer: Some(peer),
                local,
                proxy: None,
                tls: None,
            };
            let (thread, snapshot) = (Rc::clone(&rig.thread), rig.thread.snapshot());
            thread.counters.accepted(0);
            let passing =
                spawn_local(crate::stream::pass_through(thread, snapshot, accepted.into(), connection));
            client.write_all(&client_hello(name)).await.unwrap();
            // The agent answers what looks like a request, and so shows what came to it.
            client.write_all(b"\r\n\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            passing.await.unwrap();
            assert_eq!(roads.opened.borrow().len(), opened, "{name}");
        }
        assert_eq!(*roads.opened.borrow(), ["one/a"]);
    });
}
