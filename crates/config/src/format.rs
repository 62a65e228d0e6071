//! One way to lay out a configuration: comments and values stay, blanks do not.
//!
//! A blank line before each table, no indentation, one blank around `=`. A list that fits a line stands in one,
//! longer ones and those with comments have one entry in each line.

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, KeyMut, RawString, Table, Value};

use crate::diagnostic::Report;
use crate::load;

/// As in the rest of the house.
const WIDTH: usize = 100;
const INDENT: &str = "    ";

/// The same configuration in the canonical layout; formatting twice changes nothing. `name` stands in the report.
///
/// # Errors
/// What is not TOML. A configuration that is TOML, but wrong, is formatted.
pub fn fmt(name: &str, text: &str) -> Result<String, Report> {
    load::syntax_of(name, text)?;
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        // Both crates share one lexer; should they ever differ, the text stays as it is.
        return Ok(text.to_owned());
    };
    let trailing = comments(raw(Some(document.trailing())), false);
    document.set_trailing(trailing);
    table(document.as_table_mut(), true);
    let laid_out = document.to_string();
    let laid_out = laid_out.trim();
    Ok(if laid_out.is_empty() { String::new() } else { format!("{laid_out}\n") })
}

fn table(table: &mut Table, root: bool) {
    if !root && !table.is_dotted() {
        let prefix = format!("\n{}", comments(raw(table.decor().prefix()), true));
        let suffix = trailing_comment(raw(table.decor().suffix()));
        *table.decor_mut() = Decor::new(prefix, suffix);
    }
    let mut first = !table.is_dotted();
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::Value(value) => {
                key_of_value(&mut key, first);
                let room = WIDTH.saturating_sub(key.display_repr().len() + 3);
                let suffix = trailing_comment(raw(value.decor().suffix()));
                value.decor_mut().clear();
                lay_out(value, room, INDENT);
                *value.decor_mut() = Decor::new(" ", suffix);
            }
            Item::Table(inner) => {
                if inner.is_dotted() {
                    key.dotted_decor_mut().clear();
                } else {
                    bare(&mut key);
                }
                self::table(inner, false);
            }
            Item::ArrayOfTables(inner) => {
                bare(&mut key);
                inner.iter_mut().for_each(|inner| self::table(inner, false));
            }
            Item::None => {}
        }
        first = false;
    }
}

fn bare(key: &mut KeyMut<'_>) {
    key.leaf_decor_mut().clear();
    key.dotted_decor_mut().clear();
}

fn key_of_value(key: &mut KeyMut<'_>, first: bool) {
    let prefix = comments(raw(key.leaf_decor().prefix()), first);
    *key.leaf_decor_mut() = Decor::new(prefix, " ");
    key.dotted_decor_mut().clear();
}

/// The comment lines of what stands before a key, at most one blank line between them; none at the `start`.
fn comments(text: &str, start: bool) -> String {
    let mut lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    if lines.last().is_some_and(|indentation| indentation.is_empty()) {
        lines.pop();
    }
    let mut out = String::new();
    let mut blank = false;
    for line in lines {
        if line.is_empty() {
            blank = !(start && out.is_empty());
            continue;
        }
        if blank {
            out.push('\n');
        }
        blank = false;
        out.push_str(line);
        out.push('\n');
    }
    if blank {
        out.push('\n');
    }
    out
}

/// The comment at the end of a line.
fn trailing_comment(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(" {text}") }
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

/// Lays out what stands in a value. `room` is what is left of its line, `indent` that of its entries.
fn lay_out(value: &mut Value, room: usize, indent: &str) {
    match value {
        Value::Array(array) => lay_out_array(array, room, indent),
        Value::InlineTable(table) => lay_out_inline(table, indent),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn lay_out_inline(table: &mut InlineTable, indent: &str) {
    if table.to_string().contains('#') && commented(&Value::InlineTable(table.clone())) {
        return;
    }
    let last = table.len().saturating_sub(1);
    for (nth, (mut key, value)) in table.iter_mut().enumerate() {
        *key.leaf_decor_mut() = Decor::new(" ", " ");
        key.dotted_decor_mut().clear();
        value.decor_mut().clear();
        lay_out(value, WIDTH, indent);
        *value.decor_mut() = Decor::new(" ", if nth == last { " " } else { "" });
    }
    table.set_trailing("");
    table.set_trailing_comma(false);
}

fn lay_out_array(array: &mut Array, room: usize, indent: &str) {
    // Without a comma at the end what follows the last entry belongs to it; we write the comma.
    if let Some(last) = array.len().checked_sub(1).and_then(|last| array.get_mut(last)) {
        let after = raw(last.decor().suffix()).to_owned();
        last.decor_mut().set_suffix("");
        let trailing = format!("{after}{}", raw(Some(array.trailing())));
        array.set_trailing(trailing);
    }
    if array.iter().any(|entry| raw(entry.decor().suffix()).contains('#')) {
        return;
    }
    let deeper = format!("{indent}{INDENT}");
    let comments = array.iter().any(|entry| raw(entry.decor().prefix()).contains('#'))
        || raw(Some(array.trailing())).contains('#');
    if !comments {
        for (nth, entry) in array.iter_mut().enumerate() {
            entry.decor_mut().clear();
            lay_out(entry, room, &deeper);
            *entry.decor_mut() = Decor::new(if nth == 0 { "" } else { " " }, "");
        }
        array.set_trailing("");
        array.set_trailing_comma(false);
        let line = array.to_string();
        if !line.contains('\n') && line.trim().chars().count() <= room {
            return;
        }
    }
    for entry in array.iter_mut() {
        let prefix = entry_prefix(raw(entry.decor().prefix()), indent);
        entry.decor_mut().clear();
        lay_out(entry, WIDTH.saturating_sub(indent.len() + 1), &deeper);
        *entry.decor_mut() = Decor::new(format!("{prefix}\n{indent}"), "");
    }
    let outer = &indent[INDENT.len()..];
    let prefix = entry_prefix(raw(Some(array.trailing())), indent);
    array.set_trailing_comma(!array.is_empty());
    array.set_trailing(format!("{prefix}\n{outer}"));
}

/// The comments before an entry: the first may end the line of the entry before, the others have their own.
fn entry_prefix(text: &str, indent: &str) -> String {
    let mut out = String::new();
    for (nth, line) in text.split('\n').enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if nth == 0 {
            out.push(' ');
        } else {
            out.push('\n');
            out.push_str(indent);
        }
        out.push_str(line);
    }
    out
}

/// Whether a comment stands somewhere in the value.
fn commented(value: &Value) -> bool {
    let decor = |decor: &Decor| raw(decor.prefix()).contains('#') || raw(decor.suffix()).contains('#');
    match value {
        Value::Array(array) => {
            raw(Some(array.trailing())).contains('#')
                || array.iter().any(|v| decor(v.decor()) || commented(v))
        }
        Value::InlineTable(table) => {
            let key = |key: &str| table.key(key).is_some_and(|key| decor(key.leaf_decor()));
            raw(Some(table.trailing())).contains('#')
                || table.iter().any(|(name, v)| key(name) || decor(v.decor()) || commented(v))
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSY: &str = "# About this file.


  # The node.
[ node ]  # here
   id=\"a\"   # unique


# how long
start_delay   =   \"1s\"
[[vip]]
name = 'front'
addrs = [\"10.0.4.99\",\"10.0.4.98\" ,
  \"10.0.4.97\",]
requires = [ # what must run
  \"nginx\", # the web
  # and its database
  \"db\"
  # no more
]
announce = {repeat=5,delay=\"5s\"}
notify = [{ exec = [\"/etc/mainstay/one-of-the-notify-scripts.sh\", \"MASTER\"] }, { exec = [\"/etc/mainstay/two.sh\"] }]
# the end";

    const TIDY: &str = "# About this file.

# The node.
[node] # here
id = \"a\" # unique

# how long
start_delay = \"1s\"

[[vip]]
name = 'front'
addrs = [\"10.0.4.99\", \"10.0.4.98\", \"10.0.4.97\"]
requires = [ # what must run
    \"nginx\", # the web
    # and its database
    \"db\",
    # no more
]
announce = { repeat = 5, delay = \"5s\" }
notify = [
    { exec = [\"/etc/mainstay/one-of-the-notify-scripts.sh\", \"MASTER\"] },
    { exec = [\"/etc/mainstay/two.sh\"] },
]
# the end
";

    #[test]
    fn comments_and_values_stay_and_blanks_are_put_in_order() {
        assert_eq!(fmt("mainstay.toml", MESSY).unwrap(), TIDY);
    }

    #[test]
    fn formatting_twice_changes_nothing() {
        assert_eq!(fmt("mainstay.toml", TIDY).unwrap(), TIDY);
        assert_eq!(fmt("mainstay.toml", "").unwrap(), "");
        assert_eq!(fmt("mainstay.toml", "# only a comment").unwrap(), "# only a comment\n");
    }

    #[test]
    fn dotted_keys_and_subtables_keep_their_shape() {
        let text = "[[vip]]\nannounce . repeat=3\n\n[vip.announce2]\na=1\n";
        assert_eq!(
            fmt("mainstay.toml", text).unwrap(),
            "[[vip]]\nannounce.repeat = 3\n\n[vip.announce2]\na = 1\n"
        );
    }

    #[test]
    fn what_is_not_toml_is_refused_like_anywhere_else() {
        let report = fmt("mainstay.toml", "[node]\nid = \"a\n").unwrap_err().to_string();
        assert!(report.starts_with("mainstay.toml:2:"), "{report}");
    }
}
