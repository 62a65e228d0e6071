//! Deputies against a store that keeps its promises, and loses ours.

mod chaos;
mod claims;
mod shelf;
