//! GET /metrics, /healthz, /readyz and /v1/status over HTTP/1.1.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::{Desk, metrics};
use crate::ipc::{ApiCall, ApiReply};
use crate::status::Status;

/// Connections at a time: scrapers are few.
const CONNECTIONS: usize = 256;

/// How long a client may take for its request's head.
const HEAD_MAX: Duration = Duration::from_secs(5);

/// How long a connection may live in all.
const CONNECTION_MAX: Duration = Duration::from_secs(120);

/// Accepts for as long as the worker lives.
pub(super) async fn serve(desk: Rc<Desk>, listener: TcpListener) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < CONNECTIONS => {
                open.set(open.get() + 1);
                desk.open.set(desk.open.get() + 1);
                let (desk, open) = (Rc::clone(&desk), Rc::clone(&open));
                tokio::task::spawn_local(async move {
                    connection(Rc::clone(&desk), stream).await;
                    open.set(open.get() - 1);
                    desk.open.set(desk.open.get() - 1);
                });
            }
            Ok(_) => tracing::warn!("more than {CONNECTIONS} connections for metrics: one was refused"),
            Err(error) => {
                tracing::warn!(%error, "accept on the metrics listener");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(desk: Rc<Desk>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let desk = Rc::clone(&desk);
        async move { Ok::<_, Infallible>(answer(&desk, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_MAX, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "metrics connection"),
    }
}

async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n".into());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path();
    if path == "/healthz" {
        return text(StatusCode::OK, "alive\n".into());
    }
    if !matches!(path, "/metrics" | "/readyz" | "/v1/status") {
        return text(StatusCode::NOT_FOUND, "here are /metrics, /healthz, /readyz and /v1/status\n".into());
    }
    let reply = desk.ask(ApiCall::Status).await;
    let status = match &*reply {
        ApiReply::Status(status) => &**status,
        ApiReply::Refused { message } => {
            return text(StatusCode::SERVICE_UNAVAILABLE, format!("{message}\n"));
        }
        ApiReply::Events { .. } | ApiReply::Route(_) | ApiReply::Done { .. } => {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the supervisor answered something else\n".into(),
            );
        }
    };
    match path {
        "/metrics" => {
            typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::render(status))
        }
        "/v1/status" => {
            let json = serde_json::to_string(status).unwrap_or_default();
            typed(StatusCode::OK, "application/json", json)
        }
        _ => readiness(status, request.uri().query() == Some("here")),
    }
}

/// Whether all is well, or with `?here` whether this node serves: whoever takes a node out by the answer must not do so
/// because another one, or a client behind it, is away.
fn readiness(status: &Status, here: bool) -> Response<Full<Bytes>> {
    let wrong: Vec<String> = if here { status.absent().collect() } else { status.degraded.clone() };
    if wrong.is_empty() {
        return text(StatusCode::OK, "ready\n".into());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, wrong.join("\n") + "\n")
}

fn text(code: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(code, "text/plain; charset=utf-8", body)
}

fn typed(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
