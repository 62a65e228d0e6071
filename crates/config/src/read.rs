//! From TOML's own values to ours, without stopping at the first error.
//!
//! A serde reader would end at the first thing it dislikes. Here every table is read key by key: what is wrong is
//! noted, the rest is read on. The [`table!`] macro declares a table once: its fields are what is read, what is
//! suggested for a slip, and what the schema shows.

use schemars::JsonSchema;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::expand::expand;
use crate::findings::Findings;
use crate::hint;
use crate::source::{At, Kind, Span};

/// A value of the document with its place.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Reads one text.
pub(crate) struct Reader<'a> {
    pub(crate) findings: &'a mut Findings,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Which text.
    pub(crate) source: usize,
}

/// Something that a value can be read as.
pub(crate) trait Read: Sized {
    /// For errors: `text`, `a number`.
    const WHAT: &'static str;
    /// For errors: what to write, as an example.
    const EXAMPLE: &'static str;

    /// The value's meaning; `None` when it has none, which has been noted.
    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self>;
}

/// A table with known keys, as [`table!`] declares it.
pub(crate) trait Table: Default {
    /// How an operator writes it: `[[vip]]`.
    const LABEL: &'static str;
    /// Its keys.
    const KEYS: &'static [&'static str];

    /// Reads one known key; false when its value can't be read.
    fn set(&mut self, key: &str, value: &Value<'_>, r: &mut Reader<'_>) -> bool;
    /// Takes what `later` has; a key that both have is an error.
    fn merge(&mut self, later: Self, findings: &mut Findings);
    /// Where the table begins and what of it could not be read.
    fn header(&mut self) -> &mut Header;
}

/// What is known of a table beside its keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header {
    /// Where it begins.
    pub(crate) span: Span,
    /// Keys that were written, but could not be read: they are not missing as well.
    pub(crate) spoiled: Vec<String>,
}

impl Reader<'_> {
    pub(crate) fn span<T>(&self, spanned: &Spanned<T>) -> Span {
        let range = spanned.span();
        Span { source: self.source, start: range.start, end: range.end }
    }

    pub(crate) fn read<T: Read>(&mut self, value: &Value<'_>) -> Option<At<T>> {
        let span = self.span(value);
        T::read(value, self).map(|value| At::new(value, span))
    }

    pub(crate) fn error(&mut self, value: &Value<'_>, message: String, help: impl Into<String>) {
        let span = self.span(value);
        self.findings.error(span, message, help);
    }

    /// Notes that `value` is not a `T`.
    pub(crate) fn mismatch<T: Read>(&mut self, value: &Value<'_>) {
        let message = format!("{} belongs here, not {}", T::WHAT, kind_of(value.get_ref()));
        self.error(value, message, format!("write {}", T::EXAMPLE));
    }

    /// Text with `${NAME}` replaced.
    pub(crate) fn text(&mut self, value: &Value<'_>, text: &str) -> Option<String> {
        if self.findings.sources.kind(self.source) == Kind::Variable {
            return Some(text.to_owned());
        }
        match expand(text, self.env) {
            Ok(text) => Some(text),
            Err(wrong) => {
                self.error(value, wrong.message, wrong.help);
                None
            }
        }
    }

    /// A number or a word that came from the environment as text.
    fn environment_text(&mut self, value: &Value<'_>) -> Option<String> {
        let text = value.get_ref().as_str()?;
        let variable = self.findings.sources.kind(self.source) == Kind::Variable;
        if variable || text.contains("${") { self.text(value, text) } else { None }
    }

    pub(crate) fn table<T: Table>(&mut self, table: &DeTable<'_>, span: Span) -> T {
        let mut read = T::default();
        read.header().span = span;
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !T::KEYS.contains(&name) && self.findings.full() {
                break;
            } else if !T::KEYS.contains(&name) {
                let span = self.span(key);
                let (message, help) = hint::unknown_key(T::LABEL, name, T::KEYS);
                self.findings.error(span, message, help);
                let meant = hint::meant(name, T::KEYS).unwrap_or(name);
                read.header().spoiled.push(meant.to_owned());
            } else if !read.set(name, value, self) {
                read.header().spoiled.push(name.to_owned());
            }
        }
        read
    }
}

/// What a value is, in an operator's words.
pub(crate) const fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl Read for String {
    const WHAT: &'static str = "text";
    const EXAMPLE: &'static str = "it in quotes: \"...\"";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            r.mismatch::<Self>(value);
            return None;
        };
        r.text(value, text)
    }
}

impl Read for bool {
    const WHAT: &'static str = "true or false";
    const EXAMPLE: &'static str = "true or false, without quotes";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let read = match value.get_ref().as_bool() {
            Some(read) => Some(read),
            None => r.environment_text(value).and_then(|text| text.trim().parse().ok()),
        };
        if read.is_none() {
            r.mismatch::<Self>(value);
        }
        read
    }
}

impl Read for i64 {
    const WHAT: &'static str = "a number";
    const EXAMPLE: &'static str = "a whole number without quotes";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let read = match value.get_ref().as_integer() {
            // A number beyond 64 bits is beyond every range as well.
            Some(integer) => {
                Some(Self::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(Self::MAX))
            }
            None => r.environment_text(value).and_then(|text| text.trim().parse().ok()),
        };
        if read.is_none() {
            r.mismatch::<Self>(value);
        }
        read
    }
}

impl<T: Read> Read for Vec<At<T>> {
    const WHAT: &'static str = "a list";
    const EXAMPLE: &'static str = "a list: [ ... ], or [[name]] where [name] stands";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            match value.get_ref().as_str() {
                Some(text) => {
                    let words: Vec<String> =
                        text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
                    let help = format!("write [{}]", words.join(", "));
                    r.error(value, "a list belongs here, not text".to_owned(), help);
                }
                None => r.mismatch::<Self>(value),
            }
            return None;
        };
        let read: Vec<At<T>> = items.iter().filter_map(|item| r.read(item)).collect();
        (read.len() == items.len()).then_some(read)
    }
}

impl<T: Table> Read for T {
    const WHAT: &'static str = "a table";
    const EXAMPLE: &'static str = "a table: { key = value }";

    fn read(value: &Value<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let span = r.span(value);
        if let Some(table) = value.get_ref().as_table() {
            return Some(r.table(table, span));
        }
        r.mismatch::<Self>(value);
        None
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// A key of both tables is reported at the later one.
pub(crate) fn merge_key<T>(
    mine: &mut Option<At<T>>,
    later: Option<At<T>>,
    key: &str,
    findings: &mut Findings,
) {
    let Some(later) = later else { return };
    if let Some(first) = mine {
        let place = findings.line_of(first.span);
        let message = format!("`{key}` is already set at {place}");
        findings.error(later.span, message, "keep one of the two: a key of a single table is set once");
        return;
    }
    *mine = Some(later);
}

/// A field's name as the key that operators write: a word of Rust has `r#` before it.
pub(crate) const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Declares a table: a struct whose fields are the keys, each optional and with its place. A key that must be
/// there is marked for the schema with `#[schemars(required)]`; the resolver asks for it.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident $label:literal { $($(#[$about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            #[schemars(skip)]
            pub(crate) head: $crate::read::Header,
            $($(#[$about])* pub(crate) $field: Option<$crate::source::At<$type>>,)*
        }

        impl $crate::read::Table for $name {
            const LABEL: &'static str = $label;
            const KEYS: &'static [&'static str] = &[$($crate::read::key(stringify!($field))),*];

            fn set(
                &mut self,
                key: &str,
                value: &$crate::read::Value<'_>,
                r: &mut $crate::read::Reader<'_>,
            ) -> bool {
                $(if key == $crate::read::key(stringify!($field)) {
                    self.$field = r.read(value);
                    return self.$field.is_some();
                })*
                false
            }

            fn merge(&mut self, later: Self, findings: &mut $crate::findings::Findings) {
                $($crate::read::merge_key(&mut self.$field, later.$field, $crate::read::key(stringify!($field)), findings);)*
            }

            fn header(&mut self) -> &mut $crate::read::Header {
                &mut self.head
            }
        }
    };
}
pub(crate) use table;
