//! Hubs that dial us.

use std::rc::Rc;

use mainstay_core::tunnel::hello::{Caller, Cause, Refused, Welcome};
use mainstay_link::tunnel::hello::{self as said, Asked, Failed};
use mainstay_link::tunnel::hubs::{HubKeys, Sealed};
use mainstay_link::tunnel::{Incoming, Limits, Session, Side};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::{Ahead, Arrival};
use tokio::task::spawn_local;

use super::{Count, Guest, forward, push};
use crate::edge::hub::Desk;

/// Hubs of a thread that have not shown yet who they are.
const GREETED_MAX: usize = 256;

/// Sessions of other hubs with one thread: each thread of each of them has one.
const GUESTS_MAX: usize = 4096;

/// Lets a hub in, or not; then keeps its session.
pub(in crate::edge::hub) async fn greet(desk: Rc<Desk>, arrival: Arrival) {
    let peers = &desk.peers;
    let Arrival { io, early, from, open, .. } = arrival;
    let Some(keys) = peers.keys.borrow().clone() else { return };
    if peers.greeted.get() >= GREETED_MAX || peers.guests.borrow().len() >= GUESTS_MAX {
        return;
    }
    peers.greeted.set(peers.greeted.get() + 1);
    let sealed = keys.accept(Ahead::new(early, io)).await;
    let admitted = match sealed {
        Ok(sealed) => admit(&desk, &keys, sealed).await,
        Err(stranger) => Err(stranger.to_string()),
    };
    peers.greeted.set(peers.greeted.get() - 1);
    let (asked, session, incoming) = match admitted {
        Ok(admitted) => admitted,
        Err(why) => {
            let from = from.map(|from| from.to_string()).unwrap_or_default();
            tracing::info!(from, why, "a hub is not let in");
            return desk.news.stranger(&from, &why);
        }
    };
    let guest =
        Rc::new(Guest { hub: asked.hello.name, from, session, began: boot_now(), count: Count::default() });
    tracing::debug!(hub = guest.hub, from = ?from, "a hub has come in");
    peers.guests.borrow_mut().push(Rc::clone(&guest));
    let pushes = spawn_local(push::run(Rc::clone(&desk), Rc::clone(&guest)));
    let why = keep(&desk, &guest, incoming).await;
    pushes.abort();
    tracing::debug!(hub = guest.hub, from = ?from, why, "a hub that came in has gone");
    peers.guests.borrow_mut().retain(|one| !Rc::ptr_eq(one, &guest));
    drop(open);
}

async fn admit(desk: &Desk, keys: &HubKeys, sealed: Sealed) -> Result<(Asked, Session, Incoming), String> {
    let Sealed { mut carrier, binding, shown } = sealed;
    let asked = Asked::read(&mut carrier).await.map_err(|failed| failed.to_string())?;
    let hello = &asked.hello;
    let wrong = match hello.caller {
        Caller::Hub if !shown.is(&hello.name) => {
            Some((Cause::Forbidden, format!("your certificate is not that of {}", hello.name)))
        }
        Caller::Hub if hello.name == desk.hub.name && hello.instance != desk.hub.instance => Some((
            Cause::Forbidden,
            format!("this hub is called {} too: give one of them another [node] id", hello.name),
        )),
        Caller::Hub if desk.draining.get() => {
            Some((Cause::Leaving, "this process of the hub is about to leave: dial again".to_owned()))
        }
        Caller::Hub => None,
        Caller::Agent | Caller::Visitor => {
            Some((Cause::Forbidden, "only other hubs come in here".to_owned()))
        }
    };
    if let Some((cause, sentence)) = wrong {
        let _ = said::refuse(&mut carrier, Refused { cause, sentence: sentence.clone() }).await;
        return Err(sentence);
    }
    let proven = async {
        let challenge = asked.challenge(&desk.hub.name, desk.hub.instance, desk.place)?;
        let claims = asked.prove(&mut carrier, challenge, &binding).await?;
        if !keys.knows(&claims.key) {
            let sentence = "it has not the same key of hubs as this one".to_owned();
            return Err(Failed::Refused(Refused { cause: Cause::Key, sentence }));
        }
        Ok(())
    };
    if let Err(failed) = proven.await {
        // One that has found out that it has a session here, or that we are itself, has gone: that is no news.
        if let Failed::Broken(_) = &failed {
            return Err(String::new());
        }
        let answer = match &failed {
            Failed::Refused(refused) => Some(refused.clone()),
            _ => failed.answer(),
        };
        if let Some(answer) = answer {
            let _ = said::refuse(&mut carrier, answer).await;
        }
        return Err(failed.to_string());
    }
    said::welcome(&mut carrier, Welcome::default()).await.map_err(|failed| failed.to_string())?;
    let (session, incoming) = Session::start(carrier, Side::Hub, Limits::default());
    Ok((asked, session, incoming))
}

/// Serves what a hub sends here until its session ends; how it did.
async fn keep(desk: &Rc<Desk>, guest: &Rc<Guest>, mut incoming: Incoming) -> String {
    loop {
        tokio::select! {
            why = guest.session.closed() => return why.to_string(),
            Some((open, stream)) = incoming.next() => {
                forward::serve(desk, guest, open, stream);
            }
        }
    }
}
