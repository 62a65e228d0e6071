//! How a connection begins: both sides' steps, through pieces, silence and nonsense.

use std::time::Duration;

use super::rig::{Told, hear};
use crate::gost::Session;
use crate::gost::ask::{Ask, Bind, Connect, Grant};
use crate::gost::relay::{Addr, Broken, Id, Status};
use crate::gost::smux::Limits;
use crate::gost::step::{Call, Door, Failed, PATIENCE, answer, no, yes};
use crate::time::Boot;
use crate::tunnel::{Kind, Open, Side};

const NOW: Boot = Boot::from_nanos(1);

fn tunnel() -> Id {
    "381433e1-7980-11ee-bbdb-60f262c1e32d".parse().unwrap()
}

fn bind(kind: Kind) -> Bind {
    Bind { tunnel: tunnel(), kind, source: Some(Addr::new("10.0.0.7", 1)), wanted: Addr::NONE, login: None }
}

#[test]
fn a_client_is_granted_its_tunnel_and_streams_come_right_behind_the_answer() {
    for kind in [Kind::Bytes, Kind::Datagrams] {
        let mut call = Call::bind(bind(kind), NOW);
        let mut door = Door::new(NOW);
        let mut heard = None;
        for mut piece in call.output().chunks(7) {
            heard = door.receive(&mut piece).unwrap().or(heard);
        }
        let Some((Ask::Bind(asked), 0)) = heard else { panic!("{heard:?}") };
        assert_eq!(asked, bind(kind));
        call.sent(call.output().len());
        let grant = Grant::new(&asked, "b7de88a94729b931", [7; 16]);
        let mut hub = Session::new(Side::Hub, asked.kind, Limits::default(), &grant.message().bytes(), NOW);
        // The answer and the first stream come in one piece.
        let (_, count) = hub.open(&Open::default(), b"hello", NOW).unwrap();
        let bytes = hub.output().to_vec();
        let mut input = &bytes[..];
        assert_eq!(call.receive(&mut input), Ok(Some(grant)));
        let mut agent = Session::new(Side::Agent, kind, Limits::default(), b"", NOW);
        let told = hear(&mut agent, input, NOW);
        let expected = if kind == Kind::Bytes { 2 } else { 1 };
        assert_eq!((told.len(), count), (expected, if kind == Kind::Bytes { 5 } else { 0 }), "{told:?}");
        let Told::Opened(_, open) = &told[0] else { panic!("{told:?}") };
        assert_eq!(open.kind, kind);
    }
}

#[test]
fn a_visitor_gets_its_stream_or_is_told_why_not() {
    let connect = || Connect {
        tunnel: tunnel(),
        kind: Kind::Bytes,
        source: None,
        target: Addr::new("name", 80),
        login: None,
    };
    let mut call = Call::connect(connect(), NOW);
    let both = [yes(), b"SSH-2.0".to_vec()].concat();
    let mut input = &both[..];
    assert!(call.receive(&mut input).unwrap().is_some());
    assert_eq!(input, b"SSH-2.0");
    let mut call = Call::connect(connect(), NOW);
    let refused = no(Status::HostUnreachable);
    assert_eq!(call.receive(&mut &refused[..]), Err(Failed::Told(Status::HostUnreachable)));
}

#[test]
fn who_says_nothing_is_told_that_it_took_too_long() {
    let door = Door::new(NOW);
    assert_eq!(door.tick(NOW + PATIENCE - Duration::from_nanos(1)), Ok(()));
    assert_eq!(door.poll_timeout(), NOW + PATIENCE);
    assert_eq!(door.tick(door.poll_timeout()), Err(Failed::Late));
    assert_eq!(answer(Failed::Late), Some(vec![1, 4, 0, 0]));
    let call = Call::bind(bind(Kind::Bytes), NOW);
    assert_eq!(call.tick(call.poll_timeout()), Err(Failed::Late));
}

#[test]
fn who_speaks_something_else_is_told_nothing_and_who_errs_is() {
    let failed = |bytes: &[u8]| Door::new(NOW).receive(&mut &bytes[..]).unwrap_err();
    let http = failed(b"GET / HTTP/1.1");
    assert_eq!((http, answer(http)), (Failed::Broken(Broken::Version(b'G')), None));
    let cut = failed(&[1, 2, 0, 1, 0]);
    assert_eq!((cut, answer(cut)), (Failed::Broken(Broken::Cut), Some(no(Status::BadRequest))));
    let nobody = failed(&[1, 2, 0, 0]);
    assert_eq!(nobody, Failed::Refused(Status::BadRequest));
    assert_eq!(answer(nobody), Some(no(Status::BadRequest)));
}
