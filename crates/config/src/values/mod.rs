//! Values with a notation of their own: durations, secrets, fixed words, and entries that are text or a table.

mod choice;
mod drift;
mod edge;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use crate::raw::AddrTable;
use crate::read::{Read, Reader, Value};
use crate::source::At;
use crate::suggest;

pub(crate) use choice::choice;
pub(crate) use drift::Drift;
pub(crate) use edge::*;

/// A duration as operators write it: `"250ms"`, `"1s"`, `"1.5s"`, `"5m"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Duration);

/// Nothing here waits longer; sums of a few durations stay far from any overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Parses a duration; the error says what to write.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let nanos: u64 = match unit.trim() {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "" => return Err("a duration needs a unit"),
        _ => return Err("this unit of time is not known"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') || fraction.len() > 9 {
        return Err("this is not a number with a unit");
    }
    let whole: u64 = whole.parse().map_err(|_| "this duration is too long")?;
    let mut part = 0;
    let mut unit = nanos;
    for digit in fraction.bytes() {
        unit /= 10;
        part += unit * u64::from(digit - b'0');
    }
    let total = whole.checked_mul(nanos).and_then(|n| n.checked_add(part));
    match total.map(Duration::from_nanos) {
        Some(total) if total <= LONGEST => Ok(total),
        Some(_) | None => Err("this duration is too long"),
    }
}

/// The shortest way to write a duration.
pub(crate) fn written(time: Duration) -> String {
    let (secs, nanos) = (time.as_secs(), time.subsec_nanos());
    if nanos == 0 {
        return format!("{secs}s");
    }
    let micros = time.as_micros();
    if micros.is_multiple_of(1000) { format!("{}ms", micros / 1000) } else { format!("{micros}us") }
}

impl Read for Time {
    const WHAT: &'static str = "a duration";
    const EXAMPLE: &'static str = "a duration in quotes: \"250ms\", \"1s\", \"5m\"";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        if let DeValue::Integer(number) = value.get_ref() {
            let help = format!("write \"{}s\" for seconds or \"{0}ms\" for milliseconds", number.as_str());
            r.error(value, "a duration needs a unit".to_owned(), help);
            return None;
        }
        let Some(text) = value.get_ref().as_str() else {
            r.mismatch::<Self>(value);
            return None;
        };
        let text = r.text(value, text)?;
        match duration(&text) {
            Ok(time) => Some(Self(time)),
            Err(wrong) => {
                r.error(value, format!("{wrong}: \"{text}\""), format!("write {}", Self::EXAMPLE));
                None
            }
        }
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^ *[0-9]+(\\.[0-9]{1,9})? *(us|ms|s|m|min|h|d) *$|[$][{]" })
    }
}

/// A secret: itself, or where it is kept. Never printed.
#[derive(Clone)]
pub(crate) enum Secret {
    Text(String),
    File(String),
    Env(String),
    Credential(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(***)"),
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Env(name) => write!(f, "Env({name:?})"),
            Self::Credential(name) => write!(f, "Credential({name:?})"),
        }
    }
}

impl Read for Secret {
    const WHAT: &'static str = "a secret";
    const EXAMPLE: &'static str =
        "it in quotes, or { file = \"/path\" }, { env = \"NAME\" } or { credential = \"name\" }";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let span = r.span(value);
        if let Some(text) = value.get_ref().as_str() {
            r.findings.sources.hide(span);
            return r.text(value, text).map(Self::Text);
        }
        let mut entries = value.get_ref().as_table().into_iter().flat_map(|table| table.iter());
        let (Some((key, place)), None) = (entries.next(), entries.next()) else {
            r.findings.sources.hide(span);
            r.mismatch::<Self>(value);
            return None;
        };
        let make: fn(String) -> Self = match key.get_ref().as_ref() {
            "file" => Self::File,
            "env" => Self::Env,
            "credential" => Self::Credential,
            other => {
                let hidden = r.span(place);
                r.findings.sources.hide(hidden);
                let span = r.span(key);
                let help = suggest::advice(other, "place", &["file", "env", "credential"]);
                r.findings.error(span, format!("a secret is not kept in `{other}`"), help);
                return None;
            }
        };
        String::read(place, r).map(make)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret: itself, or where it is kept.",
            "anyOf": [
                { "type": "string" },
                { "type": "object", "additionalProperties": false, "required": ["file"],
                  "properties": { "file": { "type": "string", "description": "Path of a file that holds it." } } },
                { "type": "object", "additionalProperties": false, "required": ["env"],
                  "properties": { "env": { "type": "string", "description": "Environment variable that holds it." } } },
                { "type": "object", "additionalProperties": false, "required": ["credential"],
                  "properties": { "credential": { "type": "string", "description": "systemd credential." } } },
            ]
        })
    }
}

/// HTTP headers; their values are secrets.
#[derive(Clone, Debug)]
pub(crate) struct Headers(pub(crate) Vec<(String, At<Secret>)>);

impl Read for Headers {
    const WHAT: &'static str = "a table of headers";
    const EXAMPLE: &'static str = "{ Authorization = \"...\" }";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            r.mismatch::<Self>(value);
            return None;
        };
        let mut headers = Vec::new();
        for (name, value) in table {
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.get_ref().is_empty() || !name.get_ref().chars().all(token) {
                let span = r.span(name);
                let message = format!("`{}` is not the name of a header", name.get_ref());
                r.findings.error(span, message, "write letters, digits and - alone");
            } else if let Some(secret) = r.read(value) {
                headers.push((name.get_ref().to_string(), secret));
            }
        }
        Some(Self(headers))
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let secret = generator.subschema_for::<Secret>();
        json_schema!({ "type": "object", "additionalProperties": secret })
    }
}

/// An address of a vip: text, or a table that names an interface too.
#[derive(Clone, Debug)]
pub(crate) struct AddrEntry {
    pub(crate) addr: At<String>,
    pub(crate) interface: Option<At<String>>,
}

impl Read for AddrEntry {
    const WHAT: &'static str = "an address";
    const EXAMPLE: &'static str = "\"10.0.4.99\" or { addr = \"10.0.4.99\", interface = \"eth1\" }";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(_) => r.read(value).map(|addr| Self { addr, interface: None }),
            DeValue::Table(table) => {
                let span = r.span(value);
                let AddrTable { addr, interface, .. } = r.table(table, span);
                if addr.is_none() {
                    r.error(value, "this entry has no `addr`".to_owned(), format!("write {}", Self::EXAMPLE));
                }
                addr.map(|addr| Self { addr, interface })
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                r.mismatch::<Self>(value);
                None
            }
        }
    }
}

impl JsonSchema for AddrEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AddrEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<AddrTable>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// An HTTP status code, or a range of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status(pub(crate) u16, pub(crate) u16);

impl Read for Status {
    const WHAT: &'static str = "a status code";
    const EXAMPLE: &'static str = "200 or \"200-399\", from 100 to 599";

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
        let (low, high) = text.split_once('-').unwrap_or((&text, &text));
        let code = |text: &str| text.trim().parse().ok().filter(|code| (100..600).contains(code));
        match (code(low), code(high)) {
            (Some(low), Some(high)) if low <= high => Some(Self(low, high)),
            _ => {
                r.error(value, format!("{text} is not a status code"), format!("write {}", Self::EXAMPLE));
                None
            }
        }
    }
}

impl JsonSchema for Status {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$" },
        ]})
    }
}

choice! {
    /// What the checksum of a version 3 advert over IPv4 covers.
    ChecksumWord "a way to compute the checksum" {
        "pseudo-header" => PseudoHeader,
        "message" => Message,
    }
}

choice! {
    /// How two holders are prevented.
    GuardWord "a guard" {
        "best-effort" => BestEffort,
        "strict" => Strict,
        "quorum" => Quorum,
    }
}

choice! {
    /// How a reference is asked.
    MethodWord "a way to ask" {
        "arp" => Arp,
        "ping" => Ping,
    }
}

choice! {
    /// A change that is told.
    OnWord "a change" {
        "active" => Active,
        "backup" => Backup,
        "fault" => Fault,
        "stop" => Stop,
        "conflict" => Conflict,
        "unusable" => Unusable,
    }
}

choice! {
    /// A verdict.
    Verdict "a verdict" {
        "up" => Up,
        "down" => Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_to_the_nanosecond_and_never_without_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration(" 5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["5", "s", ".5s", "1.s", "1.2.3s", "-1s", "1 week", "99999999999999999999s", "40000d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
