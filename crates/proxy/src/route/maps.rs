//! Variables computed from others: by value, by network, by share.

use mainstay_config::plan::edge::{Map, MapRules, Template, Var};
use mainstay_core::net::NetMap;
use mainstay_core::path;

use super::pattern::{Groups, Pattern};
use super::table::{Error, pattern_of, vars};

/// The maps of a configuration, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Maps {
    /// Sorted by name.
    maps: Vec<Compiled>,
}

/// A map, compiled.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    name: Box<str>,
    pub(super) source: Template,
    rules: Rules,
    default: Template,
}

#[derive(Clone, Debug)]
enum Rules {
    Values(Box<Values>),
    Networks(NetMap<Template>),
    Shares(Vec<(u32, Template)>),
}

/// Values by text; the lists are sorted by their texts, in lower case.
#[derive(Clone, Debug, Default)]
struct Values {
    hostnames: bool,
    exact: Vec<(Box<str>, Template)>,
    /// `.example.com`, for `*.example.com`.
    suffix: Vec<(Box<str>, Template)>,
    /// `www.example.`, for `www.example.*`.
    prefix: Vec<(Box<str>, Template)>,
    patterns: Vec<(Pattern, Template)>,
}

/// What a map chose: a template, and the groups of the expression that chose it.
pub(super) struct Chosen<'a> {
    pub(super) value: &'a Template,
    pub(super) matched: Option<(&'a Pattern, Groups)>,
}

impl Maps {
    /// Compiles maps.
    pub(super) fn new(maps: &[Map]) -> Result<Self, Error> {
        let mut compiled = maps.iter().map(compile).collect::<Result<Vec<_>, _>>()?;
        compiled.sort_by(|a, b| a.name.cmp(&b.name));
        let maps = Self { maps: compiled };
        for map in &maps.maps {
            maps.follow(map, &mut Vec::new())?;
        }
        Ok(maps)
    }

    /// The number of a map.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.maps.binary_search_by(|map| (*map.name).cmp(name)).ok()
    }

    /// A map by its number.
    pub(super) fn get(&self, number: usize) -> &Compiled {
        &self.maps[number]
    }

    /// Refuses maps that lead back to themselves; `path` holds those on the way.
    fn follow(&self, map: &Compiled, path: &mut Vec<Box<str>>) -> Result<(), Error> {
        if path.contains(&map.name) {
            return Err(Error::Circle(map.name.to_string()));
        }
        path.push(map.name.clone());
        for template in map.templates() {
            for var in vars(template) {
                if let Var::Own(name) = var
                    && let Some(next) = self.number(name)
                {
                    self.follow(&self.maps[next], path)?;
                }
            }
        }
        path.pop();
        Ok(())
    }
}

impl Compiled {
    /// What the map says of a source.
    pub(super) fn choose(&self, source: &[u8]) -> Chosen<'_> {
        let plain = |value| Chosen { value, matched: None };
        match &self.rules {
            Rules::Networks(nets) => {
                let addr = std::str::from_utf8(source).ok().and_then(|text| text.parse().ok());
                plain(addr.and_then(|addr| nets.get(addr)).unwrap_or(&self.default))
            }
            Rules::Shares(shares) => {
                let hash = murmur2(source);
                plain(
                    shares.iter().find(|(bound, _)| hash < *bound).map_or(&self.default, |(_, value)| value),
                )
            }
            Rules::Values(values) => values.choose(source).unwrap_or_else(|| plain(&self.default)),
        }
    }

    fn templates(&self) -> Vec<&Template> {
        let mut all = vec![&self.source, &self.default];
        match &self.rules {
            Rules::Values(values) => {
                let named =
                    values.exact.iter().chain(&values.suffix).chain(&values.prefix).map(|(_, value)| value);
                all.extend(named.chain(values.patterns.iter().map(|(_, value)| value)));
            }
            Rules::Networks(nets) => all.extend(nets.values()),
            Rules::Shares(shares) => all.extend(shares.iter().map(|(_, value)| value)),
        }
        all
    }
}

impl Values {
    fn choose(&self, source: &[u8]) -> Option<Chosen<'_>> {
        let text = path::to_text(source);
        let lower = text.to_ascii_lowercase();
        let host = if self.hostnames { lower.strip_suffix('.').unwrap_or(&lower) } else { &lower };
        let named = named(&self.exact, host).or_else(|| {
            let mut dots = host.match_indices('.').filter(|(dot, _)| *dot > 0);
            dots.find_map(|(dot, _)| named(&self.suffix, &host[dot..]))
        });
        let named = named.or_else(|| {
            let mut dots = host.rmatch_indices('.').filter(|(dot, _)| dot + 1 < host.len());
            dots.find_map(|(dot, _)| self::named(&self.prefix, &host[..=dot]))
        });
        if let Some(value) = named {
            return Some(Chosen { value, matched: None });
        }
        self.patterns.iter().find_map(|(pattern, value)| {
            let groups = pattern.groups(&text)?;
            Some(Chosen { value, matched: Some((pattern, groups)) })
        })
    }
}

fn named<'a>(list: &'a [(Box<str>, Template)], name: &str) -> Option<&'a Template> {
    list.binary_search_by(|(own, _)| (**own).cmp(name)).ok().map(|n| &list[n].1)
}

fn compile(map: &Map) -> Result<Compiled, Error> {
    let rules = match &map.rules {
        MapRules::Networks(nets) => Rules::Networks(NetMap::new(
            nets.iter().map(|(net, value)| (net.addr, net.prefix, value.clone())),
        )),
        MapRules::Shares(shares) => Rules::Shares(shares.clone()),
        MapRules::Values { values, hostnames, patterns } => {
            let mut compiled = Values { hostnames: *hostnames, ..Values::default() };
            for (text, value) in values {
                compiled.add(&text.to_lowercase(), value);
            }
            for list in [&mut compiled.exact, &mut compiled.suffix, &mut compiled.prefix] {
                // Stable, and the first of equal texts stays.
                list.sort_by(|a, b| a.0.cmp(&b.0));
                list.dedup_by(|b, a| a.0 == b.0);
            }
            for (text, ignore_case, value) in patterns {
                let pattern = pattern_of(text, *ignore_case, || format!("map `{{{}}}`", map.name))?;
                compiled.patterns.push((pattern, value.clone()));
            }
            Rules::Values(Box::new(compiled))
        }
    };
    Ok(Compiled {
        name: map.name.as_str().into(),
        source: map.source.clone(),
        rules,
        default: map.default.clone(),
    })
}

impl Values {
    fn add(&mut self, text: &str, value: &Template) {
        let entry = |text: &str| (Box::from(text), value.clone());
        if let Some(ending) = text.strip_prefix('*').filter(|t| self.hostnames && t.starts_with('.')) {
            self.suffix.push(entry(ending));
        } else if let Some(start) = text.strip_suffix('*').filter(|t| self.hostnames && t.ends_with('.')) {
            self.prefix.push(entry(start));
        } else if let Some(name) = text.strip_prefix('.').filter(|_| self.hostnames) {
            self.exact.push(entry(name));
            self.suffix.push(entry(text));
        } else {
            self.exact.push(entry(text));
        }
    }
}

/// MurmurHash2 with seed 0, as nginx's `split_clients` takes shares from: the same client falls into the same share here.
pub(super) fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (n, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * n);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}
