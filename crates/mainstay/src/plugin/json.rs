//! The same calls as JSON over HTTP, at any path. sd: POST, PUT and DELETE register, renew and deregister what the body holds, GET
//! `?name=` lists. ingress: PUT sets the rule that the body holds, GET `?host=` looks one up.

use std::net::IpAddr;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as HttpBody, Bytes};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use mainstay_core::gost::plugin::{self as core, Ask, Reply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tonic::body::Body;

use super::Kind;
use super::call::{MESSAGE_MAX, whole};
use super::desk::{Desk, count};

/// A client of a tunnel.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Service {
    id: String,
    name: String,
    node: String,
    network: String,
    address: String,
}

/// A rule.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Rule {
    host: String,
    endpoint: String,
}

/// Answers a request.
pub(super) async fn answer<B>(desk: &Desk, from: IpAddr, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let asked = match (desk.kind, &head.method) {
        (Kind::Sd, &Method::GET) => Ok(Ask::Get(value(query, "name"))),
        (Kind::Ingress, &Method::GET) => Ok(Ask::GetRule(value(query, "host"))),
        (Kind::Sd, &Method::POST) => {
            read(body).await.map(|service| Ask::Register { service: kept(service), from })
        }
        (Kind::Sd, &Method::PUT) => read(body).await.map(|service| Ask::Renew(kept(service))),
        (Kind::Sd, &Method::DELETE) => read(body).await.map(|service| Ask::Deregister(kept(service))),
        (Kind::Ingress, &Method::PUT) => {
            read(body).await.map(|Rule { host, endpoint }| Ask::SetRule { host, endpoint })
        }
        (kind, _) => {
            let methods = match kind {
                Kind::Sd => "GET, POST, PUT, DELETE",
                Kind::Ingress => "GET, PUT",
            };
            let mut response = says(StatusCode::METHOD_NOT_ALLOWED, "this plugin has no such call");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
            return response;
        }
    };
    let reply = match asked {
        Ok(ask) => desk.ask(ask).await,
        Err(why) => Reply::Invalid(why),
    };
    let body = match reply {
        Reply::Done(ok) => json!({ "ok": ok }),
        Reply::Services(services) => {
            json!({ "services": services.into_iter().map(told).collect::<Vec<_>>() })
        }
        Reply::Endpoint(endpoint) => json!({ "endpoint": endpoint }),
        Reply::Invalid(why) => {
            count(&desk.counts.malformed);
            return says(StatusCode::BAD_REQUEST, why);
        }
        Reply::Full => return says(StatusCode::INSUFFICIENT_STORAGE, "there is no room for more"),
    };
    whole(StatusCode::OK, body.to_string().into_bytes())
}

/// A response that says why not.
pub(super) fn says(code: StatusCode, why: &str) -> Response<Body> {
    whole(code, json!({ "error": why }).to_string().into_bytes())
}

async fn read<B, T>(body: B) -> Result<T, &'static str>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T: DeserializeOwned,
{
    let body = Limited::new(body, MESSAGE_MAX).collect().await;
    let body = body.map_err(|_| "the body breaks off or is longer than 16 KiB")?.to_bytes();
    serde_json::from_slice(&body).map_err(|_| "the body is not the JSON of this call")
}

fn kept(service: Service) -> core::Service {
    let Service { id, name, node, network, address } = service;
    core::Service { id, name, node, network, address }
}

fn told(service: core::Service) -> Service {
    let core::Service { id, name, node, network, address } = service;
    Service { id, name, node, network, address }
}

/// What a query has under a name, decoded.
fn value(query: &str, name: &str) -> String {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let coded = after.get(..2).filter(|_| byte == b'%').and_then(code);
        bytes.push(coded.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if coded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        assert_eq!(value("service=a&host=b7.gost.local%3A80", "host"), "b7.gost.local:80");
        assert_eq!(value("host=a+b%zz%4", "host"), "a b%zz%4");
        assert_eq!(value("hosts=a", "host"), "");
        assert_eq!(value("host=%ff", "host"), "\u{fffd}");
    }
}
