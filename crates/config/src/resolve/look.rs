//! How the targets of an agent's offer are looked at.

use std::time::Duration;

use super::probe::TIMEOUT;
use super::{HOUR, Resolver};
use crate::plan::agent::Look;
use crate::raw;
use crate::source::At;

const USUAL: Look = Look {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    // An agent is one of several, as a rule: one look that fails is enough to prefer the others.
    fall: 1,
    rise: 1,
    http: None,
};
const SHORTEST: Duration = Duration::from_millis(50);
/// What a look gets that nobody gave a timeout.
const LONGEST_DEFAULT: Duration = Duration::from_secs(3);

impl Resolver<'_> {
    /// How targets are looked at; nothing when they are not.
    pub(super) fn look(&mut self, raw: &raw::Offer, who: &str) -> Option<Look> {
        let Some(At { value: probe, .. }) = &raw.probe else { return Some(USUAL) };
        let who = &format!("{who}: probe");
        if let Some(At { value: false, .. }) = probe.tcp {
            let others = [
                ("interval", probe.interval.as_ref().map(|at| at.span)),
                ("timeout", probe.timeout.as_ref().map(|at| at.span)),
                ("fall", probe.fall.as_ref().map(|at| at.span)),
                ("rise", probe.rise.as_ref().map(|at| at.span)),
                ("http", probe.http.as_ref().map(|at| at.span)),
            ];
            for (key, span) in others.into_iter().filter_map(|(key, span)| Some((key, span?))) {
                self.error(span, format!("{who}: `{key}` means nothing with tcp = false"), "take it out");
            }
            return None;
        }
        let interval = self.time(&probe.interval, USUAL.interval, SHORTEST..=HOUR, who, "interval");
        let timeout = self.time(&probe.timeout, interval.min(LONGEST_DEFAULT), TIMEOUT, who, "timeout");
        let fall = self.count(&probe.fall, 1, 1..=1000, who, "fall");
        let rise = self.count(&probe.rise, 1, 1..=1000, who, "rise");
        let http = self.page_of(probe, who);
        Some(Look { interval, timeout, fall, rise, http })
    }

    fn page_of(&mut self, probe: &raw::OfferProbe, who: &str) -> Option<crate::plan::HttpCheck> {
        let Some(path) = &probe.http else {
            for (key, span) in [
                ("method", probe.method.as_ref().map(|at| at.span)),
                ("host", probe.host.as_ref().map(|at| at.span)),
                ("status", probe.status.as_ref().map(|at| at.span)),
                ("body", probe.body.as_ref().map(|at| at.span)),
            ] {
                self.foreign(span, key, "http", who);
            }
            return None;
        };
        if let Some(At { value: true, span }) = probe.tcp {
            self.error(span, format!("{who}: `tcp` is a part of `http`"), "take `tcp` out");
        }
        if !path.value.starts_with('/') || path.value.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            let message = format!("{who}: http \"{}\" is not a path", path.value.escape_debug());
            self.error(path.span, message, "write such as http = \"/healthz\"");
        }
        let [method, host, body] = [&probe.method, &probe.host, &probe.body].map(Option::as_ref);
        Some(self.http_words(method, host, body, probe.status.as_ref(), path.value.clone(), who))
    }
}
