//! Sessions in gost's protocol: how they begin, and what passes through them.

use std::future::poll_fn;
use std::time::Duration;

use mainstay_core::gost::ask::{Ask, Bind, Connect, Grant};
use mainstay_core::gost::relay::{Addr, Broken, Id, Status};
use mainstay_core::gost::step;
use mainstay_link::tunnel::gost::{self, Failed, Limits};
use mainstay_link::tunnel::{Carrier, Kind, Open, Session, Side};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::spawn_local;

use crate::rig::{End, connection, run};

const UUID: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

fn wanted(kind: Kind) -> Bind {
    let tunnel = UUID.parse().expect("a UUID");
    Bind { tunnel, kind, source: None, wanted: Addr::NONE, login: None }
}

/// A server and its client, from the first byte on.
async fn begun(mut here: impl Carrier, mut there: impl Carrier, kind: Kind, limits: Limits) -> (End, End) {
    let dialled = spawn_local(async move {
        let (ask, skipped) = gost::meet(&mut here).await.expect("the other side is there");
        let Ask::Bind(bind) = ask else { panic!("{ask:?}") };
        assert_eq!((bind.kind, bind.tunnel.to_string(), skipped), (kind, UUID.to_owned(), 0));
        let greeting = Grant::new(&bind, "b7de88a94729b931", [7; 16]).message().bytes();
        let (session, incoming) = Session::start_gost(here, Side::Hub, kind, &greeting, limits);
        // What is opened at once comes behind the grant.
        End { session, incoming }
    });
    let grant = gost::bind(&mut there, wanted(kind)).await.expect("the other side is there");
    assert_eq!((grant.at.name(), grant.connector.uuid), (Some("b7de88a94729b931"), [7; 16]));
    let (session, incoming) = Session::start_gost(there, Side::Agent, kind, &[], limits);
    (dialled.await.expect("the other side is there"), End { session, incoming })
}

#[test]
fn a_client_binds_and_streams_reach_it_with_who_visits_and_what_it_asked_for() {
    run(async {
        let (one, two) = duplex(3);
        let (hub, mut client) = begun(one, two, Kind::Bytes, Limits::default()).await;
        let visitor = Some("192.0.2.1:99".parse().unwrap());
        let open = Open { visitor, host: Some("dash.example".into()), ..Open::default() };
        let mut ours = hub.session.open(&open, b"question").unwrap();
        let (heard, mut theirs) = client.incoming.next().await.unwrap();
        assert_eq!((heard.visitor, heard.host), (open.visitor, open.host));
        ours.shutdown().await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        theirs.write_all(b"answer").await.unwrap();
        theirs.shutdown().await.unwrap();
        text.clear();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
        drop((ours, theirs, hub));
        assert!(client.incoming.next().await.is_none(), "its last handle ends a session");
    });
}

#[test]
fn a_session_that_is_full_of_what_nobody_reads_goes_on_when_somebody_does() {
    run(async {
        let (one, two) = connection().await;
        let limits = Limits { bucket: 512 << 10, ..Limits::default() };
        let (hub, mut client) = begun(one, two, Kind::Bytes, limits).await;
        let sent: Vec<u8> = (0..2_u32 << 20).map(|at| ((at * 7) >> 5) as u8).collect();
        let (mut writers, mut kept) = (Vec::new(), Vec::new());
        let streams: Vec<_> = (0..4).map(|_| hub.session.open(&Open::default(), b"").unwrap()).collect();
        for mut stream in streams {
            kept.push(client.incoming.next().await.unwrap().1);
            let copy = sent.clone();
            writers.push(spawn_local(async move {
                stream.write_all(&copy).await.unwrap();
                stream.shutdown().await.unwrap();
                stream
            }));
        }
        // Nobody reads: four windows of 256 KiB are more than the bucket.
        while client.session.counters().unread < 512 << 10 {
            tokio::task::yield_now().await;
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let unread = client.session.counters().unread;
        assert!(unread <= (512 + 128) << 10, "{unread} bytes are kept");
        let readers = kept.into_iter().map(|mut stream| {
            let sent = sent.clone();
            spawn_local(async move {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).await.unwrap();
                assert!(got == sent, "{} bytes came", got.len());
            })
        });
        for reader in readers.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
        assert_eq!(client.session.counters().unread, 0);
    });
}

#[test]
fn a_stream_that_is_given_up_frees_a_full_session_as_well() {
    run(async {
        let (one, two) = connection().await;
        let limits = Limits { bucket: 512 << 10, ..Limits::default() };
        let (hub, mut client) = begun(one, two, Kind::Bytes, limits).await;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let mut stream = hub.session.open(&Open::default(), b"").unwrap();
            theirs.push(client.incoming.next().await.unwrap().1);
            ours.push(spawn_local(async move { stream.write_all(&[1; 1 << 20]).await }));
        }
        while client.session.counters().unread < 512 << 10 {
            tokio::task::yield_now().await;
        }
        theirs.clear();
        let mut last = hub.session.open(&Open::default(), b"still").unwrap();
        last.shutdown().await.unwrap();
        let mut text = String::new();
        client.incoming.next().await.unwrap().1.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "still");
    });
}

#[test]
fn datagrams_keep_their_borders() {
    run(async {
        let (one, two) = duplex(1000);
        let (hub, mut client) = begun(one, two, Kind::Datagrams, Limits::default()).await;
        let mut ours = hub.session.open(&Open::default(), b"").unwrap();
        let (heard, mut theirs) = client.incoming.next().await.unwrap();
        assert_eq!(heard.kind, Kind::Datagrams);
        for size in [1, 0, 1400, 65_535] {
            let datagram = vec![size as u8; size];
            assert!(ours.send_datagram(&datagram));
            assert_eq!(poll_fn(|cx| theirs.poll_datagram(cx)).await.unwrap(), Some(datagram.clone()));
            assert!(theirs.send_datagram(&datagram));
            assert_eq!(poll_fn(|cx| ours.poll_datagram(cx)).await.unwrap(), Some(datagram));
        }
    });
}

#[test]
fn a_visitor_who_is_let_in_has_the_carrier_for_itself() {
    run(async {
        let (mut here, mut there) = duplex(5);
        let dialled = spawn_local(async move {
            let (ask, _) = gost::meet(&mut here).await.unwrap();
            assert!(matches!(&ask, Ask::Connect(connect) if connect.target.name() == Some("dash")));
            gost::admit(&mut here).await.unwrap();
            here.write_all(b"its own").await.unwrap();
        });
        let tunnel: Id = UUID.parse().unwrap();
        let target = Addr::new("dash", 80);
        let connect = Connect { tunnel, kind: Kind::Bytes, source: None, target, login: None };
        gost::connect(&mut there, connect).await.unwrap();
        let mut text = String::new();
        there.read_to_string(&mut text).await.unwrap();
        dialled.await.unwrap();
        assert_eq!(text, "its own");
    });
}

/// What a server says to these bytes, and why it serves them not.
async fn said(bytes: &[u8]) -> (Failed, Vec<u8>) {
    let (mut here, mut there) = duplex(1 << 16);
    there.write_all(bytes).await.expect("the other side is there");
    let why = gost::meet(&mut here).await.expect_err("nobody is served");
    drop(here);
    let mut heard = Vec::new();
    there.read_to_end(&mut heard).await.expect("the other side is there");
    (why, heard)
}

#[test]
fn who_cannot_be_served_is_told_why_and_who_speaks_something_else_is_told_nothing() {
    run(async {
        let (why, heard) = said(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(matches!(why, Failed::Step(step::Failed::Broken(Broken::Version(b'G')))), "{why}");
        assert!(heard.is_empty());
        let (why, heard) = said(&[1, 2, 0xff, 0xff]).await;
        assert!(matches!(why, Failed::Step(step::Failed::Broken(Broken::Long(65_535)))), "{why}");
        assert_eq!(heard, step::no(Status::BadRequest));
        let (why, heard) = said(&[1, 2, 0, 0]).await;
        assert!(matches!(why, Failed::Step(step::Failed::Refused(Status::BadRequest))), "{why}");
        assert_eq!(heard, step::no(Status::BadRequest));

        let (mut here, mut there) = duplex(1 << 10);
        let refuses = spawn_local(async move {
            gost::meet(&mut here).await.unwrap();
            gost::refuse(&mut here, Status::Unauthorized).await;
        });
        let why = gost::bind(&mut there, wanted(Kind::Bytes)).await.unwrap_err();
        assert_eq!(why.to_string(), "the server refuses: the user or the password is wrong");
        refuses.await.unwrap();
    });
}

#[test]
fn neither_side_waits_longer_than_ten_seconds() {
    run(async {
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let (mut here, there) = duplex(1 << 10);
        let why = gost::meet(&mut here).await.unwrap_err();
        assert!(matches!(why, Failed::Step(step::Failed::Late)), "{why}");
        drop(there);
        let (_here, mut there) = duplex(1 << 10);
        let why = gost::bind(&mut there, wanted(Kind::Bytes)).await.unwrap_err();
        assert!(matches!(why, Failed::Step(step::Failed::Late)), "{why}");
        assert_eq!(begun.elapsed().as_secs(), Duration::from_secs(20).as_secs());
    });
}
