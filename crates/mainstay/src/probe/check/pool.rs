//! A check of a pool: how many of its backends are usable, from what their own probes say.
//!
//! A backend without a probe is usable unless it is written down as `down`. As long as verdicts are missing that could turn the
//! balance, the check finds nothing out.

use mainstay_core::election::Verdict;
use mainstay_core::name::ProbeId;
use mainstay_core::probe::Finding;

use super::Report;

/// A pool, seen as a set of probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Members {
    /// So many must be usable.
    pub(in crate::probe) min: u32,
    /// Those without a probe.
    pub(in crate::probe) unprobed: u32,
    /// Those that are `down`.
    pub(in crate::probe) down: u32,
    /// The probes of the others.
    pub(in crate::probe) probes: Vec<ProbeId>,
}

impl Members {
    /// Counts and judges.
    pub(in crate::probe) fn judge(&self, verdict: impl Fn(ProbeId) -> Verdict) -> Report {
        let (mut up, mut down, mut open) = (self.unprobed, self.down, 0_u32);
        for probe in &self.probes {
            match verdict(*probe) {
                Verdict::Up => up += 1,
                Verdict::Down => down += 1,
                Verdict::Pending | Verdict::Unknown => open += 1,
            }
        }
        let total = up + down + open;
        let not_known = if open > 0 { format!(", {open} not known") } else { String::new() };
        let detail = format!("{up} of {total} backends are usable{not_known}, {} needed", self.min);
        let finding = if up >= self.min {
            Finding::Passed
        } else if up + open >= self.min {
            Finding::Lost
        } else {
            Finding::Failed
        };
        Report { finding, detail, pids: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_decides_nothing() {
        let members = Members { min: 2, unprobed: 1, down: 1, probes: vec![ProbeId(0), ProbeId(1)] };
        let judge =
            |first, second| members.judge(|probe| if probe == ProbeId(0) { first } else { second }).finding;
        assert_eq!(judge(Verdict::Up, Verdict::Pending), Finding::Passed);
        assert_eq!(judge(Verdict::Down, Verdict::Pending), Finding::Lost);
        assert_eq!(judge(Verdict::Down, Verdict::Unknown), Finding::Lost);
        assert_eq!(judge(Verdict::Down, Verdict::Down), Finding::Failed);
    }
}
