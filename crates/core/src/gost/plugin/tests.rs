//! The plugin against a store that is played: well, empty, silent, shared with another.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";
const OTHER: &str = "481433e1-7980-11ee-bbdb-60f262c1e32d";

/// Redis, as far as the plugins use it: keys end at a second.
#[derive(Default)]
struct Store {
    hashes: BTreeMap<String, (BTreeMap<String, Record>, u64)>,
    keys: BTreeMap<String, (String, u64)>,
    epoch: u8,
}

impl Store {
    fn take(&mut self, step: &Step, now: u64) -> Found {
        self.hashes.retain(|_, (_, ends)| *ends > now);
        self.keys.retain(|_, (_, ends)| *ends > now);
        match step {
            Step::Nod => Found::Done,
            Step::List { name } => Found::Clients(
                self.hashes.get(name).into_iter().flat_map(|(of, _)| of.clone()).collect::<Vec<_>>(),
            ),
            Step::Put { name, id, record, lasts } => {
                let (of, ends) = self.hashes.entry(name.clone()).or_default();
                of.insert(id.clone(), record.clone());
                *ends = now + lasts.as_secs();
                Found::Done
            }
            Step::Remove { name, id } => {
                self.hashes.get_mut(name).map(|(of, _)| of.remove(id));
                Found::Done
            }
            Step::Look { key } => Found::Owner(self.keys.get(key).map(|(owner, _)| owner.clone())),
            Step::Claim { key, endpoint, lasts, by_right } => {
                let (owner, ends) = self.keys.entry(key.clone()).or_insert((endpoint.clone(), 0));
                if *by_right {
                    owner.clone_from(endpoint);
                }
                if owner == endpoint {
                    *ends = now + lasts.as_secs();
                }
                Found::Owner(Some(owner.clone()))
            }
        }
    }

    fn flush(&mut self) {
        self.hashes.clear();
        self.keys.clear();
        self.epoch += 1;
    }
}

/// A plugin and its store.
struct Played {
    plugin: Plugin,
    store: Store,
    now: Moment,
    /// The store takes steps, refuses them, or leaves them lying.
    store_is: Is,
    answers: BTreeMap<u64, Reply>,
    news: Vec<News>,
    calls: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Well,
    Away,
    Hung,
}

fn generate(endpoint: &str) -> String {
    format!("hash-{}", &endpoint[..1])
}

fn settings(stored: bool, lasts: u64) -> Settings {
    let lasts = Duration::from_secs(lasts);
    Settings { stored, lasts, domains: vec!["gost.local".into()], generate }
}

impl Played {
    fn new(stored: bool, lasts: u64) -> Self {
        let now = Moment { boot: Boot::from_nanos(1_000_000_000_000), unix: 1_800_000_000 };
        let plugin = Plugin::new(settings(stored, lasts), now);
        let (answers, news) = (BTreeMap::new(), Vec::new());
        let mut played =
            Self { plugin, store: Store::default(), now, store_is: Is::Well, answers, news, calls: 0 };
        played.drain();
        played
    }

    fn drain(&mut self) {
        while let Some(effect) = self.plugin.poll_effect() {
            match effect {
                Effect::Answer { call, reply } => drop(self.answers.insert(call, reply)),
                Effect::Tell(news) => self.news.push(news),
                Effect::Take { step, what } => match self.store_is {
                    Is::Hung => {}
                    Is::Away => self.plugin.handle(Input::Failed { step }, self.now),
                    Is::Well => {
                        let found = self.store.take(&what, self.now.unix);
                        let epoch = vec![self.store.epoch];
                        self.plugin.handle(Input::Taken { step, found, epoch }, self.now);
                    }
                },
            }
        }
    }

    fn ask(&mut self, ask: Ask) -> Option<Reply> {
        self.calls += 1;
        self.plugin.handle(Input::Call { call: self.calls, ask }, self.now);
        self.drain();
        self.answers.get(&self.calls).cloned()
    }

    /// Lets so many seconds pass, in steps that are no longer than the plugin waits.
    fn pass(&mut self, seconds: u64) {
        let end = self.now.boot + Duration::from_secs(seconds);
        while self.now.boot < end {
            let due = self.plugin.poll_timeout().min(end).max(self.now.boot + Duration::from_millis(1));
            let began = self.now.boot.as_nanos() / 1_000_000_000;
            self.now.boot = due;
            self.now.unix += self.now.boot.as_nanos() / 1_000_000_000 - began;
            self.plugin.handle(Input::Tick, self.now);
            self.drain();
        }
    }

    fn register(&mut self, id: &str) -> Option<Reply> {
        let from = "192.0.2.7".parse().unwrap();
        self.ask(Ask::Register { service: service(id, ":80"), from })
    }

    fn renew(&mut self, id: &str) -> Option<Reply> {
        let bare = Service { network: String::new(), address: String::new(), ..service(id, "") };
        self.ask(Ask::Renew(bare))
    }

    fn ids(&mut self) -> Vec<String> {
        let Some(Reply::Services(services)) = self.ask(Ask::Get(TUNNEL.into())) else { panic!("no list") };
        services.into_iter().map(|service| service.id).collect()
    }

    fn rule(&mut self, host: &str) -> String {
        let Some(Reply::Endpoint(endpoint)) = self.ask(Ask::GetRule(host.into())) else { panic!("no rule") };
        endpoint
    }

    fn set(&mut self, host: &str, endpoint: &str) -> Option<Reply> {
        self.ask(Ask::SetRule { host: host.into(), endpoint: endpoint.into() })
    }
}

fn service(id: &str, address: &str) -> Service {
    Service {
        id: id.into(),
        name: TUNNEL.into(),
        node: "node".into(),
        network: "tcp".into(),
        address: address.into(),
    }
}

const DONE: Option<Reply> = Some(Reply::Done(true));
const NOT: Option<Reply> = Some(Reply::Done(false));

#[test]
fn a_client_is_known_from_its_registration_until_it_is_not_renewed() {
    for stored in [false, true] {
        let mut played = Played::new(stored, 60);
        assert_eq!(played.register("a"), DONE);
        let got = played.ask(Ask::Get(TUNNEL.into()));
        assert_eq!(got, Some(Reply::Services(vec![service("a", "192.0.2.7:80")])));
        for _ in 0..5 {
            played.pass(50);
            assert_eq!(played.renew("a"), DONE);
        }
        assert_eq!(played.ids(), ["a"]);
        played.pass(61);
        assert_eq!(played.ids(), [""; 0], "stored: {stored}");
        assert_eq!(played.register("b"), DONE);
        assert_eq!(played.ask(Ask::Deregister(service("b", ""))), DONE);
        assert_eq!(played.ids(), [""; 0]);
        assert_eq!(played.renew("b"), NOT, "it has gone");
        assert_eq!(played.renew("nobody"), NOT);
    }
}

#[test]
fn what_others_write_into_the_store_is_read() {
    let mut played = Played::new(true, 60);
    let record = Record {
        node: "n".into(),
        network: "tcp".into(),
        address: "edge:80".into(),
        renewed: played.now.unix,
    };
    let ends = played.now.unix + 60;
    played.store.hashes.insert(TUNNEL.into(), (BTreeMap::from([("x".to_owned(), record)]), ends));
    played.store.keys.insert("dash".into(), (TUNNEL.into(), ends));
    assert_eq!(played.ids(), ["x"]);
    assert_eq!(played.rule("dash.gost.local:80"), TUNNEL);
    assert_eq!(played.renew("x"), DONE, "one that was not registered here");
    played.store.hashes.clear();
    played.pass(1);
    assert_eq!(played.renew("x"), DONE, "a field that is missing is written again");
    assert_eq!(played.store.hashes[TUNNEL].0["x"].address, "edge:80");
}

#[test]
fn a_store_that_has_lost_everything_is_told_again() {
    let mut played = Played::new(true, 60);
    played.register("a");
    played.set("hash-3", TUNNEL);
    played.store.flush();
    assert_eq!(played.ids(), ["a"], "before it is renewed");
    assert_eq!(played.news, [News::Lost]);
    assert_eq!(played.store.hashes[TUNNEL].0.len(), 1);
    assert_eq!(played.store.keys["hash-3"].0, TUNNEL);
    played.store.flush();
    played.pass(2);
    assert_eq!(played.rule("hash-3.gost.local"), TUNNEL);
}

#[test]
fn a_host_lives_as_long_as_its_client_although_it_is_set_but_once() {
    for stored in [false, true] {
        let mut played = Played::new(stored, 3600);
        assert_eq!(played.set("hash-3", TUNNEL), DONE);
        assert_eq!(played.set("own.example", TUNNEL), DONE);
        played.pass(20 * 3600);
        assert_eq!(played.rule("hash-3.gost.local"), TUNNEL);
        assert_eq!(played.set("own.example", OTHER), NOT, "it is another's");
        assert_eq!(played.rule("own.example"), TUNNEL);
        played.pass(23 * 3600);
        assert_eq!(played.rule("own.example"), TUNNEL, "it was asked for");
        played.pass(26 * 3600);
        assert_eq!(played.rule("hash-3.gost.local"), TUNNEL);
        assert_eq!(played.rule("own.example"), "", "nobody wants it");
        assert_eq!(played.set("own.example", OTHER), DONE);
    }
}

#[test]
fn a_generated_host_is_its_tunnels_whoever_had_it() {
    for stored in [false, true] {
        let mut played = Played::new(stored, 3600);
        assert_eq!(played.set("hash-3", OTHER), DONE);
        assert_eq!(played.set("hash-3", TUNNEL), DONE);
        assert_eq!(played.rule("hash-3.gost.local"), TUNNEL);
        assert_eq!(played.set("hash-3", OTHER), NOT);
    }
    let mut played = Played::new(true, 3600);
    played.set("hash-3", TUNNEL);
    // Somebody with redis-cli has the last word.
    let private = format!("${TUNNEL}");
    played.store.keys.insert("hash-3".into(), (private.clone(), played.now.unix + 9999));
    played.pass(2 * 3600);
    assert_eq!(played.rule("hash-3.gost.local"), private);
}

#[test]
fn while_the_store_is_away_the_last_is_served_and_what_is_told_is_kept() {
    for store_is in [Is::Away, Is::Hung] {
        let mut played = Played::new(true, 60);
        played.register("a");
        played.set("hash-3", TUNNEL);
        let record = Record { renewed: played.now.unix, ..played.store.hashes[TUNNEL].0["a"].clone() };
        played.store.hashes.get_mut(TUNNEL).unwrap().0.insert("x".into(), record);
        assert_eq!(played.ids(), ["a", "x"]);
        played.pass(2);

        played.store_is = store_is;
        let asked = played.ask(Ask::Get(TUNNEL.into()));
        if store_is == Is::Hung {
            assert_eq!(asked, None, "it waits");
            let began = played.now.boot;
            played.now.boot = began + PATIENCE;
            played.plugin.handle(Input::Tick, played.now);
            played.drain();
            assert!(
                matches!(played.answers.get(&played.calls), Some(Reply::Services(two)) if two.len() == 2)
            );
            // The driver's deadline is over.
            let steps: Vec<u64> = (1..100).collect();
            for step in steps {
                played.plugin.handle(Input::Failed { step }, played.now);
            }
            played.drain();
        }
        assert_eq!(played.news, [News::Silent]);
        played.register("b");
        played.ask(Ask::Deregister(service("a", "")));
        played.set("own.example", TUNNEL);
        for _ in 0..20 {
            played.pass(15);
            assert_eq!(played.renew("b"), DONE);
        }
        assert_eq!(played.ids(), ["b", "x"], "x was known when it fell silent, and cannot be renewed");
        assert_eq!(played.rule("hash-3.gost.local"), TUNNEL);
        assert_eq!(played.rule("own.example"), TUNNEL);
        assert!(played.plugin.counts().unwritten >= 3, "{:?}", played.plugin.counts());

        played.store_is = Is::Well;
        // What hung is over by its deadline.
        for step in 1..1000 {
            played.plugin.handle(Input::Failed { step }, played.now);
        }
        played.pass(2);
        assert!(matches!(played.news[1], News::Returned(_)), "{:?}", played.news);
        assert_eq!(played.plugin.counts().unwritten, 0);
        let of: Vec<&str> = played.store.hashes[TUNNEL].0.keys().map(String::as_str).collect();
        assert_eq!(of, ["b"], "x has ended with its key meanwhile, a is taken out");
        assert_eq!(played.store.keys["own.example"].0, TUNNEL);
        assert_eq!(played.store.keys["hash-3"].0, TUNNEL, "its key had ended");
    }
}

#[test]
fn the_last_word_on_a_client_is_what_is_written() {
    let mut played = Played::new(true, 60);
    played.store_is = Is::Hung;
    let take = |played: &mut Played| {
        let mut steps = Vec::new();
        while let Some(effect) = played.plugin.poll_effect() {
            if let Effect::Take { step, what } = effect {
                steps.push((step, what));
            }
        }
        steps
    };
    let from = "192.0.2.7".parse().unwrap();
    played.plugin.handle(
        Input::Call { call: 1, ask: Ask::Register { service: service("a", ":80"), from } },
        played.now,
    );
    let first = take(&mut played);
    played.plugin.handle(Input::Call { call: 2, ask: Ask::Deregister(service("a", "")) }, played.now);
    assert_eq!(take(&mut played), [], "one step of it at a time");
    let done = |step| Input::Taken { step, found: Found::Done, epoch: vec![0] };
    played.plugin.handle(done(first[0].0), played.now);
    let second = take(&mut played);
    assert_eq!(second.len(), 1);
    assert!(matches!(&second[0].1, Step::Remove { id, .. } if id == "a"), "{second:?}");
    played.plugin.handle(done(second[0].0), played.now);
    assert_eq!(played.plugin.counts().clients, 0);
}

#[test]
fn what_makes_no_sense_is_refused_and_what_is_too_much_too() {
    let mut played = Played::new(false, 60);
    let from: IpAddr = "192.0.2.7".parse().unwrap();
    for wrong in [
        Service::default(),
        Service { node: String::new(), ..service("a", ":80") },
        Service { node: "a\nb".into(), ..service("a", ":80") },
        Service { id: "x".repeat(257), ..service("a", ":80") },
        service("a", "80"),
        service("a", ""),
    ] {
        let reply = played.ask(Ask::Register { service: wrong.clone(), from });
        assert!(matches!(reply, Some(Reply::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(played.set("h", "office"), NOT);
    assert_eq!(played.set("", TUNNEL), NOT);
    assert_eq!(played.set(&"x".repeat(257), TUNNEL), NOT);
    assert_eq!(played.ask(Ask::Get(String::new())), Some(Reply::Services(Vec::new())));
    for id in 0..CLIENTS_MAX {
        assert_eq!(played.register(&id.to_string()), DONE);
    }
    assert_eq!(played.register("more"), Some(Reply::Full));
    assert_eq!(played.register("0"), DONE, "who is there may say so again");
    for host in 0..RULES_MAX {
        assert_eq!(played.set(&host.to_string(), TUNNEL), DONE);
    }
    assert_eq!(played.set("more", TUNNEL), Some(Reply::Full));
    assert_eq!(played.set("7", TUNNEL), DONE);
    played.pass(61);
    assert_eq!(played.set("more", TUNNEL), DONE, "what was not asked for makes room");
}

#[test]
fn what_is_seen_elsewhere_stands_beside_what_is_told() {
    let mut played = Played::new(false, 60);
    played.register("a");
    let services = vec![service("a", "seen:80"), service("z", "seen:80")];
    let rules = vec![("hash-3".to_owned(), TUNNEL.to_owned())];
    played.plugin.handle(Input::Seen { services, rules }, played.now);
    assert_eq!(played.ids(), ["a", "z"]);
    assert_eq!(played.rule("hash-3.gost.local"), TUNNEL);
    played.plugin.handle(Input::Seen { services: Vec::new(), rules: Vec::new() }, played.now);
    assert_eq!(played.ids(), ["a"]);
    assert_eq!(played.rule("hash-3.gost.local"), "");
}

#[test]
fn many_hosts_that_nobody_has_leave_nothing_behind_while_the_store_hangs() {
    let mut played = Played::new(true, 60);
    played.store_is = Is::Hung;
    for host in 0..3 * QUEUE_MAX {
        played.ask(Ask::GetRule(format!("host-{host}")));
        played.ask(Ask::Get(format!("381433e1-7980-11ee-bbdb-{host:012x}")));
    }
    assert!(played.plugin.counts().rules == 0 && played.plugin.counts().clients == 0);
    assert!(played.answers.len() > 3 * QUEUE_MAX, "all but those who wait are answered");
    played.pass(1);
    assert_eq!(played.answers.len(), 6 * QUEUE_MAX);
}

#[test]
fn what_is_no_tunnel_and_no_host_reaches_no_key_of_the_store() {
    let mut played = Played::new(true, 60);
    played.store_is = Is::Hung;
    let from = "192.0.2.7".parse().unwrap();
    let foreign = ["mainstay:hubs", "mainstay:plugin:epoch", "session:1", "a b", "*", &TUNNEL[1..], "$"];
    for name in foreign {
        let of = Service { name: name.into(), ..service("a", ":80") };
        assert_eq!(played.ask(Ask::Register { service: of.clone(), from }), NOT, "{name}");
        assert_eq!(played.ask(Ask::Renew(of.clone())), NOT, "{name}");
        assert_eq!(played.ask(Ask::Deregister(of)), NOT, "{name}");
        assert_eq!(played.ask(Ask::Get(name.into())), Some(Reply::Services(Vec::new())), "{name}");
    }
    let hosts = ["mainstay:hubs", "mainstay:plugin:epoch", "2001:db8::1", "a/b", "a b", TUNNEL, "$"];
    for host in hosts {
        assert_eq!(played.set(host, TUNNEL), NOT, "{host}");
        assert_eq!(played.rule(host), "", "{host}");
    }
    let counts = played.plugin.counts();
    let calls = u64::try_from(4 * foreign.len() + 2 * hosts.len()).unwrap();
    assert_eq!((counts.strange, counts.unwritten, counts.clients, counts.rules), (calls, 0, 0, 0));
}
