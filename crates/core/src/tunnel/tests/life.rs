//! How streams and sessions begin and end.

use std::time::Duration;

use super::rig::{Rig, SMALL, Told, hear, read};
use crate::tunnel::{Closed, Code, Health, Kind, News, Open, Refused, Unread};

#[test]
fn a_stream_begins_with_its_first_bytes_and_ends_both_ways() {
    let mut rig = Rig::new(SMALL);
    let open = Open {
        target: "web".to_owned(),
        visitor: Some("192.0.2.7:4711".parse().unwrap()),
        destination: Some("[2001:db8::1]:443".parse().unwrap()),
        host: Some("app.example.com".to_owned()),
        hops: vec!["hub-1".to_owned()],
        kind: Kind::Bytes,
    };
    let (ours, count) = rig.hub.open(&open, b"GET / HTTP/1.1\r\n", rig.now).unwrap();
    assert_eq!(count, 16);
    rig.hub.finish(ours);
    let told = rig.agent_hears();
    let Told::Opened(theirs, heard) = &told[0] else { panic!("{told:?}") };
    assert_eq!(*heard, open);
    assert_eq!(told[1..], [Told::Data(*theirs, b"GET / HTTP/1.1\r\n".to_vec()), Told::Ended(*theirs)]);
    assert_eq!(read(&mut rig.agent, *theirs, rig.now), b"GET / HTTP/1.1\r\n");
    assert_eq!(rig.agent.unread_of(*theirs), Ok(Unread::End));
    rig.agent.send(*theirs, b"200").unwrap();
    rig.agent.finish(*theirs);
    assert_eq!(rig.settle().0, [Told::Data(ours, b"200".to_vec()), Told::Ended(ours)]);
    read(&mut rig.hub, ours, rig.now);
    rig.hub.forget(ours);
    rig.agent.forget(*theirs);
    assert_eq!((rig.hub.living(), rig.agent.living()), (0, 0));
    assert_eq!(rig.hub.output(), b"");
}

#[test]
fn both_sides_open_and_never_use_the_same_number() {
    let mut rig = Rig::new(SMALL);
    let hub = rig.hub.open(&Open::default(), b"", rig.now).unwrap().0;
    let agent = rig.agent.open(&Open::default(), b"", rig.now).unwrap().0;
    assert_eq!((hub.id() % 2, agent.id() % 2), (0, 1));
    let (to_hub, to_agent) = rig.settle();
    assert!(matches!(to_hub[..], [Told::Opened(key, _)] if key.id() == agent.id()));
    assert!(matches!(to_agent[..], [Told::Opened(key, _)] if key.id() == hub.id()));
}

#[test]
fn who_forgets_a_stream_that_is_not_over_resets_it() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    rig.agent.reset(theirs, Code::Unreachable);
    assert_eq!(rig.settle().0, [Told::Reset(ours, Code::Unreachable)]);
    assert_eq!(rig.hub.send(ours, b"x"), Err(Code::Unreachable));
    rig.hub.forget(ours);
    rig.agent.forget(theirs);
    let (ours, theirs) = rig.open();
    rig.hub.forget(ours);
    assert_eq!(rig.settle().1, [Told::Reset(theirs, Code::Cancel)]);
}

#[test]
fn what_was_sent_to_its_end_is_read_though_a_reset_follows() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    rig.agent.send(theirs, b"all of it").unwrap();
    rig.agent.finish(theirs);
    rig.agent.forget(theirs);
    let told = rig.settle().0;
    assert_eq!(told.last(), Some(&Told::Reset(ours, Code::Cancel)));
    assert_eq!(read(&mut rig.hub, ours, rig.now), b"all of it");
    assert_eq!(rig.hub.unread_of(ours), Ok(Unread::End));
    assert_eq!(rig.hub.send(ours, b"x"), Err(Code::Cancel));
    rig.hub.forget(ours);
    assert_eq!((rig.hub.living(), rig.agent.living()), (0, 0));
}

#[test]
fn late_frames_of_a_stream_that_is_over_are_counted_and_cost_nothing() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    rig.hub.forget(ours);
    rig.agent.send(theirs, b"on its way").unwrap();
    rig.agent.finish(theirs);
    assert_eq!(rig.hub_hears(), []);
    assert_eq!(rig.hub.counts().late, 1);
    rig.settle();
    rig.open();
}

#[test]
fn silence_of_three_seconds_ends_a_session_and_an_answer_does_not_let_it() {
    let mut rig = Rig::new(SMALL);
    for _ in 0..10 {
        rig.pass(Duration::from_secs(1));
        rig.settle();
    }
    assert!(!rig.hub.is_closed() && rig.hub.rtt().is_some());
    // The carrier is half-open: nothing arrives any more.
    let heard = rig.now;
    while !rig.hub.is_closed() {
        let next = rig.hub.poll_timeout();
        assert!(next > rig.now);
        rig.now = next;
        rig.hub.tick(next);
        rig.hub.sent(rig.hub.output().len());
    }
    assert!(rig.now.since(heard) <= Duration::from_millis(3_500));
    assert_eq!(super::rig::effects(&mut rig.hub), [Told::Closed(Closed::Silent(Duration::from_secs(3)))]);
}

#[test]
fn a_session_that_leaves_serves_what_was_on_its_way_and_refuses_what_comes_after() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    // They cross: the agent leaves while the hub opens.
    rig.agent.drain(Duration::from_secs(30), rig.now);
    let crossing = rig.hub.open(&Open::default(), b"crossing", rig.now).unwrap().0;
    let told = rig.agent_hears();
    let Told::Opened(late, _) = told[0] else { panic!("{told:?}") };
    assert_eq!(rig.hub_hears()[0], Told::Left);
    assert_eq!(rig.hub.open(&Open::default(), b"", rig.now), Err(Refused::Leaving));
    assert_eq!(rig.agent.open(&Open::default(), b"", rig.now), Err(Refused::Leaving));
    rig.settle();
    for (hub, agent) in [(ours, theirs), (crossing, late)] {
        assert!(!rig.agent.is_closed());
        rig.agent.finish(agent);
        rig.hub.finish(hub);
        rig.settle();
        read(&mut rig.agent, agent, rig.now);
        rig.hub.forget(hub);
        rig.agent.forget(agent);
    }
    assert!(rig.agent.is_closed());
    let (hub, agent) = rig.settle();
    assert_eq!(agent, [Told::Closed(Closed::Drained)]);
    assert_eq!(hub, [Told::Closed(Closed::Told("it has drained".to_owned()))]);
}

#[test]
fn a_session_that_leaves_ends_at_its_deadline_with_the_streams_that_are_left() {
    let mut rig = Rig::new(SMALL);
    let (ours, _) = rig.open();
    rig.hub.drain(Duration::from_millis(1_500), rig.now);
    rig.settle();
    rig.pass(Duration::from_secs(1));
    rig.settle();
    assert!(!rig.hub.is_closed());
    rig.pass(Duration::from_millis(500));
    assert_eq!(rig.settle().0, [Told::Closed(Closed::Drained)]);
    assert_eq!(rig.hub.unread_of(ours), Err(Code::Gone));
    rig.hub.forget(ours);
    assert_eq!(rig.hub.living(), 0);
}

#[test]
fn pings_tell_of_load_and_targets_and_a_change_is_told_at_once() {
    let mut rig = Rig::new(SMALL);
    let targets = vec![("web".to_owned(), Health::Up), ("db".to_owned(), Health::Down)];
    let news = News { load: 17, targets };
    rig.agent.tell(news.clone());
    rig.agent.tick(rig.now);
    rig.settle();
    assert_eq!(*rig.hub.heard(), news);
}

#[test]
fn more_targets_than_a_ping_holds_never_break_it() {
    let mut rig = Rig::new(SMALL);
    let targets = (0..500).map(|n| (format!("{n:0>200}"), Health::Up)).collect();
    rig.agent.tell(News { load: 1, targets });
    rig.agent.tick(rig.now);
    rig.settle();
    let heard = rig.hub.heard().targets.len();
    assert!((10..=64).contains(&heard), "{heard}");
}

#[test]
fn datagrams_keep_their_borders_and_are_dropped_when_there_is_no_credit() {
    let mut rig = Rig::new(SMALL);
    let open = Open { kind: Kind::Datagrams, target: "dns".to_owned(), ..Open::default() };
    let (ours, _) = rig.hub.open(&open, b"not sent", rig.now).unwrap();
    assert!(
        rig.hub.send_datagram(ours, b"one")
            && rig.hub.send_datagram(ours, b"")
            && rig.hub.send_datagram(ours, &[3; 9000])
    );
    let told = rig.settle().1;
    let Told::Opened(theirs, _) = told[0] else { panic!("{told:?}") };
    assert_eq!(rig.agent.take_datagram(theirs, rig.now).unwrap(), b"one");
    assert_eq!(rig.agent.take_datagram(theirs, rig.now).unwrap(), b"");
    assert_eq!(rig.agent.take_datagram(theirs, rig.now).unwrap().len(), 9000);
    assert_eq!(rig.agent.take_datagram(theirs, rig.now), None);
    // What was taken is credit again.
    rig.settle();
    let sent = (0..10_000).take_while(|_| rig.hub.send_datagram(ours, &[1; 100])).count();
    assert!((90..=16_384 / 164).contains(&sent), "{sent}");
    assert_eq!(rig.hub.counts().datagrams_dropped, 1);
    rig.hub.finish(ours);
    assert_eq!(rig.settle().1.last(), Some(&Told::Ended(theirs)));
}

#[test]
fn a_later_version_may_add_frames_fields_and_words() {
    let mut rig = Rig::new(SMALL);
    let mut bytes = vec![0, 0, 0, 0, 0, 3, 99, 0, 1, 2, 3];
    // A PONG and an OPEN with more than is known: token and two bytes; fields of type 77.
    bytes.extend([0, 0, 0, 0, 0, 10, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9]);
    bytes.extend([0, 0, 0, 2, 0, 12, 1, 0xf0, 0, 9, 77, 0, 0, 1, 0, 3, b'w', b'e', b'b', b'!']);
    let told = hear(&mut rig.agent, &bytes, rig.now);
    let Told::Opened(key, open) = &told[0] else { panic!("{told:?}") };
    assert_eq!((open.target.as_str(), &told[1]), ("web", &Told::Data(*key, b"!".to_vec())));
    assert_eq!(rig.agent.counts().unknown, 1);
}

#[test]
fn who_was_away_itself_asks_before_it_calls_the_other_side_dead() {
    let mut rig = Rig::new(SMALL);
    rig.now += Duration::from_secs(60);
    rig.hub.tick(rig.now);
    assert!(!rig.hub.is_closed());
    rig.agent_hears();
    rig.hub_hears();
    rig.pass(Duration::from_secs(2));
    rig.settle();
    assert!(!rig.hub.is_closed());
}
