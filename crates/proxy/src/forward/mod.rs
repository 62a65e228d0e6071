//! A request's way through: decided on, answered or passed to a backend, and accounted for.
//!
//! [`serve`] is the same for every version of HTTP; what differs is behind [`Client`] and [`Backend`].

mod answer;
mod attempt;
mod exchange;
mod flow;
mod once;
mod packed;
mod replay;
mod sides;
mod splice;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::deadline::Watch;
use crate::exchange::{Decision, Exchange};
use crate::route;
use crate::snapshot::Snapshot;
use crate::thread::Thread;

pub use answer::{date, refuse};
pub use sides::{Ask, Backend, Broken, Client, More, ResponseBody, Sink, Source, Trailer};

/// What a request's way needs at every step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) thread: &'a Rc<Thread>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) watch: &'a Watch,
}

impl Way<'_> {
    /// The bounds of the connection's listener.
    fn limits(&self, exchange: &Exchange) -> &mainstay_config::plan::edge::HttpLimits {
        &self.snapshot.edge.listeners[exchange.connection.listener as usize].http
    }
}

/// Serves a request from its head to the last byte of its response. `watch` is the task's own and not in use.
pub async fn serve<C: Client>(
    thread: &Rc<Thread>,
    snapshot: &Arc<Snapshot>,
    watch: &Watch,
    exchange: &mut Exchange,
    client: &mut C,
) {
    let way = Way { thread, snapshot, watch };
    let mut decision = route::decide(snapshot, thread, exchange);
    if !exchange.delay.is_zero() {
        Box::pin(tokio::time::sleep(std::mem::take(&mut exchange.delay))).await;
    }
    loop {
        decision = match decision {
            Decision::Close => {
                exchange.status = 444;
                client.abort();
                break;
            }
            Decision::Respond(response) => {
                pin!(answer::respond(way, exchange, client, response)).await;
                break;
            }
            Decision::Forward => {
                let instead = pin!(exchange::forward(way, exchange, client)).await;
                let Some(instead) = instead else { break };
                instead
            }
        };
    }
    watch.disarm();
    exchange.received = client.received();
    exchange.sent = client.sent();
    exchange.permits.clear();
    thread.counters.done(snapshot, exchange);
    thread.logs.write(snapshot, exchange, &|template, exchange, out| {
        route::render(template, snapshot, exchange, out)
    });
}
