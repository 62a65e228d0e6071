//! Who else claims the addresses of a vip.

use serde::{Deserialize, Serialize};

/// A conflict that is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictStatus {
    /// Milliseconds since 1970 of the first claim.
    pub since_ms: u64,
    /// Milliseconds since the last one.
    pub seen_ms_ago: u64,
    /// Frames and adverts so far.
    pub claims: u64,
    /// Whose: hardware addresses, and the sources of adverts; at most four are named.
    pub by: Vec<String>,
}

impl ConflictStatus {
    /// The conflict as a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let by: Vec<&str> = self.by.iter().map(|who| who.trim_end_matches(',')).collect();
        let times = if self.claims == 1 { "once".into() } else { format!("{} times", self.claims) };
        format!(
            "its address is claimed by {} too, {times}, last {} ms ago",
            by.join(" and "),
            self.seen_ms_ago
        )
    }
}
