//! How sessions and streams end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mainstay_link::tunnel::{
    Closed, Code, Health, Limits, News, Open, Refused, Session, Side, code_of, splice_stream,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;

use crate::rig::{connection, pair, run, tcp_pair};

#[test]
fn a_reset_is_told_with_its_reason_on_the_other_side() {
    run(async {
        let (hub, mut agent) = pair(Limits::default());
        let mut ours = hub.session.open(&Open::default(), b"").unwrap();
        let (_, theirs) = agent.incoming.next().await.unwrap();
        theirs.reset(Code::Unreachable);
        let error = ours.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(code_of(&error), Some(Code::Unreachable));
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(code_of(&ours.write(b"x").await.unwrap_err()), Some(Code::Unreachable));
    });
}

#[test]
fn nobody_who_takes_streams_is_told_so_at_once() {
    run(async {
        let (hub, agent) = pair(Limits::default());
        drop(agent.incoming);
        let mut ours = hub.session.open(&Open::default(), b"").unwrap();
        let error = ours.read(&mut [0; 9]).await.unwrap_err();
        assert!(code_of(&error).is_some_and(Code::is_untouched), "{error}");
    });
}

#[test]
fn a_session_drains_with_its_last_stream() {
    run(async {
        let (hub, mut agent) = tcp_pair(Limits::default()).await;
        let mut ours = hub.session.open(&Open::default(), b"1").unwrap();
        let (_, mut theirs) = agent.incoming.next().await.unwrap();
        agent.session.drain(Duration::from_secs(20));
        while !hub.session.has_left() {
            tokio::task::yield_now().await;
        }
        assert_eq!(hub.session.open(&Open::default(), b"").err(), Some(Refused::Leaving));
        let mut byte = [0];
        theirs.read_exact(&mut byte).await.unwrap();
        theirs.write_all(b"2").await.unwrap();
        theirs.shutdown().await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), b'2');
        assert_eq!(theirs.read(&mut byte).await.unwrap(), 0);
        drop((ours, theirs));
        assert_eq!(agent.session.closed().await, Closed::Drained);
        assert_eq!(hub.session.closed().await, Closed::Told("it has drained".to_owned()));
    });
}

#[test]
fn a_carrier_that_is_cut_ends_its_streams_on_both_sides() {
    run(async {
        let (one, two) = tokio::io::duplex(1024);
        let (session, _incoming) = Session::start(one, Side::Hub, Limits::default());
        let mut stream = session.open(&Open::default(), b"").unwrap();
        drop(two);
        let error = stream.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(code_of(&error), Some(Code::Gone));
        assert!(matches!(session.closed().await, Closed::Lost(_)));
        assert_eq!(session.open(&Open::default(), b"").err(), Some(Refused::Closed));
    });
}

#[test]
fn a_half_open_carrier_is_found() {
    run(async {
        // The other end is there and says nothing: as good as a cut cable.
        let (one, _two) = tokio::io::duplex(64 << 10);
        let (ping, silence) = (Duration::from_millis(50), Duration::from_millis(150));
        let (session, mut incoming) =
            Session::start(one, Side::Hub, Limits { ping, silence, ..Limits::default() });
        assert!(incoming.next().await.is_none());
        assert!(matches!(session.closed().await, Closed::Silent(_)));
    });
}

#[test]
fn the_last_handle_ends_a_session() {
    run(async {
        let (hub, mut agent) = pair(Limits::default());
        drop(hub);
        assert!(agent.incoming.next().await.is_none());
        assert_eq!(agent.session.closed().await, Closed::Told("it was told to".to_owned()));
    });
}

#[test]
fn news_arrive_without_waiting_for_the_next_ping() {
    run(async {
        let (hub, agent) = pair(Limits {
            ping: Duration::from_secs(3600),
            silence: Duration::from_secs(7200),
            ..Limits::default()
        });
        let news = News { load: 3, targets: vec![("web".to_owned(), Health::Down)] };
        let mut known = 0;
        agent.session.tell(news.clone());
        while hub.session.heard() != news {
            known = hub.session.changed(known).await;
        }
    });
}

#[test]
fn who_waits_for_what_the_other_side_tells_hears_of_its_leaving_and_of_the_end() {
    run(async {
        let (hub, agent) = pair(Limits::default());
        let _stream = agent.session.open(&Open::default(), b"").unwrap();
        hub.session.drain(Duration::from_secs(3600));
        let mut known = 0;
        while !agent.session.has_left() {
            known = agent.session.changed(known).await;
        }
        hub.session.close();
        while !agent.session.is_closed() {
            known = agent.session.changed(known).await;
        }
    });
}

#[test]
fn a_ping_says_how_busy_we_are_when_it_is_sent_and_none_is_sent_for_that_alone() {
    run(async {
        let (hub, agent) = pair(Limits { ping: Duration::from_millis(20), ..Limits::default() });
        let load = Rc::new(Cell::new(0));
        agent.session.set_load(&load);
        for busy in [7, 2] {
            load.set(busy);
            let mut known = 0;
            while hub.session.heard().load != busy {
                known = hub.session.changed(known).await;
            }
        }
    });
}

#[test]
fn a_visitor_sees_a_failure_not_an_end_when_the_stream_is_cut_short() {
    run(async {
        let (hub, mut agent) = tcp_pair(Limits::default()).await;
        let (mut visitor, accepted) = connection().await;
        let front = spawn_local(splice_stream(accepted, hub.session.open(&Open::default(), b"").unwrap()));
        let (_, mut theirs) = agent.incoming.next().await.unwrap();
        theirs.write_all(b"half of").await.unwrap();
        let mut half = [0; 7];
        visitor.read_exact(&mut half).await.unwrap();
        drop(theirs);
        let error = visitor.read(&mut half).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(code_of(&front.await.unwrap().unwrap_err()), Some(Code::Cancel));
    });
}
