//! Hubs that dial us.

use std::rc::Rc;

use mainstay_core::tunnel::hello::{Caller, Cause, Refused, Welcome};
use mainstay_link::tunnel::hello::{self as said, Asked, Failed};
use mainstay_link::tunnel::hubs::{HubKeys, Sealed};
use mainstay_link::tunnel::{Incoming, Limits, Session, Side};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::{Ahead, Arrival};
use tokio::task::spawn_local;

use super::forward::Whence;
use super::{Guest, forward, push};
use crate::edge::hub::Desk;
use crate::edge::hub::hello::failed_answer;

/// Hubs of a thread that have not shown yet who they are.
pub(super) const GREETED_MAX: usize = 256;

/// Sessions of other hubs with one thread: each thread of each of them has one.
const GUESTS_MAX: usize = 4096;

/// Lets a hub in, or not; then keeps its session.
pub(in crate::edge::hub) async fn greet(desk: Rc<Desk>, arrival: Arrival) {
    let peers = &desk.peers;
    let Arrival { io, early, from, open, .. } = arrival;
    let Some(keys) = peers.keys.borrow().clone() else { return };
    let coming = async {
        match keys.accept(Ahead::new(early, io)).await {
            Ok(_) if peers.guests.borrow().len() >= GUESTS_MAX => {
                Err(format!("{GUESTS_MAX} sessions of hubs are as many as a thread may have"))
            }
            Ok(sealed) => admit(&desk, &keys, sealed).await,
            Err(stranger) => Err(stranger.to_string()),
        }
    };
    let admitted = peers.greeted.wait(coming).await.unwrap_or_else(|| Err(peers.greeted.full()));
    let (asked, session, incoming) = match admitted {
        Ok(admitted) => admitted,
        Err(why) => {
            let from = from.map(|from| from.to_string()).unwrap_or_default();
            tracing::debug!(from, why, "a hub is not let in");
            return desk.news.stranger(&from, &why);
        }
    };
    let guest =
        Rc::new(Guest { hub: asked.hello.name, from, session, began: boot_now(), count: Rc::default() });
    tracing::debug!(hub = guest.hub, from = ?from, "a hub has come in");
    peers.guests.borrow_mut().push(Rc::clone(&guest));
    let pushes = spawn_local(push::run(Rc::clone(&desk), guest.session.clone(), push::To::Hub));
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
    let twin = (hello.name == desk.hub.name && hello.instance != desk.hub.instance)
        .then(|| format!("it is called {} as this one is: give one of them another [node] id", hello.name));
    let proven = async {
        let challenge = asked.challenge(&desk.hub.name, desk.hub.instance, desk.place)?;
        let claims = asked.prove(&mut carrier, challenge, &binding).await?;
        if !keys.knows(&claims.key) {
            let sentence = "it has not the same key of hubs as this one".to_owned();
            return Err(Failed::Refused(Refused { cause: Cause::Key, sentence }));
        }
        match twin.clone() {
            Some(sentence) => Err(Failed::Refused(Refused { cause: Cause::Forbidden, sentence })),
            None => Ok(()),
        }
    };
    if let Err(failed) = proven.await {
        // One that has found out that it has a session here, or that we are itself, has gone: that is no news. A twin is.
        if let Failed::Broken(_) = &failed {
            return Err(twin.unwrap_or_default());
        }
        if let Some(answer) = failed_answer(&failed) {
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
                forward::serve(desk, &guest.count, Whence::Hub, (open, stream));
            }
        }
    }
}
