//! The operators' schema: text becomes raw, raw becomes a Plan, and past that border nobody validates again.
//!
//! [`load()`] reads a file and its `conf.d/*.toml`, [`parse_str`] one text without touching anything else. Both report
//! everything that is wrong at once, each finding with its place and what to write instead.

mod access;
pub mod diagnostic;
pub mod diff;
mod expand;
mod findings;
mod format;
pub mod gost;
mod hint;
pub mod import;
pub mod keepalived;
mod load;
mod material;
pub mod nginx;
pub mod plan;
mod raw;
mod read;
mod resolve;
mod schema;
pub mod script;
mod source;
mod suggest;
mod values;

pub use diagnostic::{Diagnostic, Place, Report, Severity};
pub use diff::diff;
pub use format::fmt;
pub use load::{Checks, Loaded, load, load_with, parse_str};
pub use schema::schema;
pub use script::stops_keepalived;
