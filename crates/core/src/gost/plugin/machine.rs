//! The plugin: calls in, steps of the store out and back, answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::clients::Clients;
use super::rules::Rules;
use super::text::{address, endpoint, fits, is_host, is_sound, key};
use super::{
    AGAIN, Ask, BEAT, CALLS_MAX, Counts, Effect, FRESH, Found, Input, Moment, News, PATIENCE, QUEUE_MAX,
    Record, Reply, STEPS_MAX, Service, Settings, Step,
};
use crate::time::Boot;

/// What a call waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// A tunnel's clients are listed.
    List(String),
    /// A client is written, or taken out.
    Client(String, String),
    /// A host is looked up.
    Look(String),
    /// A host is written.
    Rule(String),
    /// The store is there.
    Nod,
}

/// A call that waits.
#[derive(Debug)]
struct Waiting {
    until: Boot,
    ask: Ask,
    matter: Matter,
}

/// A step that the store is taking.
#[derive(Debug)]
struct Under {
    matter: Matter,
    /// The version that it writes.
    version: u64,
}

/// A plugin; sd and ingress are one machine of which each uses a half.
#[derive(Debug)]
pub struct Plugin {
    settings: Settings,
    clients: Clients,
    rules: Rules,
    waiting: BTreeMap<u64, Waiting>,
    under: BTreeMap<u64, Under>,
    /// What the store is to do when it has room, in order.
    queue: VecDeque<Matter>,
    queued: BTreeSet<Matter>,
    /// It is to be asked whether it is there.
    nod: bool,
    next: u64,
    /// Since when the store is silent, on both clocks.
    silent: Option<Moment>,
    /// The store calls itself so.
    epoch: Option<Vec<u8>>,
    /// When it is tried again while silent, asked whether it has lost anything while not, and when what is known is swept.
    again: Boot,
    beat: Boot,
    sweep: Boot,
    effects: VecDeque<Effect>,
    failed: u64,
    from_memory: u64,
    strange: u64,
}

impl Plugin {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings, now: Moment) -> Self {
        let mut plugin = Self {
            clients: Clients::default(),
            rules: Rules::default(),
            waiting: BTreeMap::new(),
            under: BTreeMap::new(),
            queue: VecDeque::new(),
            queued: BTreeSet::new(),
            nod: settings.stored,
            next: 1,
            silent: None,
            epoch: None,
            again: now.boot,
            beat: now.boot + BEAT,
            sweep: now.boot,
            effects: VecDeque::new(),
            failed: 0,
            from_memory: 0,
            strange: 0,
            settings,
        };
        plugin.sweep = now.boot + plugin.pace();
        // The store's epoch is known before anything is lost.
        plugin.pump();
        plugin
    }

    /// Something has happened.
    pub fn handle(&mut self, input: Input, now: Moment) {
        match input {
            Input::Call { call, ask } => self.call(call, ask, now),
            Input::Taken { step, found, epoch } => self.taken(step, found, epoch, now),
            Input::Failed { step } => self.lost(step, now),
            Input::Seen { services, rules } => {
                self.clients.see(services);
                self.rules.see(rules);
            }
            Input::Tick => {}
        }
        self.tick(now);
        self.pump();
    }

    /// When it wants to hear that time has passed.
    #[must_use]
    pub fn poll_timeout(&self) -> Boot {
        let patience = self.waiting.values().map(|waiting| waiting.until).min().unwrap_or(Boot::NEVER);
        let again = match (self.settings.stored, self.silent) {
            (false, _) => Boot::NEVER,
            (true, Some(_)) => self.again,
            (true, None) => self.beat,
        };
        patience.min(again).min(self.sweep)
    }

    /// The next thing that it asks for.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Its numbers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (tunnels, clients) = self.clients.counts();
        let writes = |matter: &&Matter| matches!(matter, Matter::Client(..) | Matter::Rule(_));
        let under = self.under.values().map(|under| &under.matter).filter(writes).count();
        Counts {
            tunnels,
            clients,
            rules: self.rules.count(),
            unwritten: under + self.queued.iter().filter(writes).count(),
            failed: self.failed,
            from_memory: self.from_memory,
            strange: self.strange,
        }
    }

    /// Since when the store has not answered.
    #[must_use]
    pub fn silent(&self) -> Option<Boot> {
        self.silent.map(|since| since.boot)
    }

    /// How often what is known is looked through: a few times in what it lasts.
    fn pace(&self) -> Duration {
        (self.settings.lasts / 12).clamp(Duration::from_millis(100), Duration::from_secs(60))
    }

    fn lasts(&self) -> u64 {
        self.settings.lasts.as_secs().max(1)
    }

    fn call(&mut self, call: u64, ask: Ask, now: Moment) {
        let begun = match &ask {
            Ask::Register { service, from } => {
                let full = address(&service.address, *from);
                self.register(service, full, now)
            }
            Ask::Renew(service) => self.renew(service, now),
            Ask::Deregister(service) => self.deregister(service, now),
            Ask::Get(name) if name.is_empty() => Err(Reply::Services(Vec::new())),
            Ask::Get(name) if !fits(name) => Err(Reply::Invalid("a name that is none")),
            Ask::Get(name) => self.get(name),
            Ask::GetRule(host) => self.get_rule(host, now),
            Ask::SetRule { host, endpoint } => self.set_rule(host, endpoint, now),
        };
        let matter = match begun {
            Ok(matter) => matter,
            Err(reply) => return self.effects.push_back(Effect::Answer { call, reply }),
        };
        let waiting = Waiting { until: now.boot + PATIENCE, ask, matter };
        let full = self.waiting.len() >= CALLS_MAX || self.queue.len() >= QUEUE_MAX;
        let unheard = self.silent.is_some() || full || !self.settings.stored;
        let reads = matches!(waiting.matter, Matter::List(_) | Matter::Look(_));
        if !(reads && unheard) {
            self.want(waiting.matter.clone());
        }
        if !unheard {
            self.waiting.insert(call, waiting);
            return;
        }
        self.from_memory += u64::from(self.settings.stored);
        let reply = self.known(&waiting, now);
        if !self.settings.stored {
            self.settle(&waiting.matter, now);
        }
        self.effects.push_back(Effect::Answer { call, reply });
    }

    /// Without a store, what was told stands.
    fn settle(&mut self, matter: &Matter, now: Moment) {
        match matter {
            Matter::Client(name, id) => {
                let version = self.clients.get(name, id).map_or(0, |client| client.version);
                self.clients.written(name, id, version);
            }
            Matter::Rule(key) => {
                let version = self.rules.get(key).map_or(0, |rule| rule.version);
                self.rules.written(key, version, None, now.boot);
            }
            Matter::List(_) | Matter::Look(_) | Matter::Nod => {}
        }
    }

    /// Counts what names none of our keys in the store, which others may share: it is refused.
    fn refuse(&mut self, reply: Reply) -> Result<Matter, Reply> {
        self.strange += 1;
        Err(reply)
    }

    fn get(&mut self, name: &str) -> Result<Matter, Reply> {
        if endpoint(name).is_none() {
            return self.refuse(Reply::Services(Vec::new()));
        }
        Ok(Matter::List(name.to_owned()))
    }

    fn register(&mut self, service: &Service, full: Option<String>, now: Moment) -> Result<Matter, Reply> {
        let Service { id, name, node, network, .. } = service;
        if id.is_empty() || name.is_empty() || node.is_empty() {
            return Err(Reply::Invalid("a service has an id, a name and a node"));
        }
        let Some(full) = full.filter(|full| is_sound(service) && fits(full)) else {
            return Err(Reply::Invalid(
                "an address is HOST:PORT, and no text of a service is longer than 256 bytes",
            ));
        };
        if endpoint(name).is_none() {
            return self.refuse(Reply::Done(false));
        }
        if !self.clients.has_room(name, id) {
            return Err(Reply::Full);
        }
        let network = if network == "udp" { "udp" } else { "tcp" };
        let record = Record { node: node.clone(), network: network.into(), address: full, renewed: now.unix };
        self.clients.tell(name, id, record, false);
        Ok(Matter::Client(name.clone(), id.clone()))
    }

    /// One that is not known here may stand in the store.
    fn renew(&mut self, service: &Service, now: Moment) -> Result<Matter, Reply> {
        let Service { id, name, .. } = service;
        if id.is_empty() || name.is_empty() || !is_sound(service) {
            return Err(Reply::Done(false));
        }
        if endpoint(name).is_none() {
            return self.refuse(Reply::Done(false));
        }
        if self.clients.renew(name, id, now.unix) {
            return Ok(Matter::Client(name.clone(), id.clone()));
        }
        if self.clients.get(name, id).is_some() {
            // It has gone.
            return Err(Reply::Done(false));
        }
        Ok(Matter::List(name.clone()))
    }

    fn deregister(&mut self, service: &Service, now: Moment) -> Result<Matter, Reply> {
        let Service { id, name, .. } = service;
        if id.is_empty() || name.is_empty() || !is_sound(service) {
            return Err(Reply::Done(false));
        }
        if endpoint(name).is_none() {
            return self.refuse(Reply::Done(false));
        }
        if !self.clients.has_room(name, id) {
            return Err(Reply::Full);
        }
        let known = self.clients.get(name, id).map(|client| client.record.clone());
        let nothing =
            Record { node: String::new(), network: String::new(), address: String::new(), renewed: now.unix };
        self.clients.tell(name, id, known.unwrap_or(nothing), true);
        Ok(Matter::Client(name.clone(), id.clone()))
    }

    fn get_rule(&mut self, host: &str, now: Moment) -> Result<Matter, Reply> {
        let key = key(host, &self.settings.domains);
        if !is_host(&key) {
            return self.refuse(Reply::Endpoint(String::new()));
        }
        self.rules.hear(&key, now.boot);
        match self.rules.get(&key) {
            Some(rule) if self.settings.stored && (rule.unwritten || now.boot.since(rule.looked) < FRESH) => {
                Err(Reply::Endpoint(rule.endpoint.clone()))
            }
            Some(_) | None => Ok(Matter::Look(key)),
        }
    }

    fn set_rule(&mut self, host: &str, tunnel: &str, now: Moment) -> Result<Matter, Reply> {
        let key = key(host, &self.settings.domains);
        let Some(endpoint) = endpoint(tunnel).filter(|_| is_host(&key)) else {
            return self.refuse(Reply::Done(false));
        };
        let generated = (self.settings.generate)(&endpoint) == key;
        let other = self.rules.of(&key, now.boot, self.settings.lasts).filter(|owner| *owner != endpoint);
        // Who is known here may have left the store meanwhile: it has the last word, unless it is silent.
        if other.is_some() && !generated && (!self.settings.stored || self.silent.is_some()) {
            return Err(Reply::Done(false));
        }
        if !self.rules.has_room(&key, now.boot, self.settings.lasts) {
            return Err(Reply::Full);
        }
        self.rules.tell(&key, &endpoint, generated, now.boot);
        Ok(Matter::Rule(key))
    }

    /// The answer from what is known.
    fn known(&mut self, waiting: &Waiting, now: Moment) -> Reply {
        match &waiting.ask {
            Ask::Deregister(_) => Reply::Done(true),
            Ask::Register { service: Service { id, name, .. }, .. } => {
                Reply::Done(self.clients.get(name, id).is_some_and(|client| !client.gone))
            }
            Ask::Renew(Service { id, name, .. }) if matches!(waiting.matter, Matter::List(_)) => {
                let renewed = self.clients.renew(name, id, now.unix);
                if renewed {
                    self.want(Matter::Client(name.clone(), id.clone()));
                }
                Reply::Done(renewed)
            }
            Ask::Renew(Service { id, name, .. }) => {
                Reply::Done(self.clients.get(name, id).is_some_and(|client| !client.gone))
            }
            Ask::Get(name) => {
                let heard = self.silent.map_or(now.unix, |since| since.unix);
                Reply::Services(self.clients.of(name, now.unix, heard, self.lasts()))
            }
            Ask::GetRule(host) => {
                let key = key(host, &self.settings.domains);
                let owner = self.rules.of(&key, now.boot, self.settings.lasts);
                Reply::Endpoint(owner.unwrap_or_default().to_owned())
            }
            Ask::SetRule { host, endpoint: tunnel } => {
                let key = key(host, &self.settings.domains);
                let owner = self.rules.of(&key, now.boot, self.settings.lasts);
                Reply::Done(owner.is_some_and(|owner| endpoint(tunnel).as_deref() == Some(owner)))
            }
        }
    }

    /// The store is to do this, unless it is about to.
    fn want(&mut self, matter: Matter) {
        let reads = matches!(matter, Matter::List(_) | Matter::Look(_));
        if !self.settings.stored || reads && self.is_under(&matter) {
            return;
        }
        if self.queued.insert(matter.clone()) {
            self.queue.push_back(matter);
        }
    }

    fn is_under(&self, matter: &Matter) -> bool {
        self.under.values().any(|under| under.matter == *matter)
    }

    /// Hands the store what it has room for; nothing but a question whether it is there while it is silent.
    fn pump(&mut self) {
        if std::mem::take(&mut self.nod) && !self.is_under(&Matter::Nod) {
            self.take(Matter::Nod, Step::Nod, 0);
        }
        let mut later = VecDeque::new();
        while self.silent.is_none() && self.under.len() < STEPS_MAX {
            let Some(matter) = self.queue.pop_front() else { break };
            // One step of a matter at a time: the last one must be the last word.
            if self.is_under(&matter) {
                later.push_back(matter);
                continue;
            }
            self.queued.remove(&matter);
            if let Some((what, version)) = self.step(&matter) {
                self.take(matter, what, version);
            }
        }
        while let Some(matter) = later.pop_back() {
            self.queue.push_front(matter);
        }
    }

    fn take(&mut self, matter: Matter, what: Step, version: u64) {
        let step = self.next;
        self.next += 1;
        self.under.insert(step, Under { matter, version });
        self.effects.push_back(Effect::Take { step, what });
    }

    /// What is to be done of a matter, and which version of it that writes.
    fn step(&self, matter: &Matter) -> Option<(Step, u64)> {
        let lasts = self.settings.lasts;
        Some(match matter {
            Matter::Nod => (Step::Nod, 0),
            Matter::List(name) => (Step::List { name: name.clone() }, 0),
            Matter::Look(key) => (Step::Look { key: key.clone() }, 0),
            Matter::Client(name, id) => {
                let client = self.clients.get(name, id).filter(|client| client.unwritten)?;
                let (name, id) = (name.clone(), id.clone());
                let what = match client.gone {
                    true => Step::Remove { name, id },
                    false => Step::Put { name, id, record: client.record.clone(), lasts },
                };
                (what, client.version)
            }
            Matter::Rule(key) => {
                let rule = self.rules.get(key).filter(|rule| rule.unwritten)?;
                let (endpoint, by_right) = (rule.endpoint.clone(), rule.by_right);
                (Step::Claim { key: key.clone(), endpoint, lasts, by_right }, rule.version)
            }
        })
    }

    fn taken(&mut self, step: u64, found: Found, epoch: Vec<u8>, now: Moment) {
        let Some(Under { matter, version }) = self.under.remove(&step) else { return };
        self.beat = now.boot + BEAT;
        let before = self.epoch.replace(epoch);
        let lost = before.is_some() && before != self.epoch;
        if let Some(since) = self.silent.take() {
            self.effects.push_back(Effect::Tell(News::Returned(now.boot.since(since.boot))));
            // What a key lasts may have ended meanwhile.
            self.tell_again(now);
        } else if lost {
            self.tell_again(now);
        }
        if lost {
            self.effects.push_back(Effect::Tell(News::Lost));
        }
        let last_word = match (&matter, found) {
            (Matter::List(name), Found::Clients(clients)) => {
                self.clients.listed(name, clients, now.unix, self.lasts());
                true
            }
            (Matter::Look(key), Found::Owner(owner)) => {
                let owner = owner.as_deref().and_then(endpoint);
                let by_right = owner.as_ref().is_some_and(|owner| (self.settings.generate)(owner) == *key);
                let owner = owner.as_deref().map(|owner| (owner, by_right));
                if self.rules.looked(key, owner, now.boot, self.settings.lasts) {
                    self.want(Matter::Rule(key.clone()));
                }
                true
            }
            (Matter::Client(name, id), Found::Done) => self.clients.written(name, id, version),
            (Matter::Rule(key), Found::Owner(owner)) => {
                self.rules.written(key, version, owner.as_deref(), now.boot)
            }
            // The store cannot: something else stands there.
            (Matter::Client(name, id), _) => {
                self.clients.remove(name, id);
                true
            }
            (Matter::Rule(key), _) => {
                self.rules.remove(key);
                true
            }
            (Matter::List(_) | Matter::Look(_) | Matter::Nod, _) => true,
        };
        if last_word { self.answer(&matter, now) } else { self.want(matter) }
    }

    /// A step has failed: who waits is answered from what is known, and what it was to write is kept.
    fn lost(&mut self, step: u64, now: Moment) {
        let Some(Under { matter, .. }) = self.under.remove(&step) else { return };
        self.failed += 1;
        if self.silent.is_none() {
            self.silent = Some(now);
            self.effects.push_back(Effect::Tell(News::Silent));
        }
        self.again = now.boot + AGAIN;
        if matches!(matter, Matter::Client(..) | Matter::Rule(_)) {
            self.want(matter);
        }
        let calls: Vec<u64> = self.waiting.keys().copied().collect();
        calls.into_iter().for_each(|call| self.answer_from_memory(call, now));
    }

    /// All that was told here is written again.
    fn tell_again(&mut self, now: Moment) {
        for (name, id) in self.clients.tell_again(now.unix, self.lasts()) {
            self.want(Matter::Client(name, id));
        }
        self.rules.sweep(now.boot, self.settings.lasts);
        for key in self.rules.extend(now.boot, self.settings.lasts, true) {
            self.want(Matter::Rule(key));
        }
    }

    /// Answers those who waited for this.
    fn answer(&mut self, matter: &Matter, now: Moment) {
        let calls = self.waiting.iter().filter(|(_, waiting)| waiting.matter == *matter);
        let calls: Vec<u64> = calls.map(|(call, _)| *call).collect();
        for call in calls {
            let Some(waiting) = self.waiting.remove(&call) else { continue };
            let reply = self.known(&waiting, now);
            self.effects.push_back(Effect::Answer { call, reply });
        }
    }

    fn answer_from_memory(&mut self, call: u64, now: Moment) {
        let Some(waiting) = self.waiting.remove(&call) else { return };
        self.from_memory += 1;
        let reply = self.known(&waiting, now);
        self.effects.push_back(Effect::Answer { call, reply });
    }

    fn tick(&mut self, now: Moment) {
        let late = self.waiting.iter().filter(|(_, waiting)| waiting.until <= now.boot);
        let late: Vec<u64> = late.map(|(call, _)| *call).collect();
        late.into_iter().for_each(|call| self.answer_from_memory(call, now));
        if self.silent.is_some() && self.again <= now.boot {
            self.again = now.boot + AGAIN;
            self.nod = true;
        }
        // What has been lost is written again for others who read the store, though nobody calls.
        if self.settings.stored && self.silent.is_none() && self.beat <= now.boot {
            self.beat = now.boot + BEAT;
            self.nod |= self.under.is_empty();
        }
        if self.sweep <= now.boot {
            self.sweep = now.boot + self.pace();
            let heard = self.silent.map_or(now.unix, |since| since.unix);
            self.clients.sweep(heard, self.lasts());
            self.rules.sweep(now.boot, self.settings.lasts);
            if !self.settings.stored {
                return;
            }
            for key in self.rules.extend(now.boot, self.settings.lasts, false) {
                self.want(Matter::Rule(key));
            }
        }
    }
}
