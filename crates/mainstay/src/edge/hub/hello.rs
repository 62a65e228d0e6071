//! Who comes in: what is said before the streams, and what is granted.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::tunnel::hello::{
    Answer, Caller, Cause, Claims, Grant, HEAD, Kind, MESSAGE_MAX, Offer, Refused, TEXT_MAX, Welcome,
};
use mainstay_link::tunnel::hello::{self as said, Asked, Failed};
use mainstay_link::tunnel::keys::PublicKey;
use mainstay_link::tunnel::{Limits, Session, Side};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::{Arrival, Load};
use tokio::io::AsyncWriteExt as _;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::carrier::{Carrier, carrier_of};
use super::seat::{self, Offered, Seat};
use super::visitor::{self, Came, GUESTS_MAX};
use super::{Desk, Spec};

/// Agents and visitors of a thread that have not shown yet who they are: more than this is an attack, or a stampede that comes again.
pub(super) const GREETED_MAX: usize = 1024;

/// The longest sentence of a refusal, in bytes.
const SENTENCE: usize = 200;

/// What a text costs in a message besides its bytes, and an answer to an offer; and what is left unused.
const FIELD: usize = 4;
const GRANT: usize = 16;
const SPARE: usize = 128;

/// What one that is not let in may take to hear so.
const PARTING: Duration = Duration::from_secs(1);

/// Lets an agent in, or not; then keeps its session.
pub(super) async fn greet(desk: Rc<Desk>, arrival: Arrival) {
    let carrier = super::carrier::name(&arrival);
    let Arrival { io, early, way, open, connection, from, .. } = arrival;
    begin(desk, carrier_of(io, early, way), Came { from, ours: connection.local, carrier, open }).await;
}

/// The same, once it is known that it is one of ours.
pub(super) async fn begin(desk: Rc<Desk>, mut carrier: Carrier, came: Came) {
    let from = came.from;
    // The end of TLS over TCP cannot tell what ties a hello to it yet.
    let Some(admitted) = desk.greeted.wait(admit(&desk, &mut carrier, b"")).await else {
        return desk.news.refused(&shown(from), &desk.greeted.full());
    };
    Box::pin(receive(desk, carrier, came, admitted)).await;
}

/// Takes in who has shown who it is, or turns it away.
pub(super) async fn receive(
    desk: Rc<Desk>,
    mut carrier: Carrier,
    came: Came,
    admitted: Result<(Asked, Claims, Vec<Judged>), Failed>,
) {
    let from = came.from;
    let (asked, claims, offers) = match admitted {
        Ok(admitted) => admitted,
        Err(failed) => {
            turn_away(&desk, &mut carrier, &failed, from).await;
            return;
        }
    };
    if asked.hello.caller == Caller::Visitor {
        return visitor::receive(desk, carrier, came, asked.hello, claims.key, offers);
    }
    let kind = came.carrier;
    let (granted, refused): (Vec<_>, Vec<_>) = offers.into_iter().partition(|(_, why)| why.is_none());
    let (session, incoming) = Session::start(carrier, Side::Hub, Limits::default());
    let name = plain(&asked.hello.name);
    let label = desk.label(&name, asked.hello.instance, &claims.key);
    let seat = Rc::new(Seat {
        name,
        label: RefCell::new(label.clone()),
        told_as: label,
        key: claims.key,
        instance: asked.hello.instance,
        from,
        carrier: kind,
        began: boot_now(),
        session,
        offers: granted.into_iter().map(|(offer, _)| Rc::new(offered(&offer))).collect(),
        refused: refused.into_iter().map(|(offer, _)| offer.tunnel).collect(),
        load: Load::default(),
        told: Cell::new(0),
        superseded: Cell::new(false),
        leaving: Cell::new(false),
        gost: None,
    });
    tracing::info!(agent = %seat.label(), from = ?from, carrier = kind, "an agent has joined");
    desk.seat(Rc::clone(&seat));
    spawn_local(async move {
        seat::keep(desk, seat, incoming).await;
        drop(came.open);
    });
}

/// Tells who is not let in, and whoever looks after this hub.
async fn turn_away(desk: &Desk, carrier: &mut Carrier, failed: &Failed, from: Option<SocketAddr>) {
    if let Failed::Refused(refused) = failed {
        tracing::info!(from = ?from, why = %refused.sentence, "somebody is refused");
        desk.news.refused(&shown(from), &refused.sentence);
    } else if let Failed::Unfit(_) = failed {
        tracing::warn!(from = ?from, "somebody can't be let in: {failed}");
        desk.news.refused(&shown(from), &failed.to_string());
    } else {
        tracing::debug!(from = ?from, "an agent did not come in: {failed}");
    }
    if let Some(answer) = failed_answer(failed) {
        let _ = said::refuse(carrier, answer).await;
    }
    // In order, so that it can be read to its end.
    let _ = timeout(PARTING, carrier.shutdown()).await;
}

pub(super) fn shown(from: Option<SocketAddr>) -> String {
    from.map(|from| from.to_string()).unwrap_or_default()
}

/// A name as it stands in addresses of backends.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c == '/' || c.is_whitespace() { '_' } else { c }).collect()
}

/// What goes back to who is not let in.
pub(super) fn failed_answer(failed: &Failed) -> Option<Refused> {
    match failed {
        Failed::Refused(refused) => Some(refused.clone()),
        Failed::Broken(_)
        | Failed::Late
        | Failed::Garbled(_)
        | Failed::Turn
        | Failed::Unfit(_)
        | Failed::Version(_)
        | Failed::Signature(_) => failed.answer(),
    }
}

/// An offer, and why it is not granted.
pub(super) type Judged = (Offer, Option<String>);

/// Has somebody show who it is, over a carrier that what it signs is tied to.
pub(super) async fn admit(
    desk: &Rc<Desk>,
    carrier: &mut Carrier,
    binding: &[u8],
) -> Result<(Asked, Claims, Vec<Judged>), Failed> {
    let refuse = |cause, sentence: String| Err(Failed::Refused(Refused { cause, sentence }));
    let asked = Asked::read(carrier).await?;
    if desk.draining.get() {
        return refuse(Cause::Leaving, "this process of the hub is about to leave: dial again".to_owned());
    }
    match asked.hello.caller {
        Caller::Agent => {}
        Caller::Visitor if desk.guests.borrow().len() >= GUESTS_MAX => {
            return refuse(
                Cause::Full,
                "this thread of the hub has as many visitors as it may have".to_owned(),
            );
        }
        Caller::Visitor => {}
        Caller::Hub => {
            return refuse(Cause::Forbidden, "other hubs come in at `bind` of [hub]".to_owned());
        }
    }
    let caller = asked.hello.caller;
    let challenge = asked.challenge(&desk.hub.name, desk.hub.instance, desk.place)?;
    let claims = asked.prove(carrier, challenge, binding).await?;
    if caller == Caller::Visitor && desk.is_crowded_by(&claims.key) {
        let key = PublicKey(claims.key);
        let why = format!("{key} has as many visitors at this thread of the hub as one key may have");
        return refuse(Cause::Full, why);
    }
    let judged: Vec<Judged> = (0..claims.offers.len())
        .map(|at| {
            let offer = &claims.offers[at];
            let twice = claims.offers[..at].iter().any(|before| before.route() == offer.route());
            let twice = twice.then(|| format!("tunnel {} is named twice", offer.tunnel));
            (offer.clone(), twice.or_else(|| desk.judge(caller, offer, &claims.key)))
        })
        .collect();
    if judged.iter().all(|(_, why)| why.is_some()) {
        let why = judged.into_iter().find_map(|(_, why)| why);
        let why = why.unwrap_or_else(|| "it names no tunnel".to_owned());
        return refuse(Cause::Forbidden, cut(&why, TEXT_MAX).to_owned());
    }
    let (hubs, names) = (desk.peers.urls(desk), desk.peers.names(desk));
    let said: usize = hubs.iter().chain(&names).map(|text| text.len() + FIELD).sum();
    let welcome = Welcome { grants: desk.grants(&judged, said), hubs, names, ..Welcome::default() };
    said::welcome(carrier, welcome).await?;
    Ok((asked, claims, judged))
}

fn offered(offer: &Offer) -> Offered {
    Offered {
        tunnel: offer.tunnel.clone(),
        route: offer.route(),
        udp: offer.kind == Kind::Udp,
        weight: u32::from(offer.weight.max(1)),
        trouble: RefCell::new((!offer.healthy).then(|| "no target of it answers".to_owned())),
        streams: Cell::new(0),
        opened: Cell::new(0),
        forwarded: Cell::new(0),
        tally: Rc::default(),
        aside: Cell::new(false),
    }
}

impl Desk {
    /// Why an offer, or a visitor's wish, is not granted; nothing when it is.
    fn judge(&self, caller: Caller, offer: &Offer, key: &[u8; 32]) -> Option<String> {
        if caller == Caller::Visitor {
            let no = || format!("{} may not reach tunnel {}", PublicKey(*key), offer.tunnel);
            return (!self.may_visit(&offer.tunnel, key)).then(no);
        }
        let tunnels = self.tunnels.borrow();
        // Whether a tunnel exists is told to those alone who may offer it.
        let Some(spec) = tunnels.get(&offer.tunnel).filter(|spec| spec.agents.contains(key)) else {
            return Some(format!("{} may not offer tunnel {}", PublicKey(*key), offer.tunnel));
        };
        let host = offer.host.as_ref().filter(|host| !spec.has(host))?;
        Some(format!("{host} is not one of the hosts of tunnel {} on this hub", offer.tunnel))
    }

    /// The answers to offers, in what a welcome has room for beside so many bytes: URLs are for people, and left out first.
    fn grants(&self, judged: &[Judged], beside: usize) -> Vec<Grant> {
        let tunnels = self.tunnels.borrow();
        let room = MESSAGE_MAX.saturating_sub(HEAD + beside + judged.len() * GRANT + SPARE);
        // Refusals first: without one nobody knows what to do.
        let refusals = judged.iter().filter(|(_, why)| why.is_some()).count();
        let each = (room / refusals.max(1)).min(SENTENCE);
        let mut left = room.saturating_sub(refusals * each);
        let mut fits = |url: &&String| {
            let fits = url.len() <= TEXT_MAX && url.len() + FIELD <= left;
            left -= if fits { url.len() + FIELD } else { 0 };
            fits
        };
        let mut answer = |(offer, why): &Judged| {
            let answer = match why {
                Some(why) => Answer::Refused(cut(why, each).to_owned()),
                None => {
                    let urls = tunnels.get(&offer.tunnel).map(|spec| spec.urls.iter().filter(&mut fits));
                    Answer::Served(urls.map(|urls| urls.cloned().collect()).unwrap_or_default())
                }
            };
            Grant { index: offer.index, answer }
        };
        judged.iter().map(&mut answer).collect()
    }
}

/// A text of so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

impl Spec {
    /// Whether the tunnel is served under this host.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.hosts.iter().map(|own| own.to_ascii_lowercase()).any(|own| match own.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => own == host,
        })
    }
}
