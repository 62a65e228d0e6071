//! The cluster: its nodes in one order, its wires, its keys and the times of its leases.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mainstay_core::election::Guard;
use mainstay_core::lease::{Member, Terms, VoterList};

use super::Resolver;
use crate::access;
use crate::plan::Vip;
use crate::plan::cluster::{self, Cluster, ClusterKey, External, Peer};
use crate::raw;
use crate::source::{At, Span};
use crate::values::written;

/// A beat names every node's rights to every other: a cluster is a room, not a data centre.
const MOST_NODES: usize = 64;
/// Two wires are usual; every message goes over each.
const MOST_WIRES: usize = 8;

const USUAL_TERM: Duration = Duration::from_millis(1500);
/// Five renewals, of which some may be lost, have to fit beside a scheduler's hiccup.
const SHORTEST_TERM: Duration = Duration::from_millis(200);
const LONGEST_TERM: Duration = Duration::from_secs(60);
/// A store on disks that others use too answers late now and then.
const SHORTEST_EXTERNAL_TERM: Duration = Duration::from_secs(5);

/// One percent: a hundred times what a bad quartz does.
const USUAL_DRIFT: u32 = 10_000;
/// ntpd and chrony slew by up to 500 ppm, and a bad quartz adds 100.
const LEAST_DRIFT: u32 = 1_000;
const MOST_DRIFT: u32 = 100_000;

/// A program in the kernel compares each packet's time with the deadline: only the clock's own steps remain.
const GATE_ERROR: Duration = Duration::from_millis(1);

/// A shorter secret is guessed.
const SHORTEST_KEY: usize = 16;

/// What the vips need to know of the cluster, whether or not its nodes speak with each other.
pub(super) struct Standing {
    /// The cluster key.
    pub(super) key: Option<ClusterKey>,
    /// Where this node is, where its file says so.
    pub(super) own: Option<std::net::IpAddr>,
    /// There is a cluster key, or a pinned one.
    pub(super) keyed: bool,
    /// How many nodes may hold a vip, this one included.
    pub(super) holders: usize,
    /// How many votes there are.
    pub(super) voters: usize,
    /// Where the other nodes are.
    pub(super) addrs: Vec<IpAddr>,
    /// This node is a witness.
    pub(super) witness: bool,
    pub(super) terms: Terms,
    /// Where `lock` and `isolated` were written.
    pub(super) lock: Option<Span>,
    pub(super) isolated: Option<Span>,
}

impl Default for Standing {
    fn default() -> Self {
        let terms =
            Terms { term: USUAL_TERM, term_max: USUAL_TERM, drift_ppm: USUAL_DRIFT, gate_error: GATE_ERROR };
        // Without [cluster] nobody knows of other nodes.
        Self {
            key: None,
            own: None,
            keyed: false,
            holders: 1,
            voters: 1,
            addrs: Vec::new(),
            witness: false,
            terms,
            lock: None,
            isolated: None,
        }
    }
}

/// An entry of `peers` that can be used.
struct Entry {
    id: String,
    span: Span,
    addrs: Vec<SocketAddr>,
    key: Option<[u8; 32]>,
    witness: bool,
    external: Option<External>,
}

const WHO: &str = "[cluster]";
pub(super) const PEERS: &str = "[cluster] peers";

impl Resolver<'_> {
    /// The cluster, when its nodes speak with each other; else only `standing` knows of it.
    pub(super) fn cluster(&mut self, raw: &raw::Cluster, node: &str) -> Option<Cluster> {
        self.required(&raw.name, &raw.head, WHO, "name");
        let name = self.name(raw.name.clone(), "cluster").map(|name| name.value).unwrap_or_default();
        let listed = raw.peers.iter().flat_map(|list| &list.value);
        let keyed = raw.key.is_some() || listed.clone().any(|peer| peer.value.key.is_some());
        let mut entries = self.entries(raw);
        let own = entries.iter().position(|entry| entry.id == node).map(|at| entries.remove(at));
        let terms = self.terms(raw);
        let holds = |entry: &Entry| !entry.witness && entry.external.is_none();
        let witness = own.as_ref().is_some_and(|own| own.witness);
        self.standing = Standing {
            key: None,
            own: own.as_ref().and_then(|own| own.addrs.first()).map(SocketAddr::ip),
            keyed,
            holders: entries.iter().filter(|entry| holds(entry)).count() + usize::from(!witness),
            voters: entries.len() + 1,
            addrs: entries.iter().flat_map(|entry| &entry.addrs).map(SocketAddr::ip).collect(),
            witness,
            terms,
            lock: raw.lock.as_ref().map(|at| at.span),
            isolated: raw.isolated.as_ref().map(|at| at.span),
        };
        if !keyed {
            self.only_with_keys(raw);
            return None;
        }
        self.own_entry(own.as_ref());
        self.speakers(raw, own.as_ref(), &entries);
        let key = raw.key.as_ref().and_then(|key| self.common_key(key, WHO, "the cluster key"));
        self.standing.key.clone_from(&key);
        let mut members: Vec<Member> = entries
            .iter()
            .map(|entry| Member { id: entry.id.clone(), votes: true, holds: holds(entry) })
            .collect();
        members.push(Member { id: node.to_owned(), votes: true, holds: !witness });
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let list = VoterList { epoch: 1, members };
        let peers = peers(entries, &list);
        let listen = self.listen(raw);
        let own_key = own.as_ref().and_then(|own| own.key);
        let own_addrs = own.map(|own| own.addrs).unwrap_or_default();
        let me = list.find(node)?;
        let (lock, isolated) = (self.lock(raw), self.isolated(raw));
        Some(Cluster {
            strict: false,
            lock,
            isolated,
            salt: salt(&name, &terms),
            name,
            me,
            list,
            terms,
            key,
            own_key,
            own_addrs,
            listen,
            peers,
        })
    }

    fn entries(&mut self, raw: &raw::Cluster) -> Vec<Entry> {
        let mut ids: HashMap<String, Span> = HashMap::new();
        let mut entries = Vec::new();
        for peer in raw.peers.iter().flat_map(|list| &list.value) {
            let entry = self.entry(peer);
            let id = self.required(&peer.value.id, &peer.value.head, PEERS, "id");
            let Some(id) = self.name(id, "node") else { continue };
            if let Some(first) = ids.get(&id.value) {
                let place = self.findings.line_of(*first);
                let message = format!("{PEERS}: \"{}\" is already listed at {place}", id.value);
                self.error(id.span, message, "give each node its own id");
                continue;
            }
            ids.insert(id.value.clone(), id.span);
            entries.push(Entry { id: id.value, ..entry });
        }
        entries
    }

    fn entry(&mut self, peer: &At<raw::Peer>) -> Entry {
        let raw = &peer.value;
        let mut addrs = Vec::new();
        for text in raw.addrs.iter().flat_map(|list| &list.value) {
            let Some(addr) = self.wire(text, PEERS) else { continue };
            if addr.ip().is_unspecified() || addr.ip().is_multicast() {
                let message = format!("{PEERS}: {} is not the address of a host", addr.ip());
                self.error(text.span, message, "write an address that the node always has");
            } else if addrs.contains(&addr) {
                self.error(text.span, format!("{PEERS}: {addr} is listed twice"), "write each wire once");
            } else {
                addrs.push(addr);
            }
        }
        if let Some(list) = raw.addrs.as_ref().filter(|list| list.value.len() > MOST_WIRES) {
            self.error(
                list.span,
                format!("{PEERS}: more than {MOST_WIRES} wires to one node"),
                "write fewer",
            );
        }
        let witness = raw.witness.as_ref().is_some_and(|witness| witness.value);
        let external = raw.etcd.as_ref().map(|etcd| self.etcd(etcd, raw));
        if external.is_none() {
            self.only_with_etcd(raw);
        }
        let foreign = [
            ("addrs", raw.addrs.as_ref().map(|at| at.span)),
            ("witness", raw.witness.as_ref().map(|at| at.span)),
            ("key", raw.key.as_ref().map(|at| at.span)),
        ];
        for (key, span) in foreign.into_iter().filter(|_| external.is_some()) {
            let Some(span) = span else { continue };
            let message = format!("{PEERS}: `{key}` means nothing with `etcd`, which is no node");
            self.error(span, message, format!("take `{key}` out, or write it in an entry of its own"));
        }
        let key = raw.key.as_ref().and_then(|key| self.public_key(key));
        Entry { id: String::new(), span: peer.span, addrs, key, witness, external }
    }

    fn public_key(&mut self, text: &At<String>) -> Option<[u8; 32]> {
        let key = STANDARD.decode(text.value.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        if key.is_none() {
            let message = format!("{PEERS}: \"{}\" is not a node's public key", text.value.escape_debug());
            let help = "write the 44 characters that `mainstay node key` prints on that node";
            self.error(text.span, message, help);
        }
        key
    }

    fn terms(&mut self, raw: &raw::Cluster) -> Terms {
        let range = SHORTEST_TERM..=LONGEST_TERM;
        let term = self.time(&raw.term, USUAL_TERM, range.clone(), WHO, "term");
        let term_max = self.time(&raw.term_max, term, range, WHO, "term_max");
        if let Some(at) = raw.term_max.as_ref().filter(|_| term_max < term) {
            let message = format!("{WHO}: term_max {} is shorter than the term", written(term_max));
            let help = format!("write {} or more, the same on every node", written(term));
            self.error(at.span, message, help);
        }
        let drift = raw.clock_drift.as_ref();
        let drift_ppm = drift.map_or(USUAL_DRIFT, |at| at.value.0);
        if let Some(at) = drift.filter(|_| !(LEAST_DRIFT..=MOST_DRIFT).contains(&drift_ppm)) {
            let message = format!("{WHO}: clock_drift of {drift_ppm} parts per million is out of range");
            let help = "write \"0.1%\" to \"10%\": time services alone change a clock's rate by 0.05%";
            self.error(at.span, message, help);
        }
        Terms { term, term_max, drift_ppm: drift_ppm.clamp(LEAST_DRIFT, MOST_DRIFT), gate_error: GATE_ERROR }
    }

    /// Keys that need sessions between nodes.
    fn only_with_keys(&mut self, raw: &raw::Cluster) {
        let own = [
            ("listen", raw.listen.as_ref().map(|at| at.span)),
            ("term", raw.term.as_ref().map(|at| at.span)),
            ("term_max", raw.term_max.as_ref().map(|at| at.span)),
            ("clock_drift", raw.clock_drift.as_ref().map(|at| at.span)),
            ("lock", raw.lock.as_ref().map(|at| at.span)),
            ("isolated", raw.isolated.as_ref().map(|at| at.span)),
        ];
        let peers = raw.peers.iter().flat_map(|list| &list.value).flat_map(|peer| {
            let witness = peer.value.witness.as_ref().filter(|witness| witness.value);
            let etcd = peer.value.etcd.as_ref();
            [("witness", witness.map(|at| at.span)), ("etcd", etcd.map(|at| at.span))]
        });
        let found: Vec<(&str, Span)> =
            own.into_iter().chain(peers).filter_map(|(key, span)| Some((key, span?))).collect();
        for (key, span) in found {
            let message = format!("{WHO}: `{key}` means nothing while nodes don't speak with each other");
            self.error(span, message, NEEDS_KEY);
        }
    }

    fn own_entry(&mut self, own: Option<&Entry>) {
        if let Some(own) = own.filter(|own| own.external.is_some()) {
            let message = format!("{PEERS}: \"{}\" is this node's own id, and no etcd", own.id);
            self.error(own.span, message, "give the external voter its own id");
        }
    }

    /// What must be true of the others for a session with each.
    fn speakers(&mut self, raw: &raw::Cluster, own: Option<&Entry>, entries: &[Entry]) {
        if entries.len() >= MOST_NODES {
            self.error(raw.head.span, format!("{WHO}: more than {MOST_NODES} nodes"), "make two clusters");
        }
        let mut places: HashMap<SocketAddr, &str> =
            own.into_iter().flat_map(|own| own.addrs.iter().map(|addr| (*addr, own.id.as_str()))).collect();
        let mut external: Option<&str> = None;
        for entry in entries {
            let (id, span) = (entry.id.as_str(), entry.span);
            if entry.external.is_some() {
                self.external(&mut external, entry);
                continue;
            }
            if entry.addrs.is_empty() {
                let message = format!("{PEERS}: \"{id}\" has no address to speak to");
                self.error(span, message, "write addrs = [\"10.0.4.21\"], one for each wire");
            }
            if raw.key.is_none() && entry.key.is_none() {
                let message =
                    format!("{PEERS}: \"{id}\" has no `key`, and there is no cluster key to enrol it");
                let help = format!(
                    "make a token with `mainstay node enrol {id}`, or write what `mainstay node key` prints on \"{id}\", or \
                     {NEEDS_KEY}"
                );
                self.findings.warn(span, message, help);
            }
            for addr in &entry.addrs {
                if let Some(other) = places.insert(*addr, id) {
                    let message =
                        format!("{PEERS}: {addr} is the address of \"{other}\" as well as of \"{id}\"");
                    self.error(span, message, "give each node its own addresses");
                }
            }
        }
    }

    fn external<'e>(&mut self, first: &mut Option<&'e str>, entry: &'e Entry) {
        let id = &entry.id;
        if let Some(first) = first.replace(id) {
            let message = format!("{PEERS}: \"{id}\" is a second external voter beside \"{first}\"");
            self.error(entry.span, message, "keep one: the others are nodes or witnesses");
        }
        let term = self.standing.terms.term;
        if term < SHORTEST_EXTERNAL_TERM {
            let message = format!("{PEERS}: etcd \"{id}\" can't vote with a term of {}", written(term));
            let help = "write term = \"5s\" or longer in [cluster], as etcd may take seconds to answer, or make a \
                        witness of a third machine instead";
            self.error(entry.span, message, help);
        }
    }

    /// A secret that several nodes have, and that would be guessed if it were short.
    pub(super) fn common_key(
        &mut self,
        key: &At<crate::values::Secret>,
        who: &str,
        what: &str,
    ) -> Option<ClusterKey> {
        let read_here = self.checks.files || matches!(key.value, crate::values::Secret::Text(_));
        let secret = self.secret(key, who, "key")?;
        if let (Some(path), false) = self.secret_place(&key.value)
            && access::open_to_all(&path)
        {
            let message = format!("{who}: every user of this host may read {what} in {}", path.display());
            self.findings.warn(key.span, message, format!("chmod o= {}", path.display()));
        }
        if read_here && secret.len() < SHORTEST_KEY {
            let message = format!("{who}: the key has {} characters", secret.len());
            let help = "write at least 16: `openssl rand -base64 32` makes one, the same for every node";
            self.error(key.span, message, help);
        }
        Some(ClusterKey::new(secret))
    }

    fn listen(&mut self, raw: &raw::Cluster) -> Vec<SocketAddr> {
        let Some(list) = &raw.listen else {
            return vec![cluster::everywhere()];
        };
        if list.value.is_empty() || list.value.len() > MOST_WIRES {
            let message = format!("{WHO}: `listen` has {} places", list.value.len());
            self.error(list.span, message, "write listen = [\"[::]:5112\"], or leave it out");
        }
        let mut places = Vec::new();
        for text in &list.value {
            let Some(place) = self.wire(text, "[cluster] listen") else { continue };
            if places.contains(&place) {
                self.error(text.span, format!("{WHO}: {place} is listed twice"), "write each place once");
            }
            places.push(place);
        }
        places
    }

    /// Address, or address:port.
    fn wire(&mut self, text: &At<String>, who: &str) -> Option<SocketAddr> {
        let place = cluster::place(&text.value);
        if place.is_none() {
            let message = format!("{who}: \"{}\" is not an address", text.value.escape_debug());
            let help = "write \"10.0.4.21\", \"10.0.4.21:5112\", \"2001:db8::21\" or \"[2001:db8::21]:5112\"";
            self.error(text.span, message, help);
        }
        place
    }
}

/// What makes nodes speak with each other.
pub(super) const NEEDS_KEY: &str =
    "write key = { file = \"/etc/mainstay/cluster.key\" } in [cluster], the same secret on every node";

/// In the list's order.
fn peers(mut entries: Vec<Entry>, list: &VoterList) -> Vec<Peer> {
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let peer = |entry: Entry| {
        let Entry { id, addrs, key, witness, external, .. } = entry;
        Some(Peer { node: list.find(&id)?, id, addrs, key, witness, external })
    };
    entries.into_iter().filter_map(peer).collect()
}

/// Where a vip of this node is strict, nodes for which promises end must not count ours.
pub(super) fn strict(cluster: &mut Cluster, vips: &[Vip]) {
    cluster.strict = vips.iter().any(|vip| vip.spec.guard == Guard::Strict);
    if cluster.strict {
        cluster.salt = !cluster.salt;
    }
}

/// FNV-1a, 64 bits, over what must be the same everywhere beside the list.
fn salt(name: &str, terms: &Terms) -> u64 {
    let term_max = terms.term_max.as_nanos().to_be_bytes();
    name.bytes().chain([0]).chain(term_max).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
