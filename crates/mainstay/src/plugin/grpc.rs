//! gRPC: the calls of `proto.SD` and `proto.Ingress`.

use std::cell::Cell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use hyper::body::{Body as HttpBody, Bytes};
use hyper::{Request, Response};
use mainstay_core::gost::plugin::{self as core, Ask, Reply};
use prost::Message;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::Kind;
use super::call::MESSAGE_MAX;
use super::desk::{Desk, count};
use super::wire::{
    Done, GetRequest, GetRuleRequest, Rule, Service, ServiceRequest, Services, SetRuleRequest, path,
};

/// Answers a call.
pub(super) async fn answer<B>(desk: &Desk, from: IpAddr, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let service = |request: ServiceRequest| kept(request.service.unwrap_or_default());
    match (desk.kind, request.uri().path()) {
        (Kind::Sd, path::REGISTER) => {
            let ask = move |request| Ask::Register { service: service(request), from };
            unary(desk, request, ask, done).await
        }
        (Kind::Sd, path::RENEW) => unary(desk, request, |request| Ask::Renew(service(request)), done).await,
        (Kind::Sd, path::DEREGISTER) => {
            unary(desk, request, |request| Ask::Deregister(service(request)), done).await
        }
        (Kind::Sd, path::GET) => {
            unary(desk, request, |request: GetRequest| Ask::Get(request.name), services).await
        }
        (Kind::Ingress, path::GET_RULE) => {
            unary(desk, request, |request: GetRuleRequest| Ask::GetRule(request.host), rule).await
        }
        (Kind::Ingress, path::SET_RULE) => {
            let ask = |SetRuleRequest { host, endpoint, .. }| Ask::SetRule { host, endpoint };
            unary(desk, request, ask, done).await
        }
        (kind, _) => {
            Status::unimplemented(format!("this is the {} plugin, which has no such call", kind.name()))
                .into_http()
        }
    }
}

/// One call, from its message to the answer's.
struct Call<'a, A, R> {
    desk: &'a Desk,
    /// The message could be read.
    read: &'a Cell<bool>,
    ask: A,
    reply: fn(Reply) -> Result<R, Status>,
}

impl<'a, M, A, R> UnaryService<M> for Call<'a, A, R>
where
    A: Fn(M) -> Ask,
    R: 'a,
{
    type Response = R;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<R>, Status>> + 'a>>;

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        self.read.set(true);
        let (desk, reply, ask) = (self.desk, self.reply, (self.ask)(request.into_inner()));
        Box::pin(async move { reply(desk.ask(ask).await).map(tonic::Response::new) })
    }
}

async fn unary<B, M, A, R>(
    desk: &Desk,
    request: Request<B>,
    ask: A,
    reply: fn(Reply) -> Result<R, Status>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    M: Message + Default + 'static,
    A: Fn(M) -> Ask,
    R: Message + Sync + 'static,
{
    let read = Cell::new(false);
    let call = Call { desk, read: &read, ask, reply };
    let grpc = Grpc::new(ProstCodec::<R, M>::default());
    let response = grpc.max_decoding_message_size(MESSAGE_MAX).unary(call, request).await;
    let code = response.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    if !read.get() || code == Some(Code::InvalidArgument) {
        count(&desk.counts.malformed);
    }
    response
}

/// A service as it is kept.
pub(super) fn kept(service: Service) -> core::Service {
    let Service { id, name, node, network, address } = service;
    core::Service { id, name, node, network, address }
}

/// A service as it is told.
pub(super) fn told(service: core::Service) -> Service {
    let core::Service { id, name, node, network, address } = service;
    Service { id, name, node, network, address }
}

fn done(reply: Reply) -> Result<Done, Status> {
    match reply {
        Reply::Done(ok) => Ok(Done { ok }),
        other => Err(otherwise(other)),
    }
}

fn services(reply: Reply) -> Result<Services, Status> {
    match reply {
        Reply::Services(services) => Ok(Services { services: services.into_iter().map(told).collect() }),
        other => Err(otherwise(other)),
    }
}

fn rule(reply: Reply) -> Result<Rule, Status> {
    match reply {
        Reply::Endpoint(endpoint) => Ok(Rule { endpoint }),
        other => Err(otherwise(other)),
    }
}

fn otherwise(reply: Reply) -> Status {
    match reply {
        Reply::Invalid(why) => Status::invalid_argument(why),
        Reply::Full => Status::resource_exhausted("there is no room for more"),
        Reply::Done(_) | Reply::Services(_) | Reply::Endpoint(_) => Status::internal("another call's answer"),
    }
}
