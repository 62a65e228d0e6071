//! The wire, byte by byte.

use super::rig::{Told, hear, hex};
use crate::gost::Session;
use crate::gost::ask::{Ask, Bind, Connect, Grant};
use crate::gost::relay::{Addr, Broken, Command, Feature, Id, Login, Message, Network, Reader, Status};
use crate::gost::smux::Limits;
use crate::time::Boot;
use crate::tunnel::{Kind, Open, Side};

const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

fn tunnel() -> Id {
    Id { weight: 3, ..TUNNEL.parse().unwrap() }
}

fn one(mut bytes: &[u8]) -> Message {
    let message = Reader::default().receive(&mut bytes).unwrap().expect("all of it is there");
    assert_eq!(bytes, b"");
    message
}

#[test]
fn a_client_that_serves_a_tunnel_asks_as_gost_does() {
    let bind = Bind {
        tunnel: tunnel(),
        kind: Kind::Bytes,
        source: Some(Addr::new("10.0.0.7", 40000)),
        wanted: Addr::new("dash", 0),
        login: Some(Login { user: "ada".into(), password: "pw".into() }),
    };
    let ask = Ask::Bind(bind);
    let bytes = hex("01 02 0036  01 0007 03 616461 02 7077  02 0007 01 0a000007 9c40
                     02 0008 03 04 64617368 0000  03 0014 381433e1798011eebbdb60f262c1e32d 00 0000 03");
    assert_eq!(ask.message().bytes(), bytes);
    assert_eq!(Ask::read(&one(&bytes)), Ok(ask));
}

#[test]
fn datagrams_are_asked_for_in_both_ways_and_either_is_understood() {
    let bind = Bind {
        tunnel: Id { weight: 0, ..tunnel() },
        kind: Kind::Datagrams,
        source: None,
        wanted: Addr::NONE,
        login: None,
    };
    let tail = "02 0007 01 00000000 0000  02 0007 01 00000000 0000  03 0014 381433e1798011eebbdb60f262c1e32d 00000000";
    let ask = Ask::Bind(Bind { source: Some(Addr::NONE), ..bind });
    assert_eq!(ask.message().bytes(), hex(&format!("01 82 0030  04 0002 0001 {tail}")));
    assert_eq!(Ask::read(&one(&hex(&format!("01 82 002b {tail}")))), Ok(ask.clone()));
    assert_eq!(Ask::read(&one(&hex(&format!("01 02 0030 04 0002 0001 {tail}")))), Ok(ask));
    let other = one(&hex(&format!("01 02 0030 04 0002 0010 {tail}")));
    assert_eq!(Ask::read(&other), Err(Status::BadRequest), "a tunnel carries no unix sockets");
}

#[test]
fn a_visitor_asks_for_a_host_behind_a_tunnel() {
    let connect = Connect {
        tunnel: Id { weight: 0, ..tunnel() },
        kind: Kind::Bytes,
        source: Some(Addr::new("::1", 5)),
        target: Addr::new("name", 8000),
        login: None,
    };
    let bytes = hex("01 01 0038  02 0013 04 00000000000000000000000000000001 0005
                     02 0008 03 04 6e616d65 1f40  03 0014 381433e1798011eebbdb60f262c1e32d 00000000");
    assert_eq!(Ask::Connect(connect.clone()).message().bytes(), bytes);
    assert_eq!(Ask::read(&one(&bytes)), Ok(Ask::Connect(connect)));
}

#[test]
fn a_grant_names_the_host_and_the_client() {
    let bind =
        Bind { tunnel: tunnel(), kind: Kind::Datagrams, source: None, wanted: Addr::NONE, login: None };
    let grant = Grant::new(&bind, "b7de88a94729b931", [9; 16]);
    let bytes = hex("01 00 002e  02 0014 03 10 62376465383861393437323962393331 0000
                     03 0014 09090909090909090909090909090909 01 0000 03");
    assert_eq!(grant.message().bytes(), bytes);
    assert_eq!(Grant::read(&one(&bytes)), Ok(grant));
    assert_eq!(Grant::read(&one(&[1, 5, 0, 0])), Err(Status::Unavailable));
}

#[test]
fn the_first_clients_ids_and_features_of_later_ones_are_read() {
    let old = one(&hex(
        "01 02 0021  03 0010 381433e1798011eebbdb60f262c1e32d  07 0003 010203  05 0002 0102 00 0000",
    ));
    assert_eq!(old.skipped, 3);
    assert_eq!(old.features, [Feature::Tunnel(Id { weight: 0, ..tunnel() })]);
    let long = one(&hex("01 02 001b  03 0018 381433e1798011eebbdb60f262c1e32d 80 0000 07 ffffffff"));
    let Feature::Tunnel(id) = long.features[0] else { panic!() };
    assert!(id.is_private() && id.weight == 7);
}

#[test]
fn what_cannot_be_read_is_named() {
    let read = |text: &str| Reader::default().receive(&mut &hex(text)[..]);
    assert_eq!(read("05 01"), Err(Broken::Version(5)));
    assert_eq!(read("01 02 2001"), Err(Broken::Long(0x2001)));
    assert_eq!(read("01 02 0002 0100"), Err(Broken::Cut));
    assert_eq!(read("01 02 0004 0100 02 00"), Err(Broken::Cut));
    assert_eq!(read("01 02 0005 01 0002 0500"), Err(Broken::Feature(1)));
    assert_eq!(read("01 02 0007 02 0004 02 000000"), Err(Broken::Feature(2)));
    assert_eq!(read("01 02 0008 02 0005 03 01 00 0000"), Err(Broken::Feature(2)), "a control character");
    assert_eq!(read("01 02 0006 03 0003 010203"), Err(Broken::Feature(3)));
    assert_eq!(read("01 02 0004 04 0001 01"), Err(Broken::Feature(4)));
    assert_eq!(read("01 02 0007 02 0004 03000000"), Ok(Some(message(vec![Feature::Addr(Addr::new("", 0))]))));
    for bad in [Message::answer(Status::Ok, vec![]), Message::request(Command::Bind, Network::Tcp, vec![])] {
        assert_eq!(Ask::read(&bad), Err(Status::BadRequest), "no tunnel is named");
    }
    let zero = vec![Feature::Tunnel(Id::default())];
    assert_eq!(Ask::read(&Message::request(Command::Bind, Network::Tcp, zero)), Err(Status::BadRequest));
    let associate = Message::request(Command::Associate, Network::Tcp, vec![Feature::Tunnel(tunnel())]);
    assert_eq!(Ask::read(&associate), Err(Status::BadRequest));
}

fn message(features: Vec<Feature>) -> Message {
    Message::request(Command::Bind, Network::Tcp, features)
}

#[test]
fn a_message_may_come_in_any_pieces_and_what_follows_is_left() {
    let bytes = [message(vec![Feature::Tunnel(tunnel())]).bytes(), b"rest".to_vec()].concat();
    for size in 1..=bytes.len() {
        let (mut reader, mut got, mut rest) = (Reader::default(), None, Vec::new());
        for mut piece in bytes.chunks(size) {
            if got.is_none() {
                got = reader.receive(&mut piece).unwrap();
            }
            rest.extend_from_slice(piece);
        }
        assert_eq!((got.unwrap().features.len(), &rest[..]), (1, &b"rest"[..]), "pieces of {size}");
    }
}

#[test]
fn an_id_is_written_as_people_know_it() {
    let id: Id = TUNNEL.parse().unwrap();
    assert_eq!(id.to_string(), TUNNEL);
    assert!(!id.is_private());
    assert!(format!("${TUNNEL}").parse::<Id>().unwrap().is_private());
    for bad in [
        "",
        "$",
        &TUNNEL[1..],
        "381433e1+7980-11ee-bbdb-60f262c1e32d",
        "g81433e1-7980-11ee-bbdb-60f262c1e32d",
    ] {
        assert!(bad.parse::<Id>().is_err(), "{bad}");
    }
    let umlaut = "381433e1-7980-11ee-bbdb-60f262c1e3\u{e4}";
    assert!(umlaut.parse::<Id>().is_err());
}

#[test]
fn a_password_is_in_no_log() {
    let login = Login { user: "ada".into(), password: "secret".into() };
    assert!(!format!("{:?}", Feature::Login(login)).contains("secret"));
}

#[test]
fn a_stream_is_opened_with_its_header_and_first_bytes_in_one_piece() {
    let now = Boot::from_nanos(1);
    let mut hub = Session::new(Side::Hub, Kind::Bytes, Limits::default(), b"granted", now);
    let open = Open {
        visitor: Some("192.0.2.7:80".parse().unwrap()),
        destination: Some("[::1]:443".parse().unwrap()),
        host: Some("a.b".to_owned()),
        ..Open::default()
    };
    let (key, count) = hub.open(&open, b"hi", now).unwrap();
    assert_eq!((key.id(), count), (3, 2));
    let header = hex("01 00 0014  02 0007 01 c0000207 0050  02 0007 03 03 612e62 01bb");
    let expected =
        [&b"granted"[..], &hex("02 00 0000 03000000  02 02 1a00 03000000"), &header, b"hi"].concat();
    assert_eq!(hub.output(), expected);
    hub.sent(expected.len());
    hub.send(key, b"abc").unwrap();
    hub.finish(key);
    assert_eq!(hub.output(), hex("02 02 0300 03000000 616263  02 01 0000 03000000"));

    let mut agent = Session::new(Side::Agent, Kind::Bytes, Limits::default(), b"", now);
    let told = hear(&mut agent, &expected[7..], now);
    let Told::Opened(theirs, heard) = &told[0] else { panic!("{told:?}") };
    assert_eq!((heard.visitor, heard.host.as_deref(), heard.destination), (open.visitor, Some("a.b"), None));
    assert_eq!(told[1], Told::Data(*theirs, b"hi".to_vec()));
}

#[test]
fn a_quarter_that_was_read_is_told_with_all_that_was_read_so_far() {
    let now = Boot::from_nanos(1);
    let mut agent = Session::new(Side::Agent, Kind::Bytes, Limits::default(), b"", now);
    let header = hex(
        "02 00 0000 03000000  02 02 1800 03000000  01 00 0014 02 0007 01 00000000 0000 02 0007 01 00000000 0000",
    );
    let told = hear(&mut agent, &header, now);
    let [Told::Opened(key, _)] = told[..] else { panic!("{told:?}") };
    for _ in 0..2 {
        let frame = [hex("02 02 0080 03000000"), vec![1; 32 << 10]].concat();
        hear(&mut agent, &frame, now);
    }
    assert_eq!(super::rig::read(&mut agent, key, now).len(), 64 << 10);
    // 64 KiB and the header: 0x10018; a window of 1 MiB.
    assert_eq!(
        agent.output(),
        hex("02 04 0800 03000000  18000100 00001000"),
        "first at a quarter of 256 KiB"
    );
}
