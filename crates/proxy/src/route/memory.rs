//! What is remembered of a request between the steps of its way.

use std::cell::RefCell;
use std::rc::Rc;

/// What `route` remembers of a request; begins empty.
#[derive(Debug, Default)]
pub struct Memory {
    /// The client's address was taken from a list that trusted proxies wrote, so their other fields are believed too.
    pub(super) believed: bool,
    /// There is a rule about who is believed.
    pub(super) asked: bool,
    /// The route's own way of finding the client was used.
    pub(super) client_by_route: bool,
    /// The path still begins with what the route was found by (nginx's `valid_location`).
    pub(super) located: bool,
    /// Status that the client sees instead of the response's own.
    pub(super) shown: Option<u16>,
    /// The authority that `forward.to` named.
    pub(super) to: Option<Box<str>>,
    /// Fields that go with the response, whoever makes it: WWW-Authenticate, what X-Accel-Redirect takes along.
    pub(super) carried: Vec<(Box<str>, Vec<u8>)>,
    /// Values that were computed or noted.
    pub(super) noted: RefCell<Noted>,
}

impl Memory {
    /// Begins anew.
    pub(crate) fn forget(&mut self) {
        let Self { believed, asked, client_by_route, located, shown, to, carried, noted } = self;
        (*believed, *asked, *client_by_route, *located, *shown) = (false, false, false, false, None);
        *to = None;
        carried.clear();
        let Noted { maps, named, sent, backend } = noted.get_mut();
        maps.clear();
        named.clear();
        sent.clear();
        backend.clear();
    }
}

/// Values that were computed or noted.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// Maps by number.
    pub(super) maps: Vec<(usize, Rc<[u8]>)>,
    /// Named groups of the expressions by which maps chose.
    pub(super) named: Vec<(Box<str>, Box<str>)>,
    /// Fields of the response as the client got it, of those that are asked for somewhere.
    pub(super) sent: Vec<(Box<str>, Vec<u8>)>,
    /// Fields of the backend's response.
    pub(super) backend: Vec<(Box<str>, Vec<u8>)>,
}
