//! Weights that can never cause a failover are refused: an operator who wrote one believes that he is protected.
//!
//! What other nodes have in their files is not known here. Only what holds whatever they have is refused: the
//! active node that does not get the vip taken away, and the priority that does not move.

use mainstay_core::election::Weight;
use mainstay_core::name::ProbeId;

use super::Resolver;
use crate::raw;
use crate::source::{At, Span};

/// What a weighted priority is held between (RFC 9568 5.2.4: 0 and 255 have meanings of their own).
const LOWEST: i32 = 1;
const HIGHEST: i32 = 254;
/// More is a mistake.
const MOST_WEIGHTS: usize = 64;

/// What of the vip bears on its weights.
pub(super) struct Stand<'a> {
    pub(super) who: &'a str,
    pub(super) priority: u8,
    pub(super) preempt: bool,
    pub(super) requires: &'a [ProbeId],
}

impl Resolver<'_> {
    pub(super) fn weights(
        &mut self,
        list: Option<&At<Vec<At<raw::Weight>>>>,
        stand: &Stand<'_>,
    ) -> Vec<Weight> {
        let Some(list) = list else { return Vec::new() };
        if list.value.len() > MOST_WEIGHTS {
            let message = format!("{}: more than {MOST_WEIGHTS} weights", stand.who);
            self.error(list.span, message, "join probes, or write requires = [...]");
            return Vec::new();
        }
        let mut weights: Vec<(Weight, Span, String)> = Vec::new();
        for At { value: raw, span } in &list.value {
            let who = format!("{}: weights", stand.who);
            let probe = self.required(&raw.probe, &raw.head, &who, "probe");
            let weight = self.required(&raw.weight, &raw.head, &who, "weight");
            let weight = self.number(&weight, 1, -253..=253, &who, "weight");
            let weight = i16::try_from(weight).unwrap_or(1);
            let Some((id, name)) = probe.and_then(|probe| Some((self.probe_id(&probe, &who)?, probe.value)))
            else {
                continue;
            };
            if weights.iter().any(|(other, ..)| other.probe == id) {
                let message = format!("{who}: probe \"{name}\" has two weights");
                self.error(*span, message, "add them up in one entry");
                continue;
            }
            let reverse = raw.reverse.as_ref().is_some_and(|reverse| reverse.value);
            weights.push((Weight { probe: id, weight, reverse }, *span, name));
        }
        for at in 0..weights.len() {
            if let Some(why) = trap(&weights, at, stand) {
                let (weight, span, name) = &weights[at];
                let message = format!(
                    "{}: weight {} of probe \"{name}\" can never cause a failover: {why}",
                    stand.who, weight.weight
                );
                let help = format!("write requires = [\"{name}\"]: the vip is given up when the probe fails");
                self.error(*span, message, help);
            }
        }
        weights.into_iter().map(|(weight, ..)| weight).collect()
    }
}

/// Why a weight moves nothing.
fn trap(weights: &[(Weight, Span, String)], at: usize, stand: &Stand<'_>) -> Option<String> {
    let (weight, _, name) = &weights[at];
    let priority = i32::from(stand.priority);
    if weight.weight == 0 {
        return Some("it adds nothing to the priority".to_owned());
    }
    if stand.priority == 255 {
        return Some(
            "the owner of an address (priority 255) keeps its priority whatever its probes say".to_owned(),
        );
    }
    if stand.requires.contains(&weight.probe) {
        return Some(format!(
            "\"{name}\" is in `requires` as well, so the vip is gone before the priority matters"
        ));
    }
    if !stand.preempt {
        let (before, after) = before_and_after(*weight, priority);
        return Some(format!(
            "the priority moves from {before} to {after}, but with preempt = false a backup takes over only when the \
             active node falls silent, and this one goes on sending adverts"
        ));
    }
    let others =
        weights.iter().enumerate().filter(|(nth, _)| *nth != at).map(|(_, (other, ..))| change(*other));
    stuck(priority, change(*weight), others).map(|stays| {
        format!("the priority is held between 1 and 254 and stays {stays} whether the probe is up or down")
    })
}

/// What is added while the weight counts: a positive one while its probe is up, a negative one while it is down.
fn change(weight: Weight) -> i32 {
    let by = i32::from(weight.weight);
    if weight.reverse { -by } else { by }
}

/// The priority before and after the probe fails.
fn before_and_after(weight: Weight, priority: i32) -> (i32, i32) {
    let plain = held(priority);
    let moved = held(priority + change(weight));
    if weight.weight > 0 { (moved, plain) } else { (plain, moved) }
}

/// The limit that the priority never leaves by this change, wherever the others bring it.
fn stuck(priority: i32, change: i32, others: impl Iterator<Item = i32>) -> Option<i32> {
    let (mut least, mut most) = (priority, priority);
    for other in others {
        least += other.min(0);
        most += other.max(0);
    }
    if most + change.max(0) <= LOWEST {
        Some(LOWEST)
    } else if least + change.min(0) >= HIGHEST {
        Some(HIGHEST)
    } else {
        None
    }
}

fn held(priority: i32) -> i32 {
    priority.clamp(LOWEST, HIGHEST)
}
