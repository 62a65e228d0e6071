//! What a session's streams do over QUIC.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

use mainstay_link::tunnel::{Closed, Code, Incoming, Kind, Open, Session, Stream, code_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use super::bed::{Fate, Hub, Road, certified, dial, meet, run, session, whole};

fn open(kind: Kind) -> Open {
    Open { kind, target: "office".to_owned(), ..Open::default() }
}

/// Sends back what comes, on every stream.
fn echo(mut incoming: Incoming) {
    spawn_local(async move {
        while let Some((open, stream)) = incoming.next().await {
            match open.kind {
                Kind::Bytes => spawn_local(bytes(stream)),
                Kind::Datagrams => spawn_local(datagrams(stream)),
            };
        }
    });
}

async fn bytes(stream: Stream) {
    let (mut read, mut write) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

async fn datagrams(mut stream: Stream) {
    while let Ok(Some(bytes)) = std::future::poll_fn(|cx| stream.poll_datagram(cx)).await {
        stream.send_datagram(&bytes);
    }
}

/// A body that tells where it was cut or mixed up.
fn body(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 + seed * 31) as u8).collect()
}

async fn there_and_back(session: &Session, seed: usize, length: usize) {
    let stream = session.open(&open(Kind::Bytes), b"").unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sent = body(seed, length);
    let sends = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut came = Vec::new();
    let reads = read.read_to_end(&mut came);
    let ((), read) = tokio::join!(sends, reads);
    read.unwrap();
    assert!(came == sent, "{seed}: {} of {length} bytes", came.len());
}

/// Every so many is lost.
fn losing(every: u64) -> Fate {
    Rc::new(move |number| number % every != 0)
}

async fn rig(fate: Fate) -> (Hub, Road, (Session, Incoming), (Session, Incoming)) {
    let (pem, tls) = certified();
    let mut hub = Hub::new(&tls).await;
    let road = Road::new(hub.at, fate).await;
    let (near, far) = session(&mut hub, &pem, road.at).await;
    (hub, road, near, far)
}

#[test]
fn many_streams_from_either_side_arrive_whole_and_in_order() {
    run(async {
        let (_hub, _road, near, far) = rig(whole()).await;
        echo(near.1);
        echo(far.1);
        for side in [&far.0, &near.0] {
            let all: Vec<_> = (0..200)
                .map(|seed| {
                    let session = side.clone();
                    spawn_local(async move { there_and_back(&session, seed, seed * 997).await })
                })
                .collect();
            for one in all {
                one.await.unwrap();
            }
        }
        there_and_back(&far.0, 1, 6 << 20).await;
        let counts = far.0.counters();
        assert_eq!((counts.streams, counts.counts.opened, counts.counts.late), (0, 201, 0));
    });
}

#[test]
fn a_road_that_loses_a_datagram_in_thirteen_each_way_costs_no_byte_and_no_stream() {
    run(async {
        let (_hub, _road, near, far) = rig(losing(13)).await;
        echo(near.1);
        let all: Vec<_> = (0..60)
            .map(|seed| {
                let session = far.0.clone();
                spawn_local(async move { there_and_back(&session, seed, 20_000).await })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        assert!(!far.0.is_closed() && !near.0.is_closed());
    });
}

#[test]
fn what_one_stream_has_lost_does_not_hold_up_another() {
    run(async {
        let loses = Rc::new(Cell::new(false));
        let lost = Rc::clone(&loses);
        // The next one that anybody sends is lost.
        let fate: Fate = Rc::new(move |_| !lost.replace(false));
        let (_hub, _road, mut near, far) = rig(fate).await;
        let mut one = far.0.open(&open(Kind::Bytes), b"1").unwrap();
        let (_, mut one_there) = near.1.next().await.unwrap();
        assert_eq!(one_there.read_u8().await.unwrap(), b'1');
        let mut other = far.0.open(&open(Kind::Bytes), b"2").unwrap();
        let (_, mut other_there) = near.1.next().await.unwrap();
        assert_eq!(other_there.read_u8().await.unwrap(), b'2');

        loses.set(true);
        one.write_all(b"lost").await.unwrap();
        while loses.get() {
            tokio::task::yield_now().await;
        }
        other.write_all(b"goes on").await.unwrap();
        let mut came = [0; 7];
        other_there.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"goes on");
        let waits = std::future::poll_fn(|cx| Poll::Ready(one_there.poll_chunk(cx).is_pending()));
        assert!(waits.await, "over one stream of bytes it would have had to come before");
        let mut came = [0; 4];
        one_there.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"lost");
    });
}

#[test]
fn datagrams_go_beside_the_streams_large_ones_over_them_and_loss_costs_no_credit() {
    run(async {
        let (_hub, _road, near, far) = rig(losing(7)).await;
        echo(near.1);
        let mut stream = far.0.open(&open(Kind::Datagrams), b"").unwrap();
        let mut answers = 0;
        // Many times the credit of a stream: what was lost is not counted against it.
        for number in 0..4000_u32 {
            let mut bytes = vec![0; 900];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            stream.send_datagram(&bytes);
            let waits = std::future::poll_fn(|cx| stream.poll_datagram(cx));
            if let Ok(Ok(Some(came))) = tokio::time::timeout(std::time::Duration::from_millis(5), waits).await
            {
                assert_eq!(came.len(), 900);
                answers += 1;
            }
        }
        assert!((2000..4000).contains(&answers), "{answers} of 4000");
        let large = body(3, 60_000);
        assert!(stream.send_datagram(&large), "there is credit for it");
        loop {
            let came = std::future::poll_fn(|cx| stream.poll_datagram(cx)).await.unwrap().unwrap();
            if came.len() > 900 {
                assert!(came == large, "over the lane it is never lost");
                break;
            }
        }
        assert_eq!(far.0.counters().counts.datagrams_dropped, 0);
    });
}

#[test]
fn a_stream_that_is_given_up_says_why_and_the_others_go_on() {
    run(async {
        let (_hub, _road, mut near, far) = rig(losing(11)).await;
        let kept = far.0.open(&open(Kind::Bytes), b"kept").unwrap();
        let mut denied = far.0.open(&open(Kind::Bytes), b"denied").unwrap();
        let (_, kept_there) = near.1.next().await.unwrap();
        let (_, denied_there) = near.1.next().await.unwrap();
        denied_there.reset(Code::Denied);
        let error = denied.read_u8().await.unwrap_err();
        assert_eq!(code_of(&error), Some(Code::Denied));
        spawn_local(bytes(kept_there));
        let (mut read, mut write) = tokio::io::split(kept);
        write.write_all(b" on").await.unwrap();
        write.shutdown().await.unwrap();
        let mut came = String::new();
        read.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, "kept on");
    });
}

#[test]
fn what_was_sent_to_its_end_arrives_before_the_session_is_over() {
    run(async {
        for every in [5, 8] {
            let (_hub, _road, mut near, far) = rig(losing(every)).await;
            let mut stream = far.0.open(&open(Kind::Bytes), b"").unwrap();
            let (_, mut there) = near.1.next().await.unwrap();
            there.shutdown().await.unwrap();
            let sent = body(9, 40_000);
            stream.write_all(&sent).await.unwrap();
            stream.shutdown().await.unwrap();
            far.0.drain(super::bed::LIMIT);
            let mut came = Vec::new();
            there.read_to_end(&mut came).await.unwrap();
            assert!(came == sent, "{} bytes", came.len());
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            drop((stream, there));
            assert_eq!(far.0.closed().await, Closed::Drained);
            assert!(matches!(near.0.closed().await, Closed::Told(_) | Closed::Drained));
        }
    });
}

#[test]
fn a_certificate_that_is_not_believed_and_a_gate_that_is_shut_are_told_at_once() {
    run(async {
        let (pem, tls) = certified();
        let (other, _) = certified();
        let hub = Hub::new(&tls).await;
        let why = dial(&other, hub.at).await.err().unwrap().to_string();
        assert!(why.starts_with("TLS: "), "{why}");
        hub.gate.open.set(false);
        let why = dial(&pem, hub.at).await.err().unwrap().to_string();
        assert!(why.contains("refuse"), "{why}");
        assert_eq!(hub.endpoint.counts().refused, 1);
    });
}

#[test]
fn a_connection_that_is_given_up_is_broken_off_for_the_other_side() {
    run(async {
        let (pem, tls) = certified();
        let mut hub = Hub::new(&tls).await;
        let at = hub.at;
        let (near, mut far) = meet(&mut hub, &pem, at).await;
        drop(near);
        let why = far.read_u8().await.unwrap_err().to_string();
        assert!(why.contains("given up"), "{why}");
    });
}
