//! What gost and its sd and ingress plugins say to each other: proto3, package `proto`, one unary call each.
//!
//! Names and numbers are those of go-gost/plugin (sd/proto/sd.proto, ingress/proto/ingress.proto at 146c8ff); the messages are
//! derived, so that no protoc takes part in a build. The token, if there is one, is the metadata [`TOKEN`].

use prost::Message;

/// The path of each call.
pub mod path {
    /// [`ServiceRequest`](super::ServiceRequest) to [`Done`](super::Done).
    pub const REGISTER: &str = "/proto.SD/Register";
    /// [`ServiceRequest`](super::ServiceRequest) to [`Done`](super::Done).
    pub const RENEW: &str = "/proto.SD/Renew";
    /// [`ServiceRequest`](super::ServiceRequest) to [`Done`](super::Done).
    pub const DEREGISTER: &str = "/proto.SD/Deregister";
    /// [`GetRequest`](super::GetRequest) to [`Services`](super::Services).
    pub const GET: &str = "/proto.SD/Get";
    /// [`GetRuleRequest`](super::GetRuleRequest) to [`Rule`](super::Rule).
    pub const GET_RULE: &str = "/proto.Ingress/GetRule";
    /// [`SetRuleRequest`](super::SetRuleRequest) to [`Done`](super::Done).
    pub const SET_RULE: &str = "/proto.Ingress/SetRule";
}

/// The metadata that a token comes in; over HTTP it is `Authorization: Bearer`.
pub const TOKEN: &str = "token";

/// A client of a tunnel at a node: `proto.Service`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Service {
    /// The connector: a UUID that the server gave this client.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The tunnel: its UUID, `$` before it when it is private.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The node: a random UUID of each start of a server.
    #[prost(string, tag = "3")]
    pub node: String,
    /// `tcp` or `udp`.
    #[prost(string, tag = "4")]
    pub network: String,
    /// The node's entrypoint; without a host it is where the call comes from.
    #[prost(string, tag = "5")]
    pub address: String,
}

/// `RegisterRequest`, `RenewRequest` (which has id, name and node alone) and `DeregisterRequest` of `proto.SD`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ServiceRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub service: Option<Service>,
}

/// Whether it was done: every reply that is no answer to a question.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Done {
    /// Whether.
    #[prost(bool, tag = "1")]
    pub ok: bool,
}

/// `GetServiceRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct GetRequest {
    /// The tunnel.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `GetServiceReply`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Services {
    /// Its clients at all nodes.
    #[prost(message, repeated, tag = "1")]
    pub services: Vec<Service>,
}

/// `GetRuleRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct GetRuleRequest {
    /// What a visitor asked for, a port perhaps behind it.
    #[prost(string, tag = "1")]
    pub host: String,
    /// The service of gost that asks.
    #[prost(string, tag = "2")]
    pub service: String,
}

/// `GetRuleReply`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Rule {
    /// The tunnel, `$` before it when it is private; empty when no rule is known.
    #[prost(string, tag = "1")]
    pub endpoint: String,
}

/// `SetRuleRequest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct SetRuleRequest {
    /// A generated host's first label, or a host.
    #[prost(string, tag = "1")]
    pub host: String,
    /// The tunnel, as in [`Rule`].
    #[prost(string, tag = "2")]
    pub endpoint: String,
    /// The service of gost that asks.
    #[prost(string, tag = "3")]
    pub service: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_protobuf() {
        let service = Service {
            id: "c".into(),
            name: "t".into(),
            node: "n".into(),
            network: "tcp".into(),
            address: ":80".into(),
        };
        let request = ServiceRequest { service: Some(service.clone()) };
        assert_eq!(request.encode_to_vec(), b"\x0a\x13\x0a\x01c\x12\x01t\x1a\x01n\x22\x03tcp\x2a\x03:80");
        assert_eq!(
            Services { services: vec![service] }.encode_to_vec(),
            request.encode_to_vec(),
            "field 1 holds a service in either"
        );
        assert_eq!(Done { ok: true }.encode_to_vec(), b"\x08\x01");
        assert!(Done { ok: false }.encode_to_vec().is_empty(), "what has its default is absent");
        let rule = SetRuleRequest { host: "h".into(), endpoint: "e".into(), service: "s".into() };
        assert_eq!(rule.encode_to_vec(), b"\x0a\x01h\x12\x01e\x1a\x01s");
        assert!(Service::decode(&b"\x0a\x05c"[..]).is_err());
    }
}
