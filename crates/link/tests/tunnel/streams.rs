//! What passes through streams.

use std::future::poll_fn;

use mainstay_link::tunnel::{Kind, Limits, Open, Session, Side, splice_stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio::task::spawn_local;

use crate::rig::{connection, pair, run, tcp_pair};

#[test]
fn a_stream_carries_its_opening_and_bytes_both_ways_to_both_ends() {
    run(async {
        let (hub, mut agent) = pair(Limits::default());
        let open = Open {
            target: "web".to_owned(),
            visitor: Some("192.0.2.1:99".parse().unwrap()),
            ..Open::default()
        };
        let mut ours = hub.session.open(&open, b"question").unwrap();
        assert_eq!(ours.sent_first(), 8);
        let (heard, mut theirs) = agent.incoming.next().await.unwrap();
        assert_eq!(heard, open);
        ours.shutdown().await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        theirs.write_all(b"answer").await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut text = String::new();
        ours.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    });
}

#[test]
fn forty_streams_of_a_megabyte_each_arrive_whole() {
    run(async {
        let (hub, mut agent) = tcp_pair(Limits { budget: 2 << 20, ..Limits::default() }).await;
        spawn_local(async move {
            while let Some((_, stream)) = agent.incoming.next().await {
                spawn_local(async move {
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                    writer.shutdown().await.unwrap();
                });
            }
        });
        let echoes: Vec<_> = (0..40_u32)
            .map(|n| {
                let stream = hub.session.open(&Open::default(), b"").unwrap();
                spawn_local(async move {
                    let sent: Vec<u8> =
                        (0..1 << 18).flat_map(|at: u32| (at * 101 + n).to_be_bytes()).collect();
                    let (mut reader, mut writer) = tokio::io::split(stream);
                    let copy = sent.clone();
                    spawn_local(async move {
                        writer.write_all(&copy).await.unwrap();
                        writer.shutdown().await.unwrap();
                    });
                    let mut got = Vec::new();
                    reader.read_to_end(&mut got).await.unwrap();
                    assert!(got == sent, "stream {n} differs");
                })
            })
            .collect();
        for echo in echoes {
            echo.await.unwrap();
        }
        assert!(hub.session.counters().unread <= 2 << 20);
    });
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    run(async {
        let (hub, mut agent) = tcp_pair(Limits { budget: 256 << 10, ..Limits::default() }).await;
        let mut stuck = Vec::new();
        for _ in 0..4 {
            let mut stream = hub.session.open(&Open::default(), b"").unwrap();
            let kept = agent.incoming.next().await.unwrap();
            stuck.push((kept, spawn_local(async move { stream.write_all(&[1; 4 << 20]).await })));
        }
        for round in 0..200_u32 {
            let mut small = hub.session.open(&Open::default(), &round.to_be_bytes()).unwrap();
            let (_, mut theirs) = agent.incoming.next().await.unwrap();
            let mut four = [0; 4];
            theirs.read_exact(&mut four).await.unwrap();
            theirs.write_all(&four).await.unwrap();
            small.read_exact(&mut four).await.unwrap();
            assert_eq!(u32::from_be_bytes(four), round);
        }
        let kept = agent.session.counters().unread;
        assert!(kept > 200 << 10 && kept <= (256 << 10) + 5 * (8 << 10), "{kept} bytes are kept");
    });
}

#[test]
fn tcp_connections_are_joined_by_a_stream_half_closes_included() {
    run(async {
        let (hub, mut agent) = tcp_pair(Limits::default()).await;
        let (mut visitor, accepted) = connection().await;
        let (dialed, mut target) = connection().await;
        let front = spawn_local(splice_stream(accepted, hub.session.open(&Open::default(), b"").unwrap()));
        let (_, stream) = agent.incoming.next().await.unwrap();
        let back = spawn_local(splice_stream(dialed, stream));
        visitor.write_all(b"ask").await.unwrap();
        visitor.shutdown().await.unwrap();
        let mut text = String::new();
        target.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ask");
        // Larger than any window, to a reader that begins late.
        let long: Vec<u8> = (0..9_u32 << 20).map(|at| (at >> 3) as u8).collect();
        let copy = long.clone();
        let writes = spawn_local(async move {
            target.write_all(&copy).await.unwrap();
            target.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        visitor.read_to_end(&mut got).await.unwrap();
        writes.await.unwrap();
        assert!(got == long);
        let (front, back) = (front.await.unwrap().unwrap(), back.await.unwrap().unwrap());
        assert_eq!((front.sent, front.received), (3, 9 << 20));
        assert_eq!((back.received, back.sent), (3, 9 << 20));
    });
}

#[test]
fn a_stream_that_has_said_its_last_is_joined_to_hear_the_answer() {
    run(async {
        let (hub, mut agent) = tcp_pair(Limits::default()).await;
        let (mut visitor, mut accepted) = connection().await;
        visitor.shutdown().await.unwrap();
        assert_eq!(accepted.read(&mut [0; 8]).await.unwrap(), 0);
        let mut ours = hub.session.open(&Open::default(), b"ask").unwrap();
        ours.finish();
        let front = spawn_local(splice_stream(accepted, ours));
        let (_, mut theirs) = agent.incoming.next().await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ask");
        // The end comes after the answer, which has been passed on by then.
        theirs.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        visitor.read_exact(&mut answer).await.unwrap();
        theirs.finish();
        assert_eq!(visitor.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert_eq!(front.await.unwrap().unwrap().received, 6);
    });
}

#[test]
fn a_carrier_that_keeps_what_it_is_given_is_flushed_to_the_end() {
    run(async {
        let (one, two) = tokio::io::duplex(64);
        let (session, _) = Session::start(BufWriter::new(one), Side::Hub, Limits::default());
        let (_other, mut incoming) = Session::start(BufWriter::new(two), Side::Agent, Limits::default());
        let mut ours = session.open(&Open::default(), &[5; 5000]).unwrap();
        let (_, mut theirs) = incoming.next().await.unwrap();
        let mut got = vec![0; 5000];
        theirs.read_exact(&mut got).await.unwrap();
        theirs.write_all(&got).await.unwrap();
        ours.read_exact(&mut got).await.unwrap();
        assert_eq!(got, [5; 5000]);
    });
}

#[test]
fn datagrams_arrive_one_by_one() {
    run(async {
        let (hub, mut agent) = pair(Limits::default());
        let open = Open { kind: Kind::Datagrams, ..Open::default() };
        let mut ours = hub.session.open(&open, b"").unwrap();
        let (heard, mut theirs) = agent.incoming.next().await.unwrap();
        assert_eq!(heard.kind, Kind::Datagrams);
        for size in [1, 0, 1400, 60_000] {
            assert!(ours.send_datagram(&vec![9; size]));
            let got = poll_fn(|cx| theirs.poll_datagram(cx)).await.unwrap().unwrap();
            assert_eq!(got.len(), size);
        }
        ours.finish();
        assert_eq!(poll_fn(|cx| theirs.poll_datagram(cx)).await.unwrap(), None);
    });
}
