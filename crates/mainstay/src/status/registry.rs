//! What is shown of the registry: the store in which hubs find each other, as this hub sees it.

use serde::{Deserialize, Serialize};

/// The registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistryStatus {
    /// `redis` or `etcd`.
    pub kind: String,
    /// The address that is spoken to.
    pub endpoint: String,
    /// What our keys there begin with.
    pub prefix: String,
    /// Whether it answers.
    pub answers: bool,
    /// Milliseconds since it last did; absent when it never has.
    pub answered_ms_ago: Option<u64>,
    /// Milliseconds since it fell silent, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// How long the last call took, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Calls so far.
    pub calls: u64,
    /// Those that came to nothing.
    pub failures: u64,
    /// How often it has lost this hub's record before its time.
    pub lost: u64,
    /// Records there that no hub would write.
    pub unreadable: usize,
    /// Hubs beyond the most that are known.
    pub left_out: usize,
    /// Whether this hub's record stands there.
    pub own: bool,
    /// Whether this hub has an address to tell.
    pub tells: bool,
    /// Whether it answers and does not take this hub's record.
    pub unwritten: bool,
    /// Where somebody else says to be who writes this hub's record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// The other hubs that are known from it.
    pub hubs: Vec<HubKnown>,
    /// What came of the last call, when that was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A hub that is known from the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubKnown {
    /// Its name.
    pub hub: String,
    /// Where it is reached.
    pub addrs: Vec<String>,
    /// Which run of it.
    pub epoch: u64,
    /// Of how many tunnels it has agents.
    pub tunnels: usize,
    /// Milliseconds since the store answers without it, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_ms: Option<u64>,
}

impl RegistryStatus {
    /// What is wrong but not fatal.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let store = format!("the registry ({} at {})", self.kind, self.endpoint);
        let why = self.trouble.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let mut said = Vec::new();
        if let Some(silent) = self.silent_ms {
            let known = match self.hubs.len() {
                0 => "no hub is known from it".to_owned(),
                1 => "the hub that it told of stays known".to_owned(),
                count => format!("the {count} hubs that it told of stay known"),
            };
            said.push(format!("{store} has not answered for {} s{why}; {known}", silent / 1000));
        } else if self.unwritten {
            said.push(format!("{store} does not take this hub's record{why}: other hubs may not find it"));
        }
        if let Some(at) = &self.twin {
            let at = if at.is_empty() { "no address" } else { at };
            said.push(format!(
                "{store} has a record in this hub's name that somebody else writes, who is at {at}"
            ));
        }
        if self.left_out > 0 {
            said.push(format!("{store} tells of {} hubs more than can be known", self.left_out));
        }
        said
    }

    /// One line for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let answers = match (self.answers, self.answered_ms_ago) {
            (true, _) => {
                format!("answers in {:.1} ms", self.rtt_ms.unwrap_or_default())
            }
            (false, Some(ago)) => format!("has not answered for {} s", ago / 1000),
            (false, None) => "has not answered yet".into(),
        };
        let own = match (self.tells, self.own) {
            (true, true) => "this hub's record stands there",
            (true, false) => "this hub's record does not stand there",
            (false, _) => "this hub has no address to tell",
        };
        let hubs: Vec<String> = self.hubs.iter().map(HubKnown::words).collect();
        let hubs = if hubs.is_empty() { "no other hub".into() } else { hubs.join(", ") };
        format!("{} at {} {answers}; {own}; knows {hubs}", self.kind, self.endpoint)
    }
}

impl HubKnown {
    fn words(&self) -> String {
        let missing = self.missing_ms.map_or_else(String::new, |ms| format!(", missing for {} s", ms / 1000));
        format!("{} ({}{missing})", self.hub, self.addrs.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A redis that answers and knows one other hub.
    pub(crate) fn registry() -> RegistryStatus {
        RegistryStatus {
            kind: "redis".into(),
            endpoint: "10.0.4.30:6379".into(),
            prefix: "mainstay".into(),
            answers: true,
            answered_ms_ago: Some(40),
            rtt_ms: Some(0.4),
            calls: 90,
            failures: 2,
            own: true,
            tells: true,
            hubs: vec![HubKnown {
                hub: "edge-2".into(),
                addrs: vec!["10.0.4.21:7001".into()],
                epoch: 5,
                tunnels: 3,
                missing_ms: None,
            }],
            ..RegistryStatus::default()
        }
    }

    #[test]
    fn a_store_that_answers_is_a_line_and_one_that_is_silent_is_degraded() {
        let well = registry();
        let line = "redis at 10.0.4.30:6379 answers in 0.4 ms; this hub's record stands there; knows edge-2 (10.0.4.21:7001)";
        assert_eq!(well.sentence(), line);
        assert!(well.degraded().is_empty());
        let silent = RegistryStatus {
            answers: false,
            silent_ms: Some(12_300),
            answered_ms_ago: Some(12_300),
            trouble: Some("no answer within 1000 ms".into()),
            own: false,
            ..registry()
        };
        assert_eq!(
            silent.degraded(),
            [
                "the registry (redis at 10.0.4.30:6379) has not answered for 12 s: no answer within 1000 ms; the hub that it told of \
              stays known"
            ]
        );
        assert!(
            silent.sentence().contains("has not answered for 12 s; this hub's record does not stand there")
        );
        let odd = RegistryStatus { unwritten: true, twin: Some(String::new()), left_out: 2, ..registry() };
        assert_eq!(odd.degraded().len(), 3);
    }
}
