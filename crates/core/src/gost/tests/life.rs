//! A session's rules, one by one.

use std::time::Duration;

use super::rig::{Rig, Told, effects, fill, hear, read};
use crate::gost::smux::{Header, INITIAL_WINDOW, Limits, NOP, PSH, UPD};
use crate::tunnel::{Closed, Code, Kind, Open, Refused, TURN, Unread};

#[test]
fn bytes_pass_both_ways_and_ends_are_heard_after_them() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, theirs) = rig.open();
    assert_eq!(rig.hub.send(ours, b"ask"), Ok(3));
    rig.hub.finish(ours);
    let told = rig.settle().1;
    assert_eq!(told, [Told::Data(theirs, b"ask".to_vec()), Told::Ended(theirs)]);
    assert_eq!(read(&mut rig.agent, theirs, rig.now), b"ask");
    assert_eq!(rig.agent.unread_of(theirs), Ok(Unread::End));
    // Half closed: the answer still comes.
    assert_eq!(rig.agent.send(theirs, b"answer"), Ok(6));
    rig.agent.finish(theirs);
    assert_eq!(rig.settle().0, [Told::Data(ours, b"answer".to_vec()), Told::Ended(ours)]);
    rig.agent.forget(theirs);
    read(&mut rig.hub, ours, rig.now);
    rig.hub.forget(ours);
    assert_eq!((rig.hub.living(), rig.agent.living()), (0, 0));
}

#[test]
fn a_reader_that_does_not_read_stops_its_sender_and_reading_lets_it_go_on() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, theirs) = rig.open();
    let header = 24;
    assert_eq!(fill(&mut rig, ours, 8 << 20), INITIAL_WINDOW as usize - header);
    assert_eq!(rig.hub.send(ours, b"x"), Ok(0));
    let got = read(&mut rig.agent, theirs, rig.now).len();
    assert_eq!(got, INITIAL_WINDOW as usize - header);
    assert!(rig.settle().0.contains(&Told::Writable(ours)));
    // What was told while it read: a megabyte from some 64 KiB before its end.
    let more = fill(&mut rig, ours, 8 << 20);
    assert!((800 << 10..=1 << 20).contains(&more), "{more}");
}

#[test]
fn slow_readers_get_less_when_many_are_slow() {
    let limits = Limits { window: 1 << 20, bucket: 1 << 20, ..Limits::default() };
    let mut rig = Rig::new(Kind::Bytes, limits);
    let streams: Vec<_> = (0..3).map(|_| rig.open()).collect();
    for (ours, _) in &streams {
        fill(&mut rig, *ours, 8 << 20);
    }
    let (ours, theirs) = streams[0];
    read(&mut rig.agent, theirs, rig.now);
    rig.settle();
    let more = fill(&mut rig, ours, 8 << 20);
    assert!((48 << 10..400 << 10).contains(&more), "{more}");
    assert!(!rig.agent.is_full());
}

#[test]
fn a_full_bucket_asks_for_a_pause_and_silence_is_not_judged_meanwhile() {
    let limits = Limits { bucket: 512 << 10, ..Limits::default() };
    let mut rig = Rig::new(Kind::Bytes, limits);
    let streams: Vec<_> = (0..3).map(|_| rig.open()).collect();
    for (ours, _) in &streams {
        fill(&mut rig, *ours, 200 << 10);
    }
    assert!(rig.agent.is_full());
    rig.now += Duration::from_secs(300);
    rig.agent.tick(rig.now);
    assert!(!rig.agent.is_closed());
    read(&mut rig.agent, streams[0].1, rig.now);
    assert!(!rig.agent.is_full());
    rig.agent.tick(rig.now + Duration::from_secs(20));
    assert!(!rig.agent.is_closed());
    rig.agent.tick(rig.now + Duration::from_secs(30));
    assert!(matches!(effects(&mut rig.agent)[..], [Told::Closed(Closed::Silent(_))]));
}

#[test]
fn a_sign_of_life_every_ten_seconds_and_the_end_after_thirty_without() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    for _ in 0..12 {
        rig.pass(Duration::from_secs(10));
        assert_eq!(rig.hub.output(), Header { kind: NOP, len: 0, id: 0 }.bytes());
        assert_eq!(rig.settle(), (vec![], vec![]));
    }
    for _ in 0..3 {
        rig.now += Duration::from_secs(10);
        rig.hub.tick(rig.now);
    }
    let told = effects(&mut rig.hub);
    assert!(matches!(told[..], [Told::Closed(Closed::Silent(_))]), "{told:?}");
}

#[test]
fn who_was_away_itself_waits_for_one_more_sign() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    rig.now += Duration::from_secs(500);
    rig.hub.tick(rig.now);
    assert!(!rig.hub.is_closed(), "nothing was read meanwhile");
    rig.hub.tick(rig.now + Duration::from_secs(10));
    assert!(rig.hub.is_closed());
}

#[test]
fn streams_take_turns() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let streams: Vec<_> = (0..4).map(|_| rig.open().0).collect();
    let mut left = [200_000_usize; 4];
    let mut order = Vec::new();
    while left.iter().any(|left| *left > 0) {
        for (n, key) in streams.iter().enumerate() {
            let want = left[n].min(32 << 10);
            let count = rig.hub.send(*key, &vec![1; want]).unwrap();
            left[n] -= count;
            if count > 0 {
                order.push((n, count));
            }
        }
        let out = rig.hub.output().len();
        rig.hub.sent(out.min(24 << 10));
        effects(&mut rig.hub);
    }
    // Beyond what the first filled the stage with, nobody has more than a turn before each other had one.
    let after: Vec<_> = order.iter().skip(4).collect();
    for pair in after.windows(2) {
        assert!(pair[0].1 <= TURN || pair[0].0 != pair[1].0, "{order:?}");
    }
    let at = |n| order.iter().position(|turn| turn.0 == n).unwrap();
    assert!((0..4).all(|n| at(n) < 12), "{order:?}");
}

#[test]
fn a_side_that_leaves_opens_nothing_and_ends_with_its_last_stream() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, theirs) = rig.open();
    rig.hub.drain(Duration::from_secs(60), rig.now);
    assert_eq!(rig.hub.open(&Open::default(), b"", rig.now), Err(Refused::Leaving));
    rig.hub.finish(ours);
    rig.settle();
    rig.agent.finish(theirs);
    rig.settle();
    rig.hub.forget(ours);
    assert_eq!(effects(&mut rig.hub), [Told::Closed(Closed::Drained)]);
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    rig.open();
    rig.hub.drain(Duration::from_secs(5), rig.now);
    rig.hub.tick(rig.now + Duration::from_secs(5));
    assert_eq!(effects(&mut rig.hub), [Told::Closed(Closed::Drained)]);
}

#[test]
fn what_had_come_before_its_end_can_be_read_when_the_carrier_is_gone() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, theirs) = rig.open();
    let (cut, cut_theirs) = rig.open();
    rig.hub.send(ours, b"whole").unwrap();
    rig.hub.send(cut, b"half").unwrap();
    rig.hub.finish(ours);
    rig.settle();
    rig.agent.lost("reset");
    assert_eq!(effects(&mut rig.agent), [Told::Closed(Closed::Lost("reset".into()))]);
    assert_eq!(read(&mut rig.agent, theirs, rig.now), b"whole");
    assert_eq!(rig.agent.unread_of(theirs), Ok(Unread::End));
    assert_eq!(rig.agent.unread_of(cut_theirs), Err(Code::Gone));
    assert_eq!(rig.agent.room(theirs), Err(Code::Gone));
    rig.agent.forget(theirs);
    rig.agent.forget(cut_theirs);
    assert_eq!((rig.agent.living(), rig.agent.unread()), (0, 0));
}

/// Closing is closing both ways in most versions of smux: what is sent then is thrown away, and nobody says so.
#[test]
fn who_writes_to_a_side_that_has_ended_waits_for_half_a_minute_at_most() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, theirs) = rig.open();
    rig.agent.finish(theirs);
    rig.agent.forget(theirs);
    rig.settle();
    fill(&mut rig, ours, 8 << 20);
    assert_eq!(rig.hub.room(ours), Ok(0));
    for _ in 0..3 {
        rig.pass(Duration::from_millis(9_900));
        rig.settle();
        assert_eq!(rig.hub.room(ours), Ok(0));
    }
    assert!(rig.hub.poll_timeout() <= rig.now + Duration::from_millis(300));
    rig.now += Duration::from_millis(300);
    rig.hub.tick(rig.now);
    assert_eq!(rig.hub.room(ours), Err(Code::Cancel));
    assert!(effects(&mut rig.hub).contains(&Told::Writable(ours)));
    rig.hub.forget(ours);
    assert_eq!(rig.hub.living(), 0);
}

#[test]
fn who_ended_one_way_alone_goes_on_reading() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, theirs) = rig.open();
    rig.agent.finish(theirs);
    rig.settle();
    let mut sent = 0;
    for _ in 0..20 {
        sent += fill(&mut rig, ours, 4 << 20);
        assert_eq!(rig.hub.room(ours), Ok(0));
        rig.pass(Duration::from_secs(9));
        read(&mut rig.agent, theirs, rig.now);
        rig.settle();
    }
    assert!(sent > 10 << 20, "{sent}");
    assert!(rig.hub.room(ours).unwrap() > 0);
}

#[test]
fn datagrams_keep_their_borders_and_no_more_than_the_window_is_kept() {
    let mut rig = Rig::new(Kind::Datagrams, Limits::default());
    let (ours, theirs) = rig.open();
    let sent: [&[u8]; 4] = [b"one", b"", &[7; 65_535], b"four"];
    for datagram in sent {
        assert!(rig.hub.send_datagram(ours, datagram));
        let told = rig.settle().1;
        assert_eq!(told, [Told::Datagram(theirs, datagram.to_vec())]);
    }
    for datagram in sent {
        assert_eq!(rig.agent.take_datagram(theirs, rig.now).as_deref(), Some(datagram));
    }
    assert_eq!((rig.agent.take_datagram(theirs, rig.now), rig.agent.unread()), (None, 0));
    assert!(!rig.hub.send_datagram(ours, &[0; 65_536]), "too long");
    rig.settle();
    let mut count = 0;
    while rig.hub.send_datagram(ours, &[1; 9000]) {
        rig.settle();
        count += 1;
    }
    assert!((16..=128).contains(&count), "{count}");
    assert_eq!(rig.hub.counts().datagrams_dropped, 2);
    while rig.agent.take_datagram(theirs, rig.now).is_some() {}
    rig.settle();
    assert!(rig.hub.send_datagram(ours, b"again"));
}

#[test]
fn of_many_tiny_datagrams_only_so_many_are_kept() {
    let mut rig = Rig::new(Kind::Datagrams, Limits::default());
    let (ours, theirs) = rig.open();
    for _ in 0..3000 {
        assert!(rig.hub.send_datagram(ours, b""));
        rig.settle();
    }
    let kept = std::iter::from_fn(|| rig.agent.take_datagram(theirs, rig.now)).count();
    assert_eq!((kept, rig.agent.counts().datagrams_dropped), (1024, 1976));
    assert_eq!(rig.agent.unread(), 0);
}

#[test]
fn datagrams_that_nobody_reads_are_lost_and_never_stop_the_session() {
    let mut rig = Rig::new(Kind::Datagrams, Limits { bucket: 512 << 10, ..Limits::default() });
    let streams: Vec<_> = (0..40).map(|_| rig.open()).collect();
    // Many at once that are not whole: a length, and some of it.
    for (ours, _) in &streams {
        let mut part = Header { kind: PSH, len: 30_002, id: ours.id() }.bytes().to_vec();
        part.extend([0xff, 0xff]);
        part.extend([1; 30_000]);
        assert_eq!(hear(&mut rig.agent, &part, rig.now), []);
        assert!(!rig.agent.is_full() && rig.agent.unread() <= 512 << 10);
    }
    assert!(rig.agent.counts().datagrams_dropped > 20);
    // Those that were given up end as they would have, and the next are whole.
    for (ours, theirs) in &streams {
        let mut rest = Header { kind: PSH, len: 35_535 + 5, id: ours.id() }.bytes().to_vec();
        rest.extend([1; 35_535]);
        rest.extend([0, 3, b'y', b'e', b's']);
        let told = hear(&mut rig.agent, &rest, rig.now);
        while let Some(datagram) = rig.agent.take_datagram(*theirs, rig.now) {
            assert!(datagram == b"yes" || datagram == [1; 65_535]);
        }
        assert!(told.iter().all(|told| matches!(told, Told::Datagram(..))), "{told:?}");
    }
    assert_eq!(rig.agent.unread(), 0);
    let (ours, theirs) = streams[39];
    let mut on = Header { kind: PSH, len: 4, id: ours.id() }.bytes().to_vec();
    on.extend([0, 2, b'o', b'n']);
    assert_eq!(hear(&mut rig.agent, &on, rig.now), [Told::Datagram(theirs, b"on".to_vec())]);
}

#[test]
fn a_window_may_shrink_and_nothing_is_sent_beyond_it() {
    let mut rig = Rig::new(Kind::Bytes, Limits::default());
    let (ours, _) = rig.open();
    rig.hub.send(ours, &[1; 1000]).unwrap();
    let update = |consumed: u32, window: u32| {
        let mut bytes = Header { kind: UPD, len: 8, id: ours.id() }.bytes().to_vec();
        bytes.extend([consumed.to_le_bytes(), window.to_le_bytes()].as_flattened());
        bytes
    };
    hear(&mut rig.hub, &update(24, 900), rig.now);
    assert_eq!(rig.hub.room(ours), Ok(0));
    assert_eq!(hear(&mut rig.hub, &update(1024, 10), rig.now), [Told::Writable(ours)]);
    assert_eq!(rig.hub.room(ours), Ok(10));
}
