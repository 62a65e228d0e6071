//! What is said goes over the wire as it is, what is hostile does no harm, and nothing outlives its session.

use super::world::World;
use super::*;
use crate::tunnel::record::TUNNELS_MAX;

fn agent(name: &str) -> Agent {
    Agent { name: name.into(), bytes: true, datagrams: false, weight: 3, trouble: None, run: 0, load: 0 }
}

fn offers(tunnel: &str, names: &[&str]) -> Message {
    let agents = names.iter().map(|name| agent(name)).collect();
    Message::Tunnel(Offers { tunnel: tunnel.into(), agents, gost: None })
}

fn began(session: u64, hub: &str, epoch: u64) -> Input {
    Input::Began { session, hub: hub.into(), epoch }
}

fn read(bytes: &[u8]) -> Result<Vec<Message>, Wrong> {
    let mut reader = Reader::default();
    reader.feed(bytes);
    let mut all = Vec::new();
    while let Some(message) = reader.take()? {
        all.push(message);
    }
    Ok(all)
}

fn known(directory: &Directory, tunnel: &str) -> Vec<String> {
    directory.offers(tunnel).map(|line| format!("{}@{}", line.agent.name, line.hub)).collect()
}

fn changes(directory: &mut Directory) -> Vec<Effect> {
    std::iter::from_fn(|| directory.poll_effect()).collect()
}

#[test]
fn a_message_is_these_bytes() {
    let mut told = agent("a");
    told.trouble = Some("no".into());
    let message = Message::Tunnel(Offers { tunnel: "t".into(), agents: vec![told], gost: None });
    let wanted =
        [&[0, 17, 2, 0][..], &[1, 0, 1, b't'], &[2, 0, 10, 1, 0, 0, 0, 3, 1, b'a', 2, b'n', b'o']].concat();
    assert_eq!(encode(&message), wanted);
    assert_eq!(read(&wanted), Ok(vec![message]));
    let mut sibling = agent("a");
    (sibling.run, sibling.load) = (1, 2);
    let message = Message::Tunnel(Offers { tunnel: "t".into(), agents: vec![sibling], gost: None });
    let tail = [2, 0, 20, 1, 0, 0, 0, 3, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    let wanted = [&[0, 27, 2, 0][..], &[1, 0, 1, b't'], &tail].concat();
    assert_eq!(encode(&message), wanted);
    assert_eq!(read(&wanted), Ok(vec![message]));
    let hub = Message::Hub(About { urls: vec!["x".into()], leaving: true });
    assert_eq!(encode(&hub), [0, 8, 1, 0, 1, 0, 1, b'x', 2, 0, 1, 1]);
    assert_eq!(read(&encode(&hub)), Ok(vec![hub]));
}

#[test]
fn what_gosts_clients_want_goes_along_and_who_does_not_know_it_reads_the_rest() {
    let gost = Gost { private: true, hosts: vec!["a.b".into()] };
    let message = Message::Tunnel(Offers { tunnel: "t".into(), agents: vec![agent("a")], gost: Some(gost) });
    let wanted = [
        &[0, 25, 2, 0][..],
        &[1, 0, 1, b't'],
        &[2, 0, 8, 1, 0, 0, 0, 3, 1, b'a', 0],
        &[3, 0, 1, 1],
        &[4, 0, 3, b'a', b'.', b'b'],
    ]
    .concat();
    assert_eq!(encode(&message), wanted);
    assert_eq!(read(&wanted), Ok(vec![message]));
    let full = Offers {
        tunnel: "t".repeat(100),
        agents: (0..AGENTS_MAX)
            .map(|nth| Agent { trouble: Some("x".repeat(TROUBLE_MAX)), ..agent(&format!("{nth:0>128}")) })
            .collect(),
        gost: Some(Gost { private: false, hosts: vec!["h".repeat(HOST_MAX); HOSTS_MAX] }),
    };
    assert_eq!(read(&encode(&Message::Tunnel(full.clone()))), Ok(vec![Message::Tunnel(full)]), "it fits");
    for wrong in [&[3, 0, 0][..], &[4, 0, 0], &[4, 0, 1, b'\n']] {
        let length = u8::try_from(4 + wrong.len()).unwrap();
        let bytes = [&[0, length, 2, 0][..], &[1, 0, 1, b't'], wrong].concat();
        assert_eq!(read(&bytes), Err(Wrong::Broken), "{wrong:?}");
    }
    let mut many = vec![0, 0, 2, 0, 1, 0, 1, b't'];
    (0..=HOSTS_MAX).for_each(|_| many.extend([4, 0, 1, b'h']));
    let length = u16::try_from(many.len() - HEAD).unwrap().to_be_bytes();
    many[..2].copy_from_slice(&length);
    assert_eq!(read(&many), Err(Wrong::List));
}

#[test]
fn what_gosts_clients_want_is_news_and_gone_with_their_hub() {
    let mut directory = Directory::default();
    let wants = |hosts: &[&str]| {
        let gost = Gost { private: false, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
        Message::Tunnel(Offers { tunnel: "t".into(), agents: vec![agent("a")], gost: Some(gost) })
    };
    directory.handle(began(1, "b", 7));
    directory.handle(Input::Said(1, wants(&["dash"])));
    changes(&mut directory);
    directory.handle(Input::Said(1, wants(&["dash", "board"])));
    assert_eq!(changes(&mut directory), [Effect::Tunnel("t".into())]);
    let hosts =
        |directory: &Directory| directory.gost("t").flat_map(|gost| gost.hosts.clone()).collect::<Vec<_>>();
    assert_eq!(hosts(&directory), ["dash", "board"]);
    directory.handle(Input::Said(1, offers("t", &[])));
    assert!(hosts(&directory).is_empty());
    directory.handle(Input::Said(1, wants(&["dash"])));
    directory.handle(Input::Ended(1));
    assert!(hosts(&directory).is_empty());
}

#[test]
fn what_is_too_long_is_said_as_far_as_it_may_be() {
    let mut ill = agent("ill");
    ill.trouble = Some("ö".repeat(500));
    let mut wordless = agent("wordless");
    wordless.trouble = Some("\n".into());
    let mut agents: Vec<Agent> = vec![ill, wordless, agent(""), agent(&"n".repeat(200)), agent("a\tb")];
    agents.extend((0..300).map(|nth| agent(&format!("{nth:0>120}"))));
    let bytes = encode(&Message::Tunnel(Offers { tunnel: "t".into(), agents, gost: None }));
    let Message::Tunnel(read) = read(&bytes).unwrap().remove(0) else { panic!("it is of a tunnel") };
    assert_eq!(read.agents.len(), AGENTS_MAX);
    assert_eq!(read.agents[0].trouble.as_deref(), Some("ö".repeat(100).as_str()));
    assert!(read.agents[1].trouble.is_some(), "one without words is ill all the same");
    assert_eq!(read.agents[2].name, format!("{:0>120}", 0));
}

#[test]
fn bytes_that_contradict_themselves_are_refused_and_what_is_new_is_skipped() {
    assert_eq!(read(&[0, 2, 99, 0, 7, 7]), Ok(vec![]), "a type that is not known");
    let new_field = [0, 9, 2, 0, 1, 0, 1, b't', 77, 0, 2, 1, 1];
    assert_eq!(read(&new_field), Ok(vec![offers("t", &[])]));
    for wrong in [
        &[0, 1, 1, 0, 1][..],
        &[0, 0, 2, 0],
        &[0, 4, 2, 0, 1, 0, 1, b'\n'],
        &[0, 3, 2, 0, 1, 0, 0],
        &[0, 8, 2, 0, 1, 0, 1, b't', 2, 0, 1, 1],
        &[0, 15, 2, 0, 1, 0, 1, b't', 2, 0, 8, 1, 0, 0, 0, 3, 9, b'a', 0],
    ] {
        assert_eq!(read(wrong), Err(Wrong::Broken), "{wrong:?}");
    }
    let mut many = vec![0, 0, 2, 0, 1, 0, 1, b't'];
    for _ in 0..=AGENTS_MAX {
        many.extend([2, 0, 8, 1, 0, 0, 0, 1, 1, b'a', 0]);
    }
    let length = u16::try_from(many.len() - HEAD).unwrap().to_be_bytes();
    many[..2].copy_from_slice(&length);
    assert_eq!(read(&many), Err(Wrong::List));
    // Half a message is no message yet.
    assert_eq!(read(&encode(&offers("t", &["a"]))[..9]), Ok(vec![]));
}

#[test]
fn what_a_session_told_is_gone_with_it() {
    let mut directory = Directory::default();
    directory.handle(began(1, "b", 7));
    directory.handle(Input::Said(1, offers("office", &["one", "two", "one"])));
    directory.handle(began(2, "c", 7));
    directory.handle(Input::Said(2, offers("office", &["one"])));
    assert_eq!(changes(&mut directory), [Effect::Hubs, Effect::Tunnel("office".into())]);
    assert_eq!(known(&directory, "office"), ["one@b", "two@b", "one@c"]);
    directory.handle(Input::Said(1, offers("office", &["one", "two"])));
    assert_eq!(changes(&mut directory), [], "nothing has changed");
    directory.handle(Input::Ended(1));
    assert_eq!(changes(&mut directory), [Effect::Hubs, Effect::Tunnel("office".into())]);
    assert_eq!(known(&directory, "office"), ["one@c"]);
    directory.handle(Input::Said(1, offers("office", &["ghost"])));
    assert_eq!(known(&directory, "office"), ["one@c"], "nobody speaks after his end");
    directory.handle(Input::Said(2, Message::Hub(About { urls: Vec::new(), leaving: true })));
    assert_eq!(known(&directory, "office"), Vec::<String>::new(), "who leaves offers nothing");
}

#[test]
fn an_earlier_run_never_comes_back() {
    let mut directory = Directory::default();
    directory.handle(began(1, "b", 7));
    directory.handle(Input::Said(1, offers("office", &["old"])));
    directory.handle(began(2, "b", 8));
    assert_eq!(known(&directory, "office"), Vec::<String>::new(), "a later run has shown itself");
    directory.handle(Input::Said(2, offers("office", &["new"])));
    directory.handle(Input::Said(1, offers("office", &["old"])));
    directory.handle(began(3, "b", 7));
    directory.handle(Input::Said(3, offers("office", &["older"])));
    assert_eq!(known(&directory, "office"), ["new@b"]);
    directory.handle(Input::Ended(2));
    assert_eq!(known(&directory, "office"), Vec::<String>::new());
    assert!(directory.is_outdated(1) && directory.is_outdated(3));
    // A clock that was set back: the hub is there all the same, once its other run is gone.
    directory.handle(Input::Ended(1));
    directory.handle(Input::Ended(3));
    directory.handle(began(4, "b", 6));
    directory.handle(Input::Said(4, offers("office", &["back"])));
    assert_eq!(known(&directory, "office"), ["back@b"]);
}

#[test]
fn nobody_makes_us_keep_more_than_the_bounds() {
    let mut directory = Directory::default();
    for session in 0..1000 {
        directory.handle(began(session, &format!("hub-{session}"), 1));
    }
    assert_eq!(directory.hubs().count(), SESSIONS_MAX);
    for nth in 0..TUNNELS_MAX + 10 {
        directory.handle(Input::Said(0, offers(&format!("tunnel-{nth}"), &["a"])));
    }
    assert_eq!(directory.tunnels_of(0), TUNNELS_MAX);
    let names: Vec<String> = (0..AGENTS_MAX).map(|nth| format!("agent-{nth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for nth in 0..1000 {
        directory.handle(Input::Said(1, offers(&format!("tunnel-{nth}"), &names)));
    }
    assert_eq!(directory.tunnels_of(1) * AGENTS_MAX, TOLD_MAX);
    // One that cannot be kept any more is not what it was either.
    directory.handle(Input::Said(2, offers("grows", &["a"])));
    for nth in 0..TOLD_MAX / AGENTS_MAX {
        directory.handle(Input::Said(2, offers(&format!("tunnel-{nth}"), &names)));
    }
    directory.handle(Input::Said(2, offers("last", &names[1..])));
    let before = directory.ignored();
    directory.handle(Input::Said(2, offers("grows", &names)));
    assert!(directory.ignored() > before && known(&directory, "grows").is_empty());
}

#[test]
fn whatever_happens_pools_know_what_is_true() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
        }
    }
}
