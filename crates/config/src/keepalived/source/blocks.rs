//! `~SEQ(var, start, step, end) rest` and `~LST(var, a, b) rest`: the rest of the line, once for each value.

use super::{Pos, Source};

/// A repetition: for each round, values for the variables.
struct Rounds<'a> {
    names: Vec<String>,
    values: Values,
    rest: &'a str,
}

enum Values {
    Listed(Vec<Vec<String>>),
    Counted { next: i64, step: i64, end: i64, hex: bool },
}

impl Source<'_> {
    /// Unrolls one repetition; nested ones unroll in turn.
    pub(super) fn repeat(&mut self, text: &str, pos: Pos, depth: usize) {
        // The arguments may name parameters, which have values before the first round.
        let Some(text) = self.with_arguments_replaced(text, pos) else { return };
        let Some(rounds) = parse(&text) else {
            let help = "write ~SEQ(VAR, start, step, end) or ~LST(VAR, value, value) before what is repeated";
            return self.report.error(pos, "this repetition cannot be read", help);
        };
        match rounds.values {
            Values::Listed(list) => {
                for values in list {
                    if !self.round(&rounds.names, values, rounds.rest, pos, depth) {
                        return;
                    }
                }
            }
            Values::Counted { mut next, step, end, hex } => {
                while if step > 0 { next <= end } else { next >= end } {
                    let value = if hex { format!("{next:x}") } else { next.to_string() };
                    if !self.round(&rounds.names, vec![value], rounds.rest, pos, depth) {
                        return;
                    }
                    let Some(after) = next.checked_add(step) else { return };
                    next = after;
                }
            }
        }
    }

    fn round(&mut self, names: &[String], values: Vec<String>, rest: &str, pos: Pos, depth: usize) -> bool {
        if !self.spend(rest.len(), pos) {
            return false;
        }
        for (name, value) in names.iter().zip(values) {
            self.defined.insert(name.clone(), value);
        }
        self.line(rest, pos, depth + 1);
        true
    }

    fn with_arguments_replaced(&mut self, text: &str, pos: Pos) -> Option<String> {
        let mut text = text.to_owned();
        for _ in 0..super::MOST_REPLACEMENTS {
            let Some(close) = text.find(')') else { break };
            let Some((range, value)) = self.first_parameter(&text[..close], pos) else { return Some(text) };
            if !self.spend(text.len() + value.len(), pos) || text.len() + value.len() > super::LONGEST_LINE {
                return None;
            }
            text.replace_range(range, &value);
        }
        Some(text)
    }
}

fn parse(text: &str) -> Option<Rounds<'_>> {
    let (head, tail) = text.split_once('(')?;
    let (arguments, rest) = tail.split_once(')')?;
    let arguments = split(arguments);
    let (first, values) = arguments.split_first()?;
    if head.trim_end() == "~LST" {
        let names = items(first);
        let values = values.iter().map(|value| items(value)).collect();
        return Some(Rounds { names, values: Values::Listed(values), rest });
    }
    let hex = match head.trim_end() {
        "~SEQ" => false,
        "~SEQx" => true,
        _ => return None,
    };
    let numbers = values.iter().map(|value| number(value)).collect::<Option<Vec<i64>>>()?;
    let towards = |start: i64, end: i64| if end >= start { 1 } else { -1 };
    let (next, step, end) = match *numbers {
        [end] => (if end > 0 { 1 } else { -1 }, if end > 0 { 1 } else { -1 }, end),
        [start, end] => (start, towards(start, end), end),
        [start, step, end] => (start, step, end),
        _ => return None,
    };
    (step != 0).then(|| Rounds {
        names: vec![first.clone()],
        values: Values::Counted { next, step, end, hex },
        rest,
    })
}

/// Splits at the commas outside braces.
fn split(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut depth = 0u32;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c == ',' && depth == 0 {
            all.push(String::new());
        } else if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all.iter().map(|one| one.trim().to_owned()).collect()
}

/// `{a, b}` is a and b; anything else is itself.
fn items(text: &str) -> Vec<String> {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(inner) => inner.split(',').map(|one| one.trim().to_owned()).collect(),
        None => vec![text.to_owned()],
    }
}

fn number(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    value.ok().map(|value| sign * value)
}
