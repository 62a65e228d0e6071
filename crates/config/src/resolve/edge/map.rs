//! Maps: variables computed from others. A map that needs itself is refused.

use std::collections::HashMap;

use super::names::Definer;
use super::{flag, span_of, text_of};
use crate::plan::edge::{Host, Map, MapRules, Template, Var};
use crate::raw;
use crate::resolve::Resolver;
use crate::source::{At, Span};

/// A share of one percent, in the hundredths that operators write.
const WHOLE: u32 = 10_000;

impl Resolver<'_> {
    pub(super) fn maps(&mut self, list: &[At<raw::Map>]) -> Vec<Map> {
        for At { value: raw, .. } in list {
            if let Some(name) = &raw.name {
                self.define(&name.value, Definer::Map, name.span, &format!("map \"{}\"", name.value));
            }
        }
        let maps: Vec<Map> = list.iter().map(|at| self.map(&at.value)).collect();
        if !self.findings.has_errors() {
            self.circles(list, &maps);
        }
        maps
    }

    fn map(&mut self, raw: &raw::Map) -> Map {
        self.required(&raw.name, &raw.head, "[[map]]", "name");
        let name = text_of(&raw.name);
        let who = &format!("map \"{name}\"");
        let from = self.required(&raw.from, &raw.head, who, "from");
        let source = from.map(|from| self.template(&from, who)).unwrap_or_default();
        let default = raw.default.as_ref().map(|default| self.template(default, who)).unwrap_or_default();
        let keys = [
            ("values", span_of(&raw.values)),
            ("networks", span_of(&raw.networks)),
            ("shares", span_of(&raw.shares)),
        ];
        let kind = self.exactly_one(&keys, &raw.head, who);
        if kind != Some("values") {
            self.foreign(span_of(&raw.hostnames), "hostnames", "`values`", who);
        }
        match kind {
            Some("networks") => Map { name, source, rules: self.networks(raw, who), default },
            Some("shares") => {
                let (rules, default) = self.shares(raw, default, who);
                Map { name, source, rules, default }
            }
            Some(_) | None => Map { name, source, rules: self.values(raw, who), default },
        }
    }

    fn values(&mut self, raw: &raw::Map, who: &str) -> MapRules {
        let who = &format!("{who}: values");
        let hostnames = flag(&raw.hostnames, false);
        let mut values: Vec<(String, Template)> = Vec::new();
        let mut patterns = Vec::new();
        let mut taken: HashMap<String, Span> = HashMap::new();
        for At { value: raw, .. } in raw.values.iter().flat_map(|list| &list.value) {
            let keys = [("is", span_of(&raw.is)), ("regex", span_of(&raw.regex))];
            self.exactly_one(&keys, &raw.head, who);
            let to = self.required(&raw.to, &raw.head, who, "to");
            let to = to.map(|to| self.template(&to, who)).unwrap_or_default();
            if let Some(regex) = &raw.regex {
                let ignore_case = flag(&raw.ignore_case, false);
                patterns.push((self.pattern(regex, ignore_case, who), ignore_case, to));
            } else if let Some(is) = &raw.is {
                self.foreign(span_of(&raw.ignore_case), "ignore_case", "`regex`", who);
                if hostnames
                    && is.value.contains('*')
                    && !matches!(self.host(is, who), Some(Host::Suffix(_) | Host::Prefix(_)) | None)
                {
                    let message = format!("{who}: \"{}\" is no wildcard", is.value);
                    self.error(
                        is.span,
                        message,
                        "write \"*.example.com\" or \"www.example.*\"; other texts are the `default`",
                    );
                }
                if let Some(first) = taken.insert(is.value.to_lowercase(), is.span) {
                    let place = self.findings.line_of(first);
                    let message = format!(
                        "{who}: \"{}\" stands there twice, first at {place}",
                        is.value.escape_debug()
                    );
                    self.error(is.span, message, "case is ignored: keep one of the two");
                }
                values.push((is.value.clone(), to));
            }
        }
        MapRules::Values { values, hostnames, patterns }
    }

    fn networks(&mut self, raw: &raw::Map, who: &str) -> MapRules {
        let who = &format!("{who}: networks");
        let mut networks = Vec::new();
        let mut taken = HashMap::new();
        for At { value: raw, .. } in raw.networks.iter().flat_map(|list| &list.value) {
            let net = self.required(&raw.net, &raw.head, who, "net");
            let to = self.required(&raw.to, &raw.head, who, "to");
            let to = to.map(|to| self.template(&to, who)).unwrap_or_default();
            let Some(text) = net else { continue };
            let Some(net) = self.net(&text.value, text.span, who) else { continue };
            if let Some(first) = taken.insert(net, text.span) {
                let place = self.findings.line_of(first);
                let message = format!("{who}: {} stands there twice, first at {place}", text.value);
                self.error(text.span, message, "keep one of the two");
            }
            networks.push((net, to));
        }
        MapRules::Networks(networks)
    }

    /// Bounds as nginx's `split_clients` counts them, so that the same client gets the same share.
    fn shares(&mut self, raw: &raw::Map, default: Template, who: &str) -> (MapRules, Template) {
        let who = &format!("{who}: shares");
        let mut shares = Vec::new();
        let mut default = default;
        let (mut sum, mut bound) = (0_u32, 0_u32);
        let mut rest: Option<Span> = None;
        for At { value: entry, span } in raw.shares.iter().flat_map(|list| &list.value) {
            let percent = self.required(&entry.percent, &entry.head, who, "percent");
            let to = self.required(&entry.to, &entry.head, who, "to");
            let to = to.map(|to| self.template(&to, who)).unwrap_or_default();
            let Some(percent) = percent else { continue };
            if let Some(first) = rest {
                let place = self.findings.line_of(first);
                self.error(
                    *span,
                    format!("{who}: nothing is left after \"*\" at {place}"),
                    "let \"*\" stand last",
                );
            } else if percent.value.trim() == "*" {
                self.not_both(("default", span_of(&raw.default)), ("*", Some(percent.span)), who);
                rest = Some(percent.span);
                default = to;
            } else if let Some(part) = hundredths(&percent.value) {
                sum += part;
                if sum > WHOLE {
                    self.error(
                        percent.span,
                        format!("{who}: the shares are more than 100 percent"),
                        "write less, or \"*\" for the rest",
                    );
                    break;
                }
                let add = u64::from(part) * u64::from(u32::MAX) / u64::from(WHOLE);
                bound += u32::try_from(add).expect("a share of 2^32 fits");
                if sum == WHOLE {
                    // Rounding leaves a few hashes over: they belong to the last share.
                    default = to.clone();
                }
                shares.push((bound, to));
            } else {
                let message = format!("{who}: \"{}\" is not a share", percent.value.escape_debug());
                self.error(
                    percent.span,
                    message,
                    "write percent with up to two digits behind the point, \"0.5\", or \"*\"",
                );
            }
        }
        (MapRules::Shares(shares), default)
    }

    /// Refuses maps that lead back to themselves.
    fn circles(&mut self, list: &[At<raw::Map>], maps: &[Map]) {
        let at: HashMap<&str, usize> =
            maps.iter().enumerate().map(|(nth, map)| (map.name.as_str(), nth)).collect();
        let needs: Vec<Vec<usize>> = maps
            .iter()
            .map(|map| {
                let mut needs: Vec<usize> = own(map).filter_map(|name| at.get(name).copied()).collect();
                needs.sort_unstable();
                needs.dedup();
                needs
            })
            .collect();
        // A map is settled once all that it needs are: what never settles stands in a circle or leads into one.
        let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut ready: Vec<usize> = (0..maps.len()).filter(|nth| open[*nth] == 0).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); maps.len()];
        for (user, needs) in needs.iter().enumerate() {
            for need in needs {
                users[*need].push(user);
            }
        }
        while let Some(settled) = ready.pop() {
            for user in &users[settled] {
                open[*user] -= 1;
                if open[*user] == 0 {
                    ready.push(*user);
                }
            }
        }
        if let Some(nth) = open.iter().position(|open| *open > 0) {
            let Some(name) = &list[nth].value.name else { return };
            let message =
                format!("map \"{}\" needs a map that needs it, or stands behind such a circle", name.value);
            self.error(name.span, message, "let one of them look at the request alone");
        }
    }
}

/// Variables of one's own that a map looks at.
fn own(map: &Map) -> impl Iterator<Item = &str> {
    let values: Vec<&Template> = match &map.rules {
        MapRules::Values { values, patterns, .. } => {
            values.iter().map(|(_, to)| to).chain(patterns.iter().map(|(.., to)| to)).collect()
        }
        MapRules::Networks(networks) => networks.iter().map(|(_, to)| to).collect(),
        MapRules::Shares(shares) => shares.iter().map(|(_, to)| to).collect(),
    };
    let all = values.into_iter().chain([&map.source, &map.default]);
    all.flat_map(Template::vars).filter_map(|var| match var {
        Var::Own(name) => Some(name.as_str()),
        Var::Known(_)
        | Var::Header(_)
        | Var::Sent(_)
        | Var::Upstream(_)
        | Var::BackendCookie(_)
        | Var::Cookie(_)
        | Var::Arg(_)
        | Var::Claim(_)
        | Var::Group(_) => None,
    })
}

/// Percent in hundredths: `"0.5"` is 50.
fn hundredths(text: &str) -> Option<u32> {
    let text = text.trim().trim_end_matches('%').trim_end();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: u32 = if part.len() == 1 { part.parse::<u32>().ok()? * 10 } else { part.parse().ok()? };
    let share = whole.parse::<u32>().ok()? * 100 + part;
    (1..=WHOLE).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_two_digits_behind_the_point() {
        for (text, expected) in [("50", 5000), ("0.5", 50), ("0.05%", 5), ("33.33", 3333), ("100", 10_000)] {
            assert_eq!(hundredths(text), Some(expected), "{text}");
        }
        for wrong in ["", "0", "100.01", "1.234", "-1", ".5", "a", "1."] {
            assert_eq!(hundredths(wrong), None, "{wrong}");
        }
    }
}
