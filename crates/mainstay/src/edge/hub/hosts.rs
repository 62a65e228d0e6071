//! The book of a thread: which tunnel has which host, of those that no route of the file has.
//!
//! Each tunnel of gost's clients has a generated host, and those of its own that its clients asked for and got. Who came first has a
//! host for as long as anybody offers its tunnel; then it is the next one's. A tunnel that nobody offers is remembered for a
//! while, so that who visits it waits for its return.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::{Edge, Host};
use mainstay_config::plan::gost::{Admits, Hosts};
use mainstay_config::plan::tunnel::{GENERATED, generated, label};
use mainstay_core::time::Boot;
use mainstay_core::tunnel::directory::{HOST_MAX, HOSTS_MAX};

/// Tunnels that no file names: more are an attack, or want more nodes.
const TUNNELS_MAX: usize = 100_000;

/// How long a tunnel is remembered that nobody offers.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// What the configuration in force says of hosts.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Tunnels may be offered that the file does not name.
    any: bool,
    /// Clients may ask for hosts.
    own: bool,
    /// Of generated hosts.
    domain: Option<String>,
    /// Hosts of the file.
    taken: HashSet<String>,
    /// The file's tunnels.
    listed: HashMap<String, Listed>,
}

/// A tunnel of the file.
#[derive(Debug)]
struct Listed {
    /// gost's clients may offer it.
    gost: bool,
    private: bool,
    hosts: Vec<String>,
}

/// Which tunnel has which host.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: Rules,
    tunnels: HashMap<Rc<str>, Known>,
    /// The tunnels that want a host; the first one has it.
    hosts: HashMap<Rc<str>, Vec<Rc<str>>>,
    /// Those of `tunnels` that the file does not name.
    open: usize,
    /// Tunnels that were forgotten so that others have room, and that nobody was told of yet.
    pushed_out: Vec<Rc<str>>,
}

/// A tunnel that somebody offers, or did a while ago.
#[derive(Debug, Default)]
struct Known {
    /// What those who offer it want, or wanted last.
    wants: Wants,
    /// The hosts that it is in line for, those that it has whatever they want among them.
    hosts: Vec<Rc<str>>,
    /// Hosts lead nobody to it.
    private: bool,
    /// Since when nobody offers it.
    alone: Option<Boot>,
}

/// What those who offer a tunnel want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// Hosts of its own.
    pub(super) hosts: Vec<String>,
    pub(super) private: bool,
}

/// Whose a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tunnel: Rc<str>,
    pub(super) private: bool,
}

impl Rules {
    /// What a configuration says.
    pub(super) fn of(edge: &Edge) -> Self {
        let Some(gost) = &edge.gost else { return Self::default() };
        let named = edge.routes.iter().flat_map(|route| &route.hosts);
        let sorted = edge.listeners.iter().flat_map(|listener| &listener.sni).map(|rule| &rule.host);
        let taken = named.chain(sorted).filter_map(|host| match host {
            Host::Exact(name) | Host::Suffix(name) => Some(name.to_lowercase()),
            // Whatever they match goes their way all the same: routes of the file come first.
            Host::Prefix(_) | Host::Regex(_) | Host::Any => None,
        });
        let listed = edge.tunnels.iter().map(|tunnel| {
            let hosts = tunnel.served.iter().filter_map(|host| canonical(host).ok());
            let private = tunnel.visitors.is_some();
            (tunnel.id.clone(), Listed { gost: tunnel.gost, private, hosts: hosts.collect() })
        });
        Self {
            any: gost.tunnels == Admits::Any,
            own: gost.hosts == Hosts::Any,
            domain: edge.hub.domain.clone(),
            taken: taken.collect(),
            listed: listed.collect(),
        }
    }

    /// Whether a tunnel is one of gost's clients'; those of the file that are not are never given to them.
    fn admits(&self, tunnel: &str) -> bool {
        self.listed.get(tunnel).map_or(self.any, |listed| listed.gost)
    }

    /// The hosts that a tunnel has whatever its clients want.
    fn given(&self, tunnel: &str) -> Vec<String> {
        let written = self.listed.get(tunnel).map(|listed| listed.hosts.clone()).unwrap_or_default();
        let made = self.domain.iter().map(|domain| generated(tunnel, domain));
        written.into_iter().chain(made).collect()
    }
}

impl Book {
    /// Another configuration is in force. What is known of tunnels is to be told again.
    pub(super) fn adopt(&mut self, rules: Rules, now: Boot) {
        self.rules = rules;
        let known: Vec<Rc<str>> = self.tunnels.keys().map(Rc::clone).collect();
        for tunnel in &known {
            if !self.rules.admits(tunnel) {
                self.forget(tunnel);
            }
        }
        self.open = known.iter().filter(|tunnel| self.is_open(tunnel)).count();
        // Those of the file have hosts whoever is there.
        let written = self.rules.listed.iter().filter(|(_, listed)| listed.gost);
        let written: Vec<Rc<str>> = written.map(|(id, _)| id.as_str().into()).collect();
        let known = known.iter().filter(|tunnel| !written.contains(tunnel));
        for tunnel in written.iter().chain(known) {
            let before = self.tunnels.get(tunnel).map(|known| (known.wants.clone(), known.alone));
            let (wants, alone) = before.unwrap_or((Wants::default(), Some(now)));
            self.hear(tunnel, Some(wants), now);
            self.leave_alone(tunnel, alone);
        }
    }

    /// Whether gost's clients may offer a tunnel.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(super) fn may_offer(&self, tunnel: &str) -> Result<(), String> {
        if !self.rules.admits(tunnel) {
            return Err(format!(
                "gost's clients may not serve tunnel {tunnel}: write gost = true into its [[tunnel]], or tunnels = \"any\" into [gost]"
            ));
        }
        let full = self.open >= TUNNELS_MAX && !self.tunnels.contains_key(tunnel);
        let has_room = || self.alone().next().is_some();
        if full && !self.rules.listed.contains_key(tunnel) && !has_room() {
            return Err(format!("{TUNNELS_MAX} tunnels that no file names are as many as a node has"));
        }
        Ok(())
    }

    /// The host that a client gets when it asks for one, as it is looked up.
    ///
    /// # Errors
    /// A sentence that says why it does not get it.
    pub(super) fn may_have(&self, tunnel: &str, host: &str) -> Result<String, String> {
        if !self.rules.own {
            return Err(
                "clients get generated hosts alone: hosts = \"any\" in [gost] lets them ask".to_owned()
            );
        }
        let host = self.judge(tunnel, host)?;
        if let Some(other) = self.holder(&host).filter(|other| ***other != *tunnel && self.is_offered(other))
        {
            return Err(format!("host {host} is tunnel {other}'s"));
        }
        Ok(host)
    }

    /// Who offers a tunnel wants this; nothing when nobody offers it. A sentence comes back when it does not get something.
    pub(super) fn hear(&mut self, tunnel: &str, wants: Option<Wants>, now: Boot) -> Option<String> {
        let Some(wants) = wants else {
            self.leave_alone(tunnel, Some(now));
            return None;
        };
        if !self.rules.admits(tunnel) {
            return None;
        }
        let is_offered = self.is_offered(tunnel);
        if !self.tunnels.contains_key(tunnel) {
            if let Err(full) = self.may_offer(tunnel) {
                return Some(full);
            }
            if self.is_open_id(tunnel) {
                if self.open >= TUNNELS_MAX {
                    self.make_room();
                }
                self.open += 1;
            }
            self.tunnels.insert(tunnel.into(), Known::default());
        }
        let mut trouble = None;
        let mut hosts: Vec<Rc<str>> =
            self.rules.given(tunnel).iter().map(|host| host.as_str().into()).collect();
        let most = hosts.len() + HOSTS_MAX;
        for host in wants.hosts.iter().filter(|_| self.rules.own) {
            match self.judge(tunnel, host) {
                Ok(_) if hosts.len() >= most => {
                    trouble = Some(format!(
                        "tunnel {tunnel} has {HOSTS_MAX} hosts of its own, as many as it may: it does not get {host}"
                    ));
                }
                Ok(host) if hosts.iter().any(|known| **known == *host) => {}
                Ok(host) => hosts.push(host.into()),
                Err(why) => trouble = Some(format!("tunnel {tunnel} does not get host {host}: {why}")),
            }
        }
        let same = self.tunnels.get(tunnel).is_some_and(|known| known.wants == wants);
        let conflict = self.claim(tunnel, hosts);
        if let Some(known) = self.tunnels.get_mut(tunnel) {
            let was_reached = is_offered && !known.private;
            let by_file = self.rules.listed.get(tunnel).is_some_and(|listed| listed.private);
            known.private = wants.private || by_file;
            known.wants = wants;
            if was_reached && known.private {
                trouble = Some(format!(
                    "tunnel {tunnel} is private, and reached by its hosts no more, for as long as a client is there that asks for it"
                ));
            }
        }
        // What was told once is not told again.
        conflict.or(trouble.filter(|_| !same))
    }

    /// Whose a host is: its own, else that of the longest ending that somebody has (`.example.com`).
    pub(super) fn find(&self, host: &str) -> Option<Owner> {
        let holder = self.holder(host).or_else(|| self.holder(&format!(".{host}"))).or_else(|| {
            let dots = host.match_indices('.').map(|(dot, _)| &host[dot..]);
            dots.filter(|ending| ending.len() > 1).find_map(|ending| self.holder(ending))
        })?;
        let private = self.tunnels.get(holder).is_some_and(|known| known.private);
        Some(Owner { tunnel: Rc::clone(holder), private })
    }

    /// Whether a tunnel is known that the file does not name.
    pub(super) fn is_open(&self, tunnel: &str) -> bool {
        self.tunnels.contains_key(tunnel) && self.is_open_id(tunnel)
    }

    /// Whether gost's clients may offer anything here.
    pub(super) fn is_used(&self) -> bool {
        self.rules.any || self.rules.listed.values().any(|listed| listed.gost)
    }

    /// The tunnels that are known and that the file does not name.
    pub(super) fn open_ones(&self) -> Vec<Rc<str>> {
        self.tunnels.keys().filter(|tunnel| self.is_open_id(tunnel)).map(Rc::clone).collect()
    }

    /// Whether a tunnel has a host.
    pub(super) fn has(&self, tunnel: &str, host: &str) -> bool {
        self.holder(host).is_some_and(|holder| **holder == *tunnel)
    }

    /// The hosts that a tunnel has.
    pub(super) fn hosts_of(&self, tunnel: &str) -> Vec<String> {
        let known = self.tunnels.get(tunnel).map(|known| known.hosts.as_slice()).unwrap_or_default();
        let has = known.iter().filter(|host| self.has(tunnel, host));
        has.map(ToString::to_string).collect()
    }

    /// Forgets tunnels of no file that nobody has offered for long; which ones.
    pub(super) fn sweep(&mut self, now: Boot) -> Vec<Rc<str>> {
        let long = |known: &Known| known.alone.is_some_and(|since| now.since(since) >= REMEMBERED);
        let gone = self.tunnels.iter().filter(|(tunnel, known)| long(known) && self.is_open_id(tunnel));
        let gone: Vec<Rc<str>> = gone.map(|(tunnel, _)| Rc::clone(tunnel)).collect();
        for tunnel in &gone {
            self.forget(tunnel);
            self.open -= 1;
        }
        gone
    }

    /// Tunnels that were forgotten so that others have room, since this was asked last.
    pub(super) fn pushed_out(&mut self) -> Vec<Rc<str>> {
        std::mem::take(&mut self.pushed_out)
    }

    /// Tunnels that no file names and nobody offers, and since when.
    fn alone(&self) -> impl Iterator<Item = (Boot, &Rc<str>)> {
        let open = self.tunnels.iter().filter(|(tunnel, _)| self.is_open_id(tunnel));
        open.filter_map(|(tunnel, known)| Some((known.alone?, tunnel)))
    }

    /// Forgets a quarter of the tunnels that nobody offers, those that have been alone for longest.
    fn make_room(&mut self) {
        let mut alone: Vec<(Boot, Rc<str>)> =
            self.alone().map(|(since, tunnel)| (since, Rc::clone(tunnel))).collect();
        alone.sort_unstable();
        alone.truncate(alone.len().div_ceil(4));
        for (_, tunnel) in alone {
            self.forget(&tunnel);
            self.open -= 1;
            self.pushed_out.push(tunnel);
        }
    }

    fn is_open_id(&self, tunnel: &str) -> bool {
        !self.rules.listed.contains_key(tunnel)
    }

    fn is_offered(&self, tunnel: &str) -> bool {
        self.tunnels.get(tunnel).is_some_and(|known| known.alone.is_none())
    }

    fn holder(&self, host: &str) -> Option<&Rc<str>> {
        self.hosts.get(host)?.first()
    }

    /// A host as it is looked up, when the tunnel may have it whoever else wants it.
    fn judge(&self, tunnel: &str, host: &str) -> Result<String, String> {
        let host = canonical(host)?;
        if self.rules.given(tunnel).contains(&host) {
            return Ok(host);
        }
        if self.rules.taken.contains(&host) {
            return Err("it is one of the file's".to_owned());
        }
        let name = host.strip_prefix('.').unwrap_or(&host);
        if !is_name(name) || name == "localhost" || host.starts_with('.') && !name.contains('.') {
            return Err("it is not the name of one host, or of those under a domain".to_owned());
        }
        let first = name.split('.').next().unwrap_or_default();
        let made = first.len() == GENERATED && first.bytes().all(|byte| byte.is_ascii_hexdigit());
        let under =
            |domain: &String| name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'));
        // Plugins may have a domain of their own, and look up the label alone.
        let theirs = self.rules.domain.as_ref().is_none_or(under) || !name.contains('.');
        if made && theirs && first != label(tunnel) {
            return Err("it is one that is generated for another tunnel".to_owned());
        }
        let Some(domain) = &self.rules.domain else { return Ok(host) };
        let covers = name == domain || host.starts_with('.') && format!(".{domain}").ends_with(&host);
        if covers { Err(format!("all of {domain} is under it")) } else { Ok(host) }
    }

    /// Puts a tunnel in line for these hosts, and for no others. A sentence comes back when another one has one of them.
    fn claim(&mut self, tunnel: &str, hosts: Vec<Rc<str>>) -> Option<String> {
        let (own, known) = self.tunnels.get_key_value(tunnel)?;
        let (own, came_back) = (Rc::clone(own), known.alone.is_some());
        let before = known.hosts.clone();
        for host in before.iter().filter(|host| came_back || !hosts.contains(host)) {
            self.step_out(tunnel, host);
        }
        let mut conflict = None;
        for host in hosts.iter().filter(|host| came_back || !before.contains(host)) {
            let offered =
                |other: &Rc<str>| self.tunnels.get(other).is_some_and(|known| known.alone.is_none());
            let line = self.hosts.get(host).map(Vec::as_slice).unwrap_or_default();
            let place = line.iter().position(|other| !offered(other)).unwrap_or(line.len());
            if let Some(first) = line.first().filter(|_| place > 0) {
                conflict = Some(format!("host {host} is tunnel {first}'s: tunnel {tunnel} does not get it"));
            }
            self.hosts.entry(Rc::clone(host)).or_default().insert(place, Rc::clone(&own));
        }
        let known = self.tunnels.get_mut(tunnel)?;
        (known.hosts, known.alone) = (hosts, None);
        conflict
    }

    /// Nobody offers it since then: it lets those before it who still are offered.
    fn leave_alone(&mut self, tunnel: &str, since: Option<Boot>) {
        let Some(known) = self.tunnels.get_mut(tunnel) else { return };
        if known.alone.is_some() || since.is_none() {
            return;
        }
        known.alone = since;
        for host in known.hosts.clone() {
            if let Some(line) = self.hosts.get_mut(&host)
                && let Some(at) = line.iter().position(|one| **one == *tunnel)
            {
                let own = line.remove(at);
                line.push(own);
            }
        }
    }

    fn step_out(&mut self, tunnel: &str, host: &str) {
        if let Some(line) = self.hosts.get_mut(host) {
            line.retain(|one| **one != *tunnel);
            if line.is_empty() {
                self.hosts.remove(host);
            }
        }
    }

    fn forget(&mut self, tunnel: &str) {
        let Some(known) = self.tunnels.remove(tunnel) else { return };
        known.hosts.iter().for_each(|host| self.step_out(tunnel, host));
    }
}

/// Whether a name is none of the many ways to write an IPv4 address (`127.1`, `0x7f.1`): its last label is no number.
fn is_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex =
        last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    last.bytes().any(|byte| byte.is_ascii_alphabetic()) && !hex
}

/// A host as it is looked up: lower case, `.example.com` for all that end so.
fn canonical(host: &str) -> Result<String, String> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&host);
    let name = host.strip_prefix('.').unwrap_or(host);
    let label = |label: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        (1..=63).contains(&label.len()) && label.bytes().all(good)
    };
    let fits = host.len() <= HOST_MAX && name.split('.').all(label) && name.parse::<IpAddr>().is_err();
    if fits { Ok(host.to_owned()) } else { Err("it is not the name of a host".to_owned()) }
}

#[cfg(test)]
mod tests;
