//! What operators say of pools at run time: kept above the configuration until that says the same, or speaks of the backend itself.

use std::path::PathBuf;

use mainstay_config::plan::edge::{Backend, Pool, Target};
use mainstay_config::plan::{Check, Command, Plan, Probe};
use mainstay_core::balance::Order;
use mainstay_core::name::{CommandId, ProbeId};
use serde::{Deserialize, Serialize};

use crate::ipc::{PoolAction, PoolOrder};

/// Everything that operators have said and that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orders {
    added: Vec<Added>,
    /// Pool and backend.
    removed: Vec<(String, String)>,
    /// In use, drained or down, and weights; at most one of each for a backend.
    modes: Vec<PoolOrder>,
    weights: Vec<PoolOrder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Added {
    pool: String,
    backend: String,
    target: Target,
    weight: u32,
}

impl Orders {
    /// The Plan with what operators have added and removed.
    pub(super) fn on(&self, written: &Plan) -> Plan {
        let mut plan = written.clone();
        for (pool, backend) in &self.removed {
            if let Some(pool) = plan.edge.pools.iter_mut().find(|p| p.name == *pool) {
                pool.backends.retain(|b| b.name != *backend);
            }
        }
        for added in &self.added {
            let Some(at) = plan.edge.pools.iter().position(|p| p.name == added.pool) else { continue };
            // Also a removed one shows how the others are made.
            let like = written.edge.pools[at].backends.iter().find(|b| !b.backup && !b.down);
            let like = like.or(written.edge.pools[at].backends.first()).cloned();
            let backend = added.like(like, &mut plan);
            plan.edge.pools[at].backends.push(backend);
        }
        plan
    }

    /// Takes a word in; what was done as a sentence.
    pub(super) fn take(&mut self, written: &Plan, pool: &str, action: &PoolAction) -> Result<String, String> {
        let now = self.on(written);
        let Some(there) = now.edge.pools.iter().find(|p| p.name == *pool) else {
            let known: Vec<&str> = now.edge.pools.iter().map(|p| p.name.as_str()).collect();
            return Err(crate::words::unknown("pool", pool, &known));
        };
        match action {
            PoolAction::Add { backend, weight } => self.add(written, there, backend, *weight),
            PoolAction::Remove { backend } => {
                known(there, backend)?;
                self.forget(pool, backend);
                if self.added.iter().any(|a| a.pool == pool && a.backend == *backend) {
                    self.added.retain(|a| a.pool != pool || a.backend != *backend);
                } else {
                    self.removed.push((pool.to_owned(), backend.clone()));
                }
                Ok(format!(
                    "{backend} is gone from pool {pool}; requests under way there end as they would have"
                ))
            }
            PoolAction::Drain { backend } => {
                known(there, backend)?;
                self.mode(pool, backend, Order::Drain);
                Ok(format!(
                    "{backend} of pool {pool} gets nothing new but from clients bound to it, until `pool ready`"
                ))
            }
            PoolAction::Ready { backend } => {
                known(there, backend)?;
                // One that its configuration has in use needs no word for it; a weight of 0 would drain it still.
                let other = |o: &PoolOrder| o.pool != pool || o.backend != *backend;
                self.modes.retain(other);
                self.weights.retain(|o| o.order != Order::Weight(0) || other(o));
                if there.backends.iter().any(|b| b.name == *backend && b.down) {
                    self.mode(pool, backend, Order::Ready);
                }
                Ok(format!("{backend} of pool {pool} is in use again as far as its probe agrees"))
            }
            PoolAction::Weight { backend, weight } => {
                known(there, backend)?;
                set(&mut self.weights, pool, backend, Order::Weight(*weight));
                Ok(format!("{backend} of pool {pool} has weight {weight}"))
            }
        }
    }

    fn add(
        &mut self,
        written: &Plan,
        there: &Pool,
        backend: &str,
        weight: Option<u32>,
    ) -> Result<String, String> {
        let pool = &there.name;
        if there.backends.iter().any(|b| b.name == backend) {
            return Err(format!("pool {pool} has {backend} already"));
        }
        self.removed.retain(|(p, b)| p != pool || b != backend);
        let own = written.edge.pools.iter().find(|p| p.name == *pool);
        if own.is_some_and(|p| p.backends.iter().any(|b| b.name == backend)) {
            if let Some(weight) = weight {
                set(&mut self.weights, pool, backend, Order::Weight(weight));
            }
            return Ok(format!("{backend} is in pool {pool} again, as the configuration says"));
        }
        let target = target(backend)?;
        let (pool, backend) = (pool.clone(), backend.to_owned());
        let said = format!("{backend} is in pool {pool}; write it into the configuration before a restart");
        self.added.push(Added { pool, backend, target, weight: weight.unwrap_or(1) });
        Ok(said)
    }

    fn mode(&mut self, pool: &str, backend: &str, order: Order) {
        set(&mut self.modes, pool, backend, order);
    }

    fn forget(&mut self, pool: &str, backend: &str) {
        let other = |o: &PoolOrder| o.pool != pool || o.backend != backend;
        self.modes.retain(other);
        self.weights.retain(other);
    }

    /// Forgets what a new configuration says itself, or has no use for.
    pub(super) fn prune(&mut self, old: &Plan, new: &Plan) {
        let find = |plan: &Plan, pool: &str, backend: &str| {
            let pool = plan.edge.pools.iter().find(|p| p.name == pool)?;
            pool.backends.iter().find(|b| b.name == backend).cloned()
        };
        let pool = |name: &str| new.edge.pools.iter().any(|p| p.name == name);
        self.added.retain(|a| pool(&a.pool) && find(new, &a.pool, &a.backend).is_none());
        self.removed.retain(|(pool, backend)| find(new, pool, backend).is_some());
        let added = self.added.clone();
        let stays = |o: &PoolOrder| {
            let (was, is) = (find(old, &o.pool, &o.backend), find(new, &o.pool, &o.backend));
            let by_operator = added.iter().any(|a| a.pool == o.pool && a.backend == o.backend);
            // Another weight, or another `down`, is the configuration's own word.
            let same = was.as_ref().map(|b| (b.weight, b.down)) == is.as_ref().map(|b| (b.weight, b.down));
            (is.is_some() && same) || by_operator
        };
        self.modes.retain(stays);
        self.weights.retain(stays);
    }

    /// What edge processes are told: every word that holds.
    pub(super) fn words(&self) -> Vec<PoolOrder> {
        self.modes.iter().chain(&self.weights).cloned().collect()
    }

    /// Whether an operator has put the backend into the pool.
    pub(super) fn added(&self, pool: &str, backend: &str) -> bool {
        self.added.iter().any(|a| a.pool == pool && a.backend == backend)
    }

    /// What an operator wants of a backend, in words.
    pub(super) fn of(&self, pool: &str, backend: &str) -> Option<String> {
        let own = |o: &&PoolOrder| o.pool == pool && o.backend == backend;
        let said = |o: &PoolOrder| match o.order {
            Order::Ready => "ready".to_owned(),
            Order::Drain => "drained".to_owned(),
            Order::Down => "down".to_owned(),
            Order::Weight(weight) => format!("weight {weight}"),
            Order::AsWritten => "as written".to_owned(),
        };
        let all: Vec<String> = self.modes.iter().chain(&self.weights).filter(own).map(said).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Backends that an operator has taken out of the pool.
    pub(super) fn removed(&self, pool: &str) -> Vec<String> {
        self.removed.iter().filter(|(p, _)| p == pool).map(|(_, b)| b.clone()).collect()
    }
}

fn known(pool: &Pool, backend: &str) -> Result<(), String> {
    if pool.backends.iter().any(|b| b.name == backend) {
        return Ok(());
    }
    let known: Vec<&str> = pool.backends.iter().map(|b| b.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(format!("pool {} has no backend \"{backend}\"; it has: {known}", pool.name))
}

fn set(orders: &mut Vec<PoolOrder>, pool: &str, backend: &str, order: Order) {
    orders.retain(|o| o.pool != pool || o.backend != backend);
    orders.push(PoolOrder { pool: pool.to_owned(), backend: backend.to_owned(), order });
}

/// As the configuration reads it.
fn target(text: &str) -> Result<Target, String> {
    let wrong = || {
        format!("\"{text}\" is no backend: write 10.0.4.20:8080, name:8080, [2001:db8::1]:8080 or unix:/path")
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let fits = path.starts_with('/') && path.len() <= 107 && !path.contains('\0');
        return if fits { Ok(Target::Unix(PathBuf::from(path))) } else { Err(wrong()) };
    }
    if let Ok(addr) = text.parse() {
        return Ok(Target::Inet(addr));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(letter) {
        return Err(wrong());
    }
    Ok(Target::Name { host: host.to_owned(), port })
}

impl Added {
    /// A backend made like another of its pool, with a probe like that one's.
    fn like(&self, other: Option<Backend>, plan: &mut Plan) -> Backend {
        let (name, target, weight) = (self.backend.clone(), self.target.clone(), self.weight);
        let probe = other.as_ref().and_then(|b| self.probe(b, plan));
        match other {
            Some(other) => Backend { name, target, weight, backup: false, down: false, probe, ..other },
            None => Backend {
                name,
                target,
                weight,
                backup: false,
                down: false,
                max_connections: 0,
                probe,
                outlier: None,
            },
        }
    }

    fn probe(&self, other: &Backend, plan: &mut Plan) -> Option<ProbeId> {
        let like: Probe = plan.probes.get(other.probe?.index())?.clone();
        let name = format!("{}/{}", self.pool, self.backend);
        let check = self.check(like.check, &other.target, &mut plan.commands)?;
        let id = ProbeId(u32::try_from(plan.probes.len()).ok()?);
        plan.probes.push(Probe { name, check, ..like });
        Some(id)
    }

    /// The check of another backend, turned to this one. A port of the probe's own stays.
    fn check(&self, check: Check, other: &Target, commands: &mut Vec<Command>) -> Option<Check> {
        let turn = |text: &str| {
            let (host, port) = parts(other);
            let (new_host, new_port) = parts(&self.target);
            let old = format!("{host}:");
            let at = text.find(&old)?;
            let after = &text[at + old.len()..];
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let new_port = if after[..digits] == port { new_port } else { after[..digits].to_owned() };
            Some(format!("{}{new_host}:{new_port}{}", &text[..at], &after[digits..]))
        };
        let unix = |target: &Target| matches!(target, Target::Unix(_));
        match check {
            Check::Exec { command } => {
                let mut command = commands.get(command.index())?.clone();
                let (host, port) = bare(&self.target);
                let own = command.argv.len().checked_sub(2)?;
                command.argv.truncate(own);
                command.argv.extend([host, port]);
                commands.push(command);
                Some(Check::Exec { command: CommandId(u32::try_from(commands.len() - 1).ok()?) })
            }
            _ if unix(&self.target) || unix(other) => None,
            Check::Tcp { target } => Some(Check::Tcp { target: turn(&target)? }),
            Check::Http(mut page) => {
                page.url = turn(&page.url)?;
                Some(Check::Http(page))
            }
            Check::Grpc(mut grpc) => {
                grpc.target = turn(&grpc.target)?;
                Some(Check::Grpc(grpc))
            }
            Check::Pool { .. }
            | Check::Ping { .. }
            | Check::Process { .. }
            | Check::Interface { .. }
            | Check::File { .. } => None,
        }
    }
}

/// Host as URLs have it, and port.
fn parts(target: &Target) -> (String, String) {
    match target {
        Target::Inet(addr) if addr.is_ipv6() => (format!("[{}]", addr.ip()), addr.port().to_string()),
        Target::Inet(_) | Target::Name { .. } | Target::Unix(_) | Target::Asked | Target::Tunnel(_) => {
            bare(target)
        }
    }
}

/// Host as commands get it, and port.
fn bare(target: &Target) -> (String, String) {
    match target {
        Target::Inet(addr) => (addr.ip().to_string(), addr.port().to_string()),
        Target::Name { host, port } => (host.clone(), port.to_string()),
        Target::Unix(path) => (format!("unix:{}", path.display()), "0".into()),
        Target::Asked => ("*".into(), "0".into()),
        // Its agents probe it.
        Target::Tunnel(id) => (format!("tunnel:{id}"), "0".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_config::{Checks, parse_str};

    fn plan(backends: &str) -> Plan {
        let text = format!(
            "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:80\"\n[[route]]\npool = \"api\"\n[[pool]]\nname = \"api\"\n\
             backends = [{backends}]\nprobe = {{ http = \"/healthz\", port = 9000 }}\n"
        );
        parse_str("t.toml", &text, &|_| None, Checks::NONE).unwrap_or_else(|r| panic!("{r}")).plan
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.edge.pools[0].backends.iter().map(|b| b.name.as_str()).collect()
    }

    fn add(backend: &str) -> PoolAction {
        PoolAction::Add { backend: backend.into(), weight: None }
    }

    #[test]
    fn an_added_backend_has_a_probe_like_the_others_and_goes_when_the_configuration_names_it() {
        let written = plan("\"10.0.0.1:80\"");
        let mut orders = Orders::default();
        orders.take(&written, "api", &add("[2001:db8::7]:81")).unwrap();
        let now = orders.on(&written);
        assert_eq!(names(&now), ["10.0.0.1:80", "[2001:db8::7]:81"]);
        let probe = &now.probes[now.edge.pools[0].backends[1].probe.unwrap().index()];
        let Check::Http(page) = &probe.check else { panic!("{probe:?}") };
        assert_eq!(
            (page.url.as_str(), probe.name.as_str()),
            ("http://[2001:db8::7]:9000/healthz", "api/[2001:db8::7]:81")
        );
        assert!(orders.take(&written, "api", &add("10.0.0.1:80")).is_err());
        let both = plan("\"10.0.0.1:80\", \"[2001:db8::7]:81\"");
        orders.prune(&written, &both);
        assert_eq!(orders, Orders::default());
    }

    #[test]
    fn a_removed_backend_stays_away_over_reloads_until_it_is_added_again() {
        let written = plan("\"10.0.0.1:80\", \"10.0.0.2:80\"");
        let mut orders = Orders::default();
        orders.take(&written, "api", &PoolAction::Remove { backend: "10.0.0.1:80".into() }).unwrap();
        orders.prune(&written, &written);
        assert_eq!(names(&orders.on(&written)), ["10.0.0.2:80"]);
        orders.take(&written, "api", &add("10.0.0.1:80")).unwrap();
        assert_eq!(orders.on(&written), written);
    }

    #[test]
    fn words_hold_until_the_configuration_says_something_else_of_the_backend() {
        let written = plan("{ addr = \"10.0.0.1:80\", weight = 2 }, \"10.0.0.2:80\"");
        let mut orders = Orders::default();
        let backend = || "10.0.0.1:80".to_owned();
        orders.take(&written, "api", &PoolAction::Drain { backend: backend() }).unwrap();
        orders.take(&written, "api", &PoolAction::Weight { backend: backend(), weight: 7 }).unwrap();
        orders.prune(&written, &written);
        assert_eq!(orders.words().len(), 2);
        let other = plan("{ addr = \"10.0.0.1:80\", weight = 3 }, \"10.0.0.2:80\"");
        orders.prune(&written, &other);
        assert!(orders.words().is_empty());
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let written = plan("\"10.0.0.1:80\"");
        let mut orders = Orders::default();
        let wrong = orders.take(&written, "ap", &add("10.0.0.2:80")).unwrap_err();
        assert_eq!(wrong, "no pool is called \"ap\"; there are: api");
        let wrong = orders.take(&written, "api", &PoolAction::Drain { backend: "x".into() }).unwrap_err();
        assert_eq!(wrong, "pool api has no backend \"x\"; it has: 10.0.0.1:80");
        for text in ["x", "x:0", "unix:relative", "a b:80", ":80"] {
            assert!(orders.take(&written, "api", &add(text)).is_err(), "{text}");
        }
    }
}
