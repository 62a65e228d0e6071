//! Values that only the edge has: sizes, rates, statuses, texts with variables, words.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::{Secret, Status, choice};
use crate::plan::edge::Template;
use crate::raw::{BackendTable, LogTable};
use crate::read::{Read, Reader, Value};
use crate::source::At;
use crate::suggest;

/// One text, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Vec<At<String>>);

impl Read for Words {
    const WHAT: &'static str = "text or a list of texts";
    const EXAMPLE: &'static str = "it in quotes: \"a\", or [\"a\", \"b\"]";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => r.read(value).map(|word| Self(vec![word])),
            DeValue::Array(_) => Vec::read(value, r).map(Self),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => {
                r.mismatch::<Self>(value);
                None
            }
        }
    }
}

impl JsonSchema for Words {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// A number of bytes: `"64k"`, `"100MiB"`, `"1MB"`, `0`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64);

/// Parses a size; the error says what is wrong. One letter counts in steps of 1024, as nginx does.
pub(crate) fn size(text: &str) -> Result<u64, &'static str> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err("this unit of size is not known"),
    };
    if number.is_empty() {
        return Err("this is not a number with a unit");
    }
    let number: u64 = number.parse().map_err(|_| "this size is too large")?;
    number.checked_mul(unit).filter(|size| i64::try_from(*size).is_ok()).ok_or("this size is too large")
}

/// The shortest way to write a size.
pub(crate) fn written_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}")
}

impl Read for Size {
    const WHAT: &'static str = "a size";
    const EXAMPLE: &'static str = "a size in quotes: \"64KiB\", \"100MiB\", \"1GiB\"";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.to_string(),
            DeValue::String(text) => r.text(value, text)?,
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                r.mismatch::<Self>(value);
                return None;
            }
        };
        match size(&text) {
            Ok(size) => Some(Self(size)),
            Err(wrong) => {
                r.error(value, format!("{wrong}: \"{text}\""), format!("write {}", Self::EXAMPLE));
                None
            }
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^ *[0-9]+ *([bB]|[kKmMgG]([iI]?[bB])?)? *$|[$][{]" },
        ]})
    }
}

/// A text in which variables stand in braces.
#[derive(Clone, Debug)]
pub(crate) struct Templated(pub(crate) Template);

impl Read for Templated {
    const WHAT: &'static str = "text";
    const EXAMPLE: &'static str = "it in quotes: \"https://{host}/\"";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            r.mismatch::<Self>(value);
            return None;
        };
        let text = r.text(value, text)?;
        match Template::parse(&text) {
            Ok(template) => Some(Self(template)),
            Err(wrong) => {
                r.error(value, wrong.message, wrong.help);
                None
            }
        }
    }
}

impl JsonSchema for Templated {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Templated".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Requests per time, in thousandths of a request per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(pub(crate) u64);

/// No machine answers more.
const FASTEST: u64 = 10_000_000;

impl Read for Rate {
    const WHAT: &'static str = "a rate";
    const EXAMPLE: &'static str = "a rate in quotes: \"10/s\" or \"30/m\"";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            r.mismatch::<Self>(value);
            return None;
        };
        let text = r.text(value, text)?;
        let rate = text.split_once('/').and_then(|(number, unit)| {
            let number: u64 = number.trim().parse().ok().filter(|number| (1..=FASTEST).contains(number))?;
            match unit.trim() {
                "s" => Some(number * 1000),
                "m" | "min" => Some(number * 1000 / 60),
                _ => None,
            }
        });
        if rate.is_none() {
            r.error(value, format!("\"{text}\" is not a rate"), format!("write {}", Self::EXAMPLE));
        }
        rate.map(Self)
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^ *[0-9]+ */ *(s|m|min) *$|[$][{]" })
    }
}

/// Statuses: one, a range, or a list of both.
#[derive(Clone, Debug)]
pub(crate) struct Codes(pub(crate) Vec<At<Status>>);

impl Read for Codes {
    const WHAT: &'static str = "a status code or a list of them";
    const EXAMPLE: &'static str = "404, \"500-504\" or [404, \"500-504\"]";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(_) => Vec::read(value, r).map(Self),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => r.read(value).map(|code| Self(vec![code])),
        }
    }
}

impl JsonSchema for Codes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Codes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let status = generator.subschema_for::<Status>();
        json_schema!({ "anyOf": [status.clone(), { "type": "array", "items": status }] })
    }
}

/// After what another backend is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryWord {
    Error,
    Timeout,
    InvalidHeader,
    Status(u16),
}

impl Read for RetryWord {
    const WHAT: &'static str = "what a try ended with";
    const EXAMPLE: &'static str = "\"error\", \"timeout\", \"invalid-header\", or a status such as 502";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let text = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::String(text) => r.text(value, text)?,
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                r.mismatch::<Self>(value);
                return None;
            }
        };
        match text.as_str() {
            "error" => return Some(Self::Error),
            "timeout" => return Some(Self::Timeout),
            "invalid-header" => return Some(Self::InvalidHeader),
            _ => {}
        }
        let status = text.parse().ok().filter(|status| (400..600).contains(status));
        if status.is_none() {
            let known = ["error", "timeout", "invalid-header"];
            let help = match suggest::nearest(&text, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write {}", Self::EXAMPLE),
            };
            r.error(value, format!("\"{text}\" is not something that a try ends with"), help);
        }
        status.map(Self::Status)
    }
}

impl JsonSchema for RetryWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RetryWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "enum": ["error", "timeout", "invalid-header"] },
            { "type": "integer", "minimum": 400, "maximum": 599 },
        ]})
    }
}

/// Texts by name.
#[derive(Clone, Debug)]
pub(crate) struct Texts(pub(crate) Vec<(String, At<String>)>);

/// Secrets by name.
#[derive(Clone, Debug)]
pub(crate) struct Secrets(pub(crate) Vec<(At<String>, At<Secret>)>);

impl Read for Texts {
    const WHAT: &'static str = "a table of texts";
    const EXAMPLE: &'static str = "{ name = \"value\" }";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            r.mismatch::<Self>(value);
            return None;
        };
        let read = |(name, value): (&toml::Spanned<Cow<'_, str>>, &Value<'_>)| {
            r.read(value).map(|value| (name.get_ref().to_string(), value))
        };
        Some(Self(table.iter().filter_map(read).collect()))
    }
}

impl Read for Secrets {
    const WHAT: &'static str = "a table of secrets";
    const EXAMPLE: &'static str = "{ name = \"...\" }";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            r.mismatch::<Self>(value);
            return None;
        };
        let mut secrets = Vec::new();
        for (name, value) in table {
            let span = r.span(name);
            if let Some(secret) = r.read(value) {
                secrets.push((At::new(name.get_ref().to_string(), span), secret));
            }
        }
        Some(Self(secrets))
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
    }
}

impl JsonSchema for Secrets {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secrets".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        json_schema!({ "type": "object", "additionalProperties": secret })
    }
}

/// Declares an entry that is a text, or a table whose first key it is.
macro_rules! entry {
    ($(#[$doc:meta])* $name:ident, $table:ident.$field:ident, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) $table);

        impl Read for $name {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = $example;

            fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
                let span = r.span(value);
                if let Some(table) = value.get_ref().as_table() {
                    return Some(Self(r.table(table, span)));
                }
                if value.get_ref().as_str().is_none() {
                    r.mismatch::<Self>(value);
                    return None;
                }
                let mut table = $table { $field: Some(r.read(value)?), ..$table::default() };
                table.head.span = span;
                Some(Self(table))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let table = generator.subschema_for::<$table>();
                json_schema!({ "anyOf": [{ "type": "string" }, table] })
            }
        }
    };
}

entry! {
    /// A backend: text, or a table that says more of it.
    BackendEntry, BackendTable.addr, "a backend", "\"10.0.4.20:8080\" or { addr = \"10.0.4.20:8080\", weight = 2 }"
}

entry! {
    /// A log that is written to: its name, or a table that says when.
    LogEntry, LogTable.name, "the name of a log", "\"name\" or { name = \"name\", when = \"{own_variable}\" }"
}

choice! {
    /// What a listener speaks.
    ProtocolWord "a protocol" {
        "http" => Http,
        "tcp" => Tcp,
        "udp" => Udp,
        "passthrough" => Passthrough,
        "hub" => Hub,
    }
}

choice! {
    /// What a listener speaks beside its own protocol.
    CompatWord "another protocol" {
        "gost" => Gost,
    }
}

choice! {
    /// Which tunnels gost's clients may offer.
    GostTunnelsWord "a set of tunnels" {
        "listed" => Listed,
        "any" => Any,
    }
}

choice! {
    /// Which hosts gost's clients get.
    GostHostsWord "a set of hosts" {
        "generated" => Generated,
        "any" => Any,
    }
}

choice! {
    /// Whether clients are asked for certificates.
    ClientAuthWord "a way to ask for certificates" {
        "off" => Off,
        "optional" => Optional,
        "required" => Required,
    }
}

choice! {
    /// What follows a rewrite; nginx's flags are `last` (again), `break`, `redirect` and `permanent`.
    ThenWord "what follows a rewrite" {
        "continue" => Continue,
        "again" => Again,
        "break" => Break,
        "redirect" => Redirect,
        "permanent" => Permanent,
    }
}

choice! {
    /// What a path in the file system is.
    FileWord "a kind of file" {
        "file" => File,
        "directory" => Directory,
        "any" => Any,
        "executable" => Executable,
    }
}

choice! {
    /// How a backend is chosen.
    BalanceWord "a way to choose a backend" {
        "round-robin" => RoundRobin,
        "least" => Least,
        "two-choices" => TwoChoices,
        "source" => Source,
        "hash" => Hash,
        "random" => Random,
    }
}

choice! {
    /// The PROXY header towards backends.
    ProxyWord "a form of the PROXY header" {
        "off" => Off,
        "v1" => V1,
        "v2" => V2,
    }
}

choice! {
    /// The SameSite flag of a cookie.
    SameSiteWord "a SameSite flag" {
        "Strict" => Strict,
        "Lax" => Lax,
        "None" => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_one_letter_and_ib_by_1024_and_b_by_1000() {
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("100MiB"), Ok(104_857_600));
        assert_eq!(size(" 1 MB"), Ok(1_000_000));
        assert_eq!(size("0"), Ok(0));
        for wrong in ["", "m", "1.5m", "-1", "1 T", "99999999999999999999", "9999999999g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(written_size(32 << 10), "32KiB");
        assert_eq!(written_size(1000), "1000");
    }
}
