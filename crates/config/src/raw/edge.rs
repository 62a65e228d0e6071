//! The edge as a whole, and what its routes share: zones, maps, logs.

use super::List;
use crate::read::table;
use crate::values::{Rate, Templated, Time};

table! {
    /// The edge as a whole.
    Edge "[edge]" {
        /// Processes. Default 2.
        #[schemars(range(min = 1, max = 16))]
        instances: i64,
        /// Threads in each process; when absent, as many as fill the cores.
        #[schemars(range(min = 1, max = 64))]
        threads: i64,
        /// How long connections of an older configuration or program may go on. Default "30s".
        drain: Time,
        /// How often names of backends are looked up again. Default "10s".
        resolve: Time,
        /// File in the form of nginx's mime.types that adds to the built-in table of media types.
        types: String,
    }
}

table! {
    /// Something counted by key.
    Zone "[[zone]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// What is counted: `"{remote_addr}"`.
        #[schemars(required)]
        key: Templated,
        /// "10/s" or "30/m"; without it the zone counts requests at once.
        rate: Rate,
    }
}

table! {
    /// A variable computed from others: by `values`, `networks` or `shares`.
    Map "[[map]]" {
        /// The variable's name.
        #[schemars(required)]
        name: String,
        /// What is looked at.
        #[schemars(required)]
        from: Templated,
        /// Its value when nothing matches. Default "".
        default: Templated,
        /// Texts and expressions, in order.
        values: List<MapValue>,
        /// Whether `*.suffix` and `prefix.*` in `is` are wildcards. Default false.
        hostnames: bool,
        /// Networks.
        networks: List<MapNetwork>,
        /// Shares of the hash of `from`.
        shares: List<MapShare>,
    }
}

table! {
    /// A value of a map: `is` or `regex`.
    MapValue "map.values" {
        /// Text, case ignored.
        is: String,
        /// Expression.
        regex: String,
        /// Whether case is ignored by `regex`. Default false.
        ignore_case: bool,
        /// The value.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// A network of a map.
    MapNetwork "map.networks" {
        /// The network.
        #[schemars(required)]
        net: String,
        /// The value.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// A share of a map.
    MapShare "map.shares" {
        /// Percent with up to two digits behind the point, in quotes; "*" is the rest.
        #[schemars(required)]
        percent: String,
        /// The value.
        #[schemars(required)]
        to: Templated,
    }
}

table! {
    /// Where requests are written down.
    Log "[[log]]" {
        /// Unique name.
        #[schemars(required)]
        name: String,
        /// Path of a file, or "stdout".
        #[schemars(required)]
        to: String,
        /// "combined", "json", or a text with variables. Default "combined".
        format: String,
        /// Whether values in a text of one's own are escaped for JSON. Default false.
        json_escape: bool,
    }
}

table! {
    /// A log that a route writes to.
    LogTable "log" {
        /// Name of the log.
        #[schemars(required)]
        name: String,
        /// Only when this is neither empty nor "0".
        when: Templated,
    }
}
