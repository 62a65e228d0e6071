//! What a node sees that looks through a vip at whoever holds it.

use serde::{Deserialize, Serialize};

/// One probe with `through`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThroughStatus {
    /// The probe.
    pub probe: String,
    /// The vip.
    pub vip: String,
    /// Who else holds it; absent while this node does, or nobody is known to.
    pub holder: Option<String>,
    /// What is wrong, while it is held and cannot be used from here.
    pub unusable: Option<String>,
}

impl ThroughStatus {
    /// The trouble as a sentence.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let why = self.unusable.as_ref()?;
        let holder = self.holder.as_deref().unwrap_or("somebody");
        Some(format!(
            "vip {} is held by {holder} and cannot be used from here: probe {}: {why}; it stays there until `mainstay vip move {}` on \
             {holder}",
            self.vip, self.probe, self.vip
        ))
    }
}
