//! Calls of gost's plugins in words of gRPC and of JSON, and what their answers mean.

use anyhow::Context;
use hyper::Method;
use mainstay_config::plan::tunnel::generated;
use mainstay_core::gost::book::{Answer, Call, Node, Rule};
use mainstay_core::gost::relay::Id;
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::decoded;
use super::wire::{self, path};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Our node's name.
    pub(crate) node: String,
    /// Our entrypoint.
    pub(crate) address: String,
}

/// What ingress knows us as; gost says the name of its service.
const SERVICE: &str = "mainstay";

/// A call as JSON over HTTP.
pub(super) struct Json {
    pub(super) method: Method,
    pub(super) query: Option<String>,
    pub(super) body: Option<String>,
}

/// The path and the message of a call.
pub(super) fn message(call: &Call, caller: &Caller) -> (&'static str, Vec<u8>) {
    let request = |service| wire::ServiceRequest { service: Some(service) }.encode_to_vec();
    match call {
        Call::Register { .. } => (path::REGISTER, request(service(call, caller))),
        Call::Renew { .. } => (path::RENEW, request(service(call, caller))),
        Call::Deregister { .. } => (path::DEREGISTER, request(service(call, caller))),
        Call::Nodes { tunnel } => (path::GET, wire::GetRequest { name: tunnel.clone() }.encode_to_vec()),
        Call::Lead { host, tunnel } => {
            let (host, endpoint, service) = (host.clone(), tunnel.clone(), SERVICE.to_owned());
            (path::SET_RULE, wire::SetRuleRequest { host, endpoint, service }.encode_to_vec())
        }
        Call::Rule { host } => {
            let (host, service) = (host.clone(), SERVICE.to_owned());
            (path::GET_RULE, wire::GetRuleRequest { host, service }.encode_to_vec())
        }
    }
}

/// The same as JSON.
pub(super) fn json(call: &Call, caller: &Caller) -> Json {
    let told = |method| {
        let wire::Service { id, name, node, network, address } = service(call, caller);
        let body = json!({ "id": id, "name": name, "node": node, "network": network, "address": address });
        Json { method, query: None, body: Some(body.to_string()) }
    };
    let asked = |query| Json { method: Method::GET, query: Some(query), body: None };
    match call {
        Call::Register { .. } => told(Method::POST),
        Call::Renew { .. } => told(Method::PUT),
        Call::Deregister { .. } => told(Method::DELETE),
        Call::Nodes { tunnel } => asked(format!("name={}", escaped(tunnel))),
        Call::Lead { host, tunnel } => {
            let body = json!({ "service": SERVICE, "host": host, "endpoint": tunnel });
            Json { method: Method::PUT, query: None, body: Some(body.to_string()) }
        }
        Call::Rule { host } => asked(format!("host={}&service={SERVICE}", escaped(host))),
    }
}

/// What a client of ours is told as. gost's own renewals have no network and address; a plugin that registers what it has lost anew
/// needs them.
fn service(call: &Call, caller: &Caller) -> wire::Service {
    let (id, tunnel, datagrams) = match call {
        Call::Register { id, tunnel, datagrams }
        | Call::Renew { id, tunnel, datagrams }
        | Call::Deregister { id, tunnel, datagrams } => (id.as_str(), tunnel.as_str(), *datagrams),
        Call::Nodes { .. } | Call::Lead { .. } | Call::Rule { .. } => ("", "", false),
    };
    wire::Service {
        id: id.to_owned(),
        name: tunnel.to_owned(),
        node: caller.node.clone(),
        network: network(datagrams).to_owned(),
        address: caller.address.clone(),
    }
}

const fn network(datagrams: bool) -> &'static str {
    if datagrams { "udp" } else { "tcp" }
}

/// What a message of gRPC answers.
pub(super) fn answer(call: &Call, message: &[u8]) -> anyhow::Result<Answer> {
    Ok(match call {
        Call::Register { .. } | Call::Renew { .. } | Call::Deregister { .. } | Call::Lead { .. } => {
            Answer::Done(decoded::<wire::Done>(message)?.ok)
        }
        Call::Nodes { .. } => {
            let services = decoded::<wire::Services>(message)?.services;
            nodes(services.into_iter().map(|one| (one.node, one.address, one.network)))
        }
        Call::Rule { host } => Answer::Rule(rule(host, &decoded::<wire::Rule>(message)?.endpoint)),
    })
}

#[derive(Deserialize)]
struct Services {
    #[serde(default)]
    services: Option<Vec<Service>>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    node: String,
    #[serde(default)]
    network: String,
    #[serde(default)]
    address: String,
}

/// What JSON answers.
pub(super) fn answer_of_json(call: &Call, body: &[u8]) -> anyhow::Result<Answer> {
    const BROKEN: &str = "the answer cannot be read";
    Ok(match call {
        Call::Register { .. } | Call::Renew { .. } | Call::Deregister { .. } | Call::Lead { .. } => {
            let said: Value = serde_json::from_slice(body).context(BROKEN)?;
            Answer::Done(said["ok"] == true)
        }
        Call::Nodes { .. } => {
            let said: Services = serde_json::from_slice(body).context(BROKEN)?;
            let services = said.services.unwrap_or_default();
            nodes(services.into_iter().map(|one| (one.node, one.address, one.network)))
        }
        Call::Rule { host } => {
            let said: Value = serde_json::from_slice(body).context(BROKEN)?;
            Answer::Rule(rule(host, said["endpoint"].as_str().unwrap_or_default()))
        }
    })
}

fn nodes(services: impl Iterator<Item = (String, String, String)>) -> Answer {
    let node = |(node, address, network)| Node { node, address, datagrams: network == "udp" };
    Answer::Nodes(
        services.filter(|(_, _, network)| matches!(&**network, "" | "tcp" | "udp")).map(node).collect(),
    )
}

/// An endpoint is a tunnel's UUID, and `$` before it when it is private. What is none leads nowhere.
fn rule(host: &str, endpoint: &str) -> Option<Rule> {
    let (private, id) = match endpoint.strip_prefix('$') {
        Some(id) => (true, id),
        None => (false, endpoint),
    };
    let tunnel = id.parse::<Id>().ok().filter(|id| !id.is_zero())?.to_string();
    let label = host.split('.').next().unwrap_or(host);
    let made = generated(&tunnel, "").strip_suffix('.') == Some(label);
    Some(Rule { tunnel, private, made })
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNNEL: &str = "381433e1-7980-11ee-bbdb-60f262c1e32d";

    fn caller() -> Caller {
        Caller { node: "n".into(), address: ":80".into() }
    }

    #[test]
    fn what_is_told_is_told_in_both_ways() {
        let call = Call::Renew { id: "c".into(), tunnel: "t".into(), datagrams: true };
        let (path, message) = message(&call, &caller());
        assert_eq!(
            (path, &message[..]),
            (path::RENEW, &b"\x0a\x13\x0a\x01c\x12\x01t\x1a\x01n\x22\x03udp\x2a\x03:80"[..])
        );
        let said = json(&call, &caller());
        assert_eq!((said.method, said.query), (Method::PUT, None));
        let body: Value = serde_json::from_str(&said.body.unwrap()).unwrap();
        assert_eq!(body, json!({ "id": "c", "name": "t", "node": "n", "network": "udp", "address": ":80" }));
        let said = json(&Call::Rule { host: "a b&c".into() }, &caller());
        assert_eq!(said.query.unwrap(), "host=a%20b%26c&service=mainstay");
    }

    #[test]
    fn an_endpoint_is_a_uuid_that_may_be_private() {
        let rule = |host: &str, endpoint: &str| super::rule(host, endpoint);
        let open = rule("own.example.com", TUNNEL).unwrap();
        assert_eq!((&*open.tunnel, open.private, open.made), (TUNNEL, false, false));
        assert!(rule("own", &format!("${TUNNEL}")).unwrap().private);
        assert!(rule("b7de88a94729b931.gost.local", TUNNEL).unwrap().made);
        for none in
            ["", "$", "name", "00000000-0000-0000-0000-000000000000", "381433e1-7980-11ee-bbdb-60f262c1e32"]
        {
            assert_eq!(rule("own", none), None, "{none}");
        }
    }

    #[test]
    fn answers_are_read_and_what_cannot_be_is_an_error() {
        let nodes = Call::Nodes { tunnel: "t".into() };
        let said = br#"{"services":[{"node":"a","network":"tcp","address":"h:1"},{"node":"b","network":"serial","address":"h:2"}]}"#;
        let one = Node { node: "a".into(), address: "h:1".into(), datagrams: false };
        assert_eq!(answer_of_json(&nodes, said).unwrap(), Answer::Nodes(vec![one]));
        assert_eq!(answer_of_json(&nodes, br#"{"services":null}"#).unwrap(), Answer::Nodes(Vec::new()));
        assert!(answer_of_json(&nodes, b"<html>").is_err());
        assert!(answer(&nodes, b"\x0a\x05c").is_err());
        assert_eq!(answer(&Call::Rule { host: "h".into() }, b"").unwrap(), Answer::Rule(None));
        let lead = Call::Lead { host: "h".into(), tunnel: "t".into() };
        assert_eq!(answer(&lead, b"").unwrap(), Answer::Done(false));
        assert_eq!(answer_of_json(&lead, br#"{"ok":true}"#).unwrap(), Answer::Done(true));
    }
}
