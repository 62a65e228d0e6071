//! What the election promises, told through its public verbs.

mod eligibility;
mod groups;
mod lateness;
mod leased;
mod owned;
mod protocol;
mod reload;
mod rig;
mod strangers;
