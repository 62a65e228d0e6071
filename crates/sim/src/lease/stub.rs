//! Stub.
use mainstay_core::lease::*;
use mainstay_core::name::*;
use mainstay_core::time::Boot;
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub me: NodeId,
    pub list: VoterList,
    pub terms: Terms,
    pub salt: u64,
    pub instance: u64,
    pub heir_of: Option<u64>,
    pub epoch_floor: u64,
    pub remembers: bool,
}
pub(crate) struct Leases {
    s: Setup,
}
impl Leases {
    pub(crate) fn new(s: Setup, _rights: Vec<String>, _now: Boot) -> Self {
        Self { s }
    }
    pub(crate) fn handle(&mut self, _i: Input<'_>, _now: Boot) {}
    pub(crate) fn poll_timeout(&mut self) -> Option<Boot> {
        None
    }
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        None
    }
    pub(crate) fn letter(&self, messages: Vec<Message>) -> Letter {
        Letter {
            instance: self.s.instance,
            heir_of: self.s.heir_of,
            mark: self.s.list.mark(self.s.salt),
            messages,
        }
    }
}
