//! One HTTP request: who may call, and whether it is gRPC or JSON.

use std::net::IpAddr;

use http_body_util::Full;
use hyper::body::{Body as HttpBody, Bytes};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;

use super::desk::{Desk, count};
use super::{grpc, json, wire};

/// The longest message that is read, of a call or of JSON.
pub(super) const MESSAGE_MAX: usize = 16 << 10;

/// Answers a request.
pub async fn answer<B>(desk: &Desk, from: IpAddr, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    count(&desk.counts.calls);
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
    if !lets_in(desk.token.as_deref(), request.headers()) {
        count(&desk.counts.refused);
        return if is_grpc {
            Status::unauthenticated("the token is missing or wrong").into_http()
        } else {
            json::says(StatusCode::UNAUTHORIZED, "the token is missing or wrong")
        };
    }
    if is_grpc { grpc::answer(desk, from, request).await } else { json::answer(desk, from, request).await }
}

/// Whether a caller shows the token, in the metadata or as a bearer.
fn lets_in(token: Option<&str>, fields: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let bearer = |value: &HeaderValue| {
        let (scheme, shown) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| shown.trim_ascii_start().to_vec())
    };
    let shown = fields.get(wire::TOKEN).map(|value| value.as_bytes().to_vec());
    let shown = shown.or_else(|| fields.get(AUTHORIZATION).and_then(bearer)).unwrap_or_default();
    is_same(token.as_bytes(), &shown)
}

/// Whether two are the same, in a time that tells nothing but their lengths.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// A response with a body that is whole.
pub(super) fn whole(code: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body))));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_metadata_or_as_a_bearer() {
        let fields = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
        };
        assert!(lets_in(None, &HeaderMap::new()));
        assert!(lets_in(Some("secret"), &fields("token", "secret")));
        assert!(lets_in(Some("secret"), &fields("authorization", "Bearer secret")));
        assert!(lets_in(Some("secret"), &fields("authorization", "bearer  secret")));
        for wrong in ["", "secre", "secret1", "Secret"] {
            assert!(!lets_in(Some("secret"), &fields("token", wrong)), "{wrong}");
        }
        assert!(!lets_in(Some("secret"), &fields("authorization", "Basic secret")));
        assert!(!lets_in(Some("secret"), &HeaderMap::new()));
    }
}
