//! A one-time token: what `mainstay node enrol` prints and `mainstay node join` reads. It carries the secret that is proven to the
//! node that made it, and all that a newcomer has to know of the cluster; of that nothing is secret.

use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_config::plan::cluster::PORT;
use serde::{Deserialize, Serialize};

/// What a token begins with; the number is its version.
const MARK: &str = "mainstay1.";

/// 64 nodes with eight wires each and the longest names fit.
pub(crate) const TEXT_MAX: usize = 64 * 1024;

/// A token, read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The `node.id` that it is for.
    pub(crate) id: String,
    /// The node that made it, one of `nodes`.
    pub(crate) issuer: String,
    /// What is proven.
    pub(crate) secret: [u8; 32],
    /// Microseconds.
    pub(crate) term: u64,
    /// Microseconds.
    pub(crate) term_max: u64,
    pub(crate) drift_ppm: u32,
    /// All nodes of the issuer's file, the newcomer included.
    pub(crate) nodes: Vec<Node>,
}

/// A node as its entry in `[cluster] peers` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) addrs: Vec<SocketAddr>,
    /// Its public key, as the issuer has it pinned.
    pub(crate) key: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) witness: bool,
    /// Not a node at all: URLs of an etcd cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) etcd: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl fmt::Debug for Token {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} of {} for {})", self.cluster, self.issuer, self.id)
    }
}

impl Token {
    /// One line.
    pub(crate) fn text(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings and numbers can be written");
        format!("{MARK}{}.{:08x}", URL_SAFE_NO_PAD.encode(&json), sum(&json))
    }

    /// Reads what [`Self::text`] wrote, wherever its line was broken.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let body = text.strip_prefix(MARK).ok_or(
            "that is no token of this version: it is the line that `mainstay node enrol` prints, which begins with mainstay1.",
        )?;
        let damaged =
            "the token is damaged or not whole: copy all of the line that `mainstay node enrol` printed";
        let (json, check) = body.rsplit_once('.').ok_or(damaged)?;
        let json = URL_SAFE_NO_PAD.decode(json).map_err(|_| damaged)?;
        if check != format!("{:08x}", sum(&json)) {
            return Err(damaged);
        }
        let token: Self = serde_json::from_slice(&json).map_err(|_| damaged)?;
        let has = |id: &str| token.nodes.iter().any(|node| node.id == id);
        if has(&token.id) && has(&token.issuer) { Ok(token) } else { Err(damaged) }
    }

    /// The node that made it.
    pub(crate) fn issuer(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == self.issuer)
    }

    /// What the newcomer's configuration says of the cluster, with `[node] id` when `named`.
    pub(crate) fn config(&self, named: bool) -> String {
        let mut out = format!(
            "# Written by `mainstay node join` with a token of {}. Nothing in it is secret.\n",
            self.issuer.escape_default()
        );
        if named {
            let _ = write!(out, "[node]\nid = {}\n\n", quoted(&self.id));
        }
        let _ = writeln!(out, "[cluster]\nname = {}", quoted(&self.cluster));
        let _ = writeln!(out, "term = {}\nterm_max = {}", length(self.term), length(self.term_max));
        let _ = writeln!(out, "clock_drift = {}", self.drift_ppm);
        let own = self.nodes.iter().filter(|node| node.id == self.id).flat_map(|node| &node.addrs);
        let odd: Vec<String> =
            own.filter(|addr| addr.port() != PORT).map(|addr| quoted(&addr.to_string())).collect();
        if !odd.is_empty() {
            let _ = writeln!(out, "listen = [{}]", odd.join(", "));
        }
        out.push_str("peers = [\n");
        for node in &self.nodes {
            if !node.etcd.is_empty() {
                out.push_str(
                    "    # What this etcd asks for (ca, cert, cert_key, user, password) is in no token: write it into the entry, as on the \
                     other nodes.\n",
                );
            }
            let _ = writeln!(out, "    {},", node.entry());
        }
        out + "]\n"
    }
}

impl Node {
    fn entry(&self) -> String {
        let list = |texts: Vec<String>| texts.join(", ");
        let mut fields = vec![format!("id = {}", quoted(&self.id))];
        if self.etcd.is_empty() {
            let addrs = self.addrs.iter().map(|addr| quoted(&addr.to_string()));
            fields.push(format!("addrs = [{}]", list(addrs.collect())));
        } else {
            fields.push(format!("etcd = [{}]", list(self.etcd.iter().map(|url| quoted(url)).collect())));
        }
        if self.witness {
            fields.push("witness = true".to_owned());
        }
        if let Some(key) = &self.key {
            fields.push(format!("key = {}", quoted(&mainstay_link::keys::write(key))));
        }
        format!("{{ {} }}", list(fields))
    }
}

fn length(micros: u64) -> String {
    if micros.is_multiple_of(1000) { format!("\"{}ms\"", micros / 1000) } else { format!("\"{micros}us\"") }
}

/// JSON's escapes are TOML's too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text can be written").replace('\u{7f}', "\\u007f")
}

/// FNV-1a, 32 bits: tells a slip of the hand, nothing else.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use mainstay_config::{Checks, parse_str};

    use super::*;

    fn token() -> Token {
        let node = |id: &str, n: u8, key: Option<[u8; 32]>| Node {
            id: id.to_owned(),
            addrs: vec![SocketAddr::from(([10, 0, 4, n], PORT)), SocketAddr::from(([10, 1, 4, n], PORT))],
            key,
            witness: id == "w",
            etcd: Vec::new(),
        };
        Token {
            cluster: "shop".into(),
            id: "n4".into(),
            issuer: "n1".into(),
            secret: [7; 32],
            term: 1_500_500,
            term_max: 2_000_000,
            drift_ppm: 10_000,
            nodes: vec![
                node("n1", 1, Some([1; 32])),
                node("n2", 2, Some([2; 32])),
                node("n4", 4, None),
                node("w", 9, Some([9; 32])),
            ],
        }
    }

    #[test]
    fn a_token_is_one_line_that_is_read_again_wherever_it_was_broken() {
        let text = token().text();
        assert!(!text.contains(char::is_whitespace) && text.len() < TEXT_MAX);
        assert_eq!(Token::read(&text), Ok(token()));
        let broken: Vec<&str> = text.split_inclusive('e').collect();
        assert_eq!(Token::read(&(broken.join("\n  ") + "\n")), Ok(token()));
        assert!(!format!("{:?}", token()).contains('7'), "the secret is not shown");
    }

    #[test]
    fn a_token_that_is_damaged_or_none_is_refused_by_a_sentence() {
        let text = token().text();
        for at in (MARK.len()..text.len()).step_by(7) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert!(Token::read(&altered).is_err(), "{at}");
            assert!(Token::read(&text[..at]).is_err(), "{at}");
        }
        assert!(Token::read("").is_err() && Token::read("mainstay2.AAAA.00000000").is_err());
    }

    #[test]
    fn its_configuration_is_that_of_a_node_of_the_cluster() {
        let text = token().config(true);
        let loaded = parse_str("cluster.toml", &text, &|_| None, Checks::NONE).unwrap();
        let cluster = loaded.plan.cluster.unwrap();
        assert_eq!((loaded.plan.node.as_str(), cluster.name.as_str()), ("n4", "shop"));
        assert_eq!(cluster.list.members.len(), 4);
        assert!(cluster.key.is_none() && cluster.peers.iter().all(|peer| peer.key.is_some()));
        assert_eq!((cluster.terms.term.as_micros(), cluster.terms.term_max.as_millis()), (1_500_500, 2000));
        assert_eq!(cluster.peers.iter().filter(|peer| peer.witness).count(), 1);

        let mut token = token();
        (token.term, token.term_max) = (6_000_000, 6_000_000);
        token.nodes[1] = Node {
            id: "etcd".into(),
            addrs: Vec::new(),
            key: None,
            witness: false,
            etcd: vec!["http://10.0.5.1:2379".into()],
        };
        let text = token.config(true);
        let loaded = parse_str("cluster.toml", &text, &|_| None, Checks::NONE).unwrap();
        assert!(
            loaded.plan.cluster.unwrap().external().is_some() && text.contains("# What this etcd asks for")
        );
    }
}
