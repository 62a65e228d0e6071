//! The registry's families.

use super::Families;
use crate::status::Status;

pub(super) fn add(families: &mut Families, status: &Status) {
    let Some(of) = &status.registry else { return };
    let kind = [("kind", of.kind.as_str())];
    let flag = |on: bool| if on { "1" } else { "0" };
    families.add("registry_answers", "gauge", &kind, flag(of.answers));
    families.add("registry_calls_total", "counter", &kind, &of.calls.to_string());
    families.add("registry_failures_total", "counter", &kind, &of.failures.to_string());
    families.add("registry_hubs", "gauge", &kind, &of.hubs.len().to_string());
    families.add("registry_lost_total", "counter", &kind, &of.lost.to_string());
    families.add("registry_own_stands", "gauge", &kind, flag(of.own));
    if let Some(rtt) = of.rtt_ms {
        families.add("registry_rtt_seconds", "gauge", &kind, &format!("{:.6}", rtt / 1000.0));
    }
    families.add("registry_unreadable", "gauge", &kind, &of.unreadable.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::registry_tests;

    #[test]
    fn the_registry_has_its_samples_once_and_none_when_there_is_none() {
        let mut status = Status::empty("edge-1");
        assert!(!super::super::render(&status).contains("mainstay_registry_"));
        status.registry = Some(registry_tests::registry());
        let page = super::super::render(&status);
        for sample in [
            "mainstay_registry_answers{kind=\"redis\"} 1",
            "mainstay_registry_calls_total{kind=\"redis\"} 90",
            "mainstay_registry_failures_total{kind=\"redis\"} 2",
            "mainstay_registry_hubs{kind=\"redis\"} 1",
            "mainstay_registry_lost_total{kind=\"redis\"} 0",
            "mainstay_registry_own_stands{kind=\"redis\"} 1",
            "mainstay_registry_rtt_seconds{kind=\"redis\"} 0.000400",
            "mainstay_registry_unreadable{kind=\"redis\"} 0",
        ] {
            assert_eq!(page.lines().filter(|line| *line == sample).count(), 1, "{sample}: {page}");
        }
    }
}
