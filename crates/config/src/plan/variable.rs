//! Variables computed from others, and the logs that they are written to.

use std::path::PathBuf;

use mainstay_core::name::LogId;
use serde::{Deserialize, Serialize};

use super::edge::Net;
use super::template::Template;

/// A variable computed from others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// The variable.
    pub name: String,
    /// What is looked at.
    pub source: Template,
    /// How.
    pub rules: MapRules,
    /// The value when nothing matches.
    pub default: Template,
}

/// How a map finds its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapRules {
    /// Texts without regard to case first, then, with `hostnames`, wildcards as in hosts, then expressions in order.
    Values {
        /// Text (or host) and value.
        values: Vec<(String, Template)>,
        /// Whether `*.suffix` and `prefix.*` are wildcards.
        hostnames: bool,
        /// Expression, whether case is ignored, value.
        patterns: Vec<(String, bool, Template)>,
    },
    /// The longest network that holds the source, an address.
    Networks(Vec<(Net, Template)>),
    /// Shares of the hash of the source: upper bounds out of 2^32, ascending, and values.
    Shares(Vec<(u32, Template)>),
}

/// Where requests are written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The operator's name.
    pub name: String,
    /// Where to.
    pub to: LogTarget,
    /// How a line looks.
    pub format: LogFormat,
}

/// Where an access log goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogTarget {
    /// A file; opened by the supervisor, again at SIGUSR1 and at each reload.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// How a line of an access log looks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// The combined format of nginx and Apache.
    Combined,
    /// One JSON object, its fields in docs/reference/access-log.md.
    Json,
    /// A text of one's own, values escaped as nginx does (`\xXX`).
    Text {
        /// The text.
        line: Template,
        /// Values are escaped for JSON strings instead.
        json_escape: bool,
    },
}

/// A log that a route writes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogUse {
    /// Which.
    pub log: LogId,
    /// Only when this is neither empty nor `0`.
    pub when: Option<Template>,
}
