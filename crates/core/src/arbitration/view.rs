//! What status may know of arbitration.

use crate::arbitration::arbiter::Arbiter;
use crate::election::Ruling;
use crate::name::VipId;
use crate::time::Boot;

/// Arbitration as it stands.
#[derive(Clone, Debug)]
pub struct View {
    /// The lock, if there is one.
    pub lock: Option<LockView>,
    /// Since when neither a peer nor a reference is heard.
    pub isolated: Option<Boot>,
    /// When something is done about that.
    pub act_at: Option<Boot>,
}

/// The lock.
#[derive(Clone, Debug)]
pub struct LockView {
    /// How it stands.
    pub state: LockState,
    /// Why it can't be read or written, when it can't.
    pub trouble: Option<String>,
    /// The other node whose record stands there, and since when it has not been renewed.
    pub other: Option<(String, Boot)>,
}

/// How the lock stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Every peer is heard, or this node wants nothing: nobody needs it.
    Idle,
    /// This node wants it.
    Wanted,
    /// This node has it.
    Owned,
}

impl Arbiter {
    /// The whole.
    #[must_use]
    pub fn view(&self, now: Boot) -> View {
        let lock = self.lock.as_ref().map(|lock| LockView {
            state: match (lock.is_owned(now), lock.is_wanted()) {
                (true, _) => LockState::Owned,
                (false, true) => LockState::Wanted,
                (false, false) => LockState::Idle,
            },
            trouble: lock.trouble.clone(),
            other: lock.other().map(|(node, since)| (node.to_owned(), since)),
        });
        let since = self.isolation.since;
        View { lock, isolated: since, act_at: since.zip(self.isolation.after).map(|(at, after)| at + after) }
    }

    /// Whether a vip's reference answers, and since when that is so; none when it has no reference.
    #[must_use]
    pub fn reference(&self, vip: VipId) -> Option<(Option<bool>, Boot)> {
        let at = self.vips.get(vip.index())?.aids.reference?;
        self.references.get(at).map(|known| (known.up, known.since))
    }

    /// What is ruled of a vip.
    #[must_use]
    pub fn ruling(&self, vip: VipId) -> Ruling {
        self.vips.get(vip.index()).map_or(Ruling::Free, |one| one.ruling)
    }
}
