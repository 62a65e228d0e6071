//! How an agent tells what goes on: the log of a foreground run, the node's events otherwise.

use tokio::sync::mpsc::UnboundedSender;

/// Where it is told.
pub(super) enum Voice {
    /// Lines of the log.
    Log,
    /// Events of the node, of this kind.
    Node(&'static str, UnboundedSender<Said>),
}

/// What an agent says.
pub(super) struct Said {
    /// What it is: an agent or a visit.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) agent: String,
    /// A sentence.
    pub(super) message: String,
    /// Somebody should look at it.
    pub(super) trouble: bool,
}

impl Voice {
    /// Something that is as it should be.
    pub(super) fn inform(&self, agent: &str, message: String) {
        match self {
            Self::Log => tracing::info!("{message}"),
            Self::Node(..) => self.tell(agent, message, false),
        }
    }

    /// Something that somebody should look at.
    pub(super) fn warn(&self, agent: &str, message: String) {
        match self {
            Self::Log => tracing::warn!("{message}"),
            Self::Node(..) => self.tell(agent, message, true),
        }
    }

    fn tell(&self, agent: &str, message: String, trouble: bool) {
        if let Self::Node(kind, events) = self {
            // The role is ending when nobody takes them.
            let _ = events.send(Said { kind, agent: agent.to_owned(), message, trouble });
        }
    }
}
