//! The error of a clock's rate.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use crate::read::{Read, Reader, Value};

/// A small part of the whole in parts per million: `"1%"`, `"0.5%"`, `5000`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drift(pub(crate) u32);

/// Parts per million in a percent.
const PERCENT: u32 = 10_000;

/// `"0.5%"` or `"5000"` in parts per million.
fn parts(text: &str) -> Option<u32> {
    let text = text.trim();
    let Some(percent) = text.strip_suffix('%') else { return text.parse().ok() };
    let (whole, fraction) = percent.trim_end().split_once('.').unwrap_or((percent.trim_end(), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 4 {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<4}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(PERCENT)?.checked_add(fraction)
}

impl Read for Drift {
    const WHAT: &'static str = "a rate";
    const EXAMPLE: &'static str = "a percentage in quotes, \"1%\" or \"0.5%\", or parts per million: 5000";

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
        let read = parts(&text);
        if read.is_none() {
            r.error(value, format!("\"{text}\" is not a rate"), format!("write {}", Self::EXAMPLE));
        }
        read.map(Self)
    }
}

impl JsonSchema for Drift {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Drift".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^ *[0-9]+(\\.[0-9]{1,4})? *%? *$|[$][{]" },
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_parts_per_million_are_read() {
        let known = [("1%", 10_000), ("0.5%", 5_000), ("0.0001 %", 1), (" 200 ", 200), ("12.25%", 122_500)];
        for (text, ppm) in known {
            assert_eq!(parts(text), Some(ppm), "{text}");
        }
        for wrong in ["", "%", "1.%", ".5%", "1,5%", "-1%", "0.00001%", "99999999999%", "1.5", "ten"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}
