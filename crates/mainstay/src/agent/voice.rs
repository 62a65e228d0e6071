//! How an agent tells what goes on: the log of a foreground run, the node's events otherwise.

use tokio::sync::mpsc::UnboundedSender;

/// Where it is told.
pub(super) enum Voice {
    /// Lines of the log.
    Log,
    /// Events: the agent's name and a sentence.
    Node(UnboundedSender<(String, String)>),
}

impl Voice {
    /// Something that is as it should be.
    pub(super) fn inform(&self, agent: &str, message: String) {
        match self {
            Self::Log => tracing::info!("{message}"),
            Self::Node(_) => self.tell(agent, message),
        }
    }

    /// Something that somebody should look at.
    pub(super) fn warn(&self, agent: &str, message: String) {
        match self {
            Self::Log => tracing::warn!("{message}"),
            Self::Node(_) => self.tell(agent, message),
        }
    }

    fn tell(&self, agent: &str, message: String) {
        if let Self::Node(events) = self {
            // The role is ending when nobody takes them.
            let _ = events.send((agent.to_owned(), message));
        }
    }
}
