//! Time namespaces: in one CLOCK_BOOTTIME may be shifted, while the clock that an eBPF program reads is the host's.

use crate::error::{Error, Result};

const OFFSETS: &str = "/proc/self/timens_offsets";

/// Refuses where the deadlines that we set and those that the eBPF gate compares would be of two clocks.
pub(super) fn same_clock() -> Result<()> {
    // A kernel without time namespaces has no such file.
    let offsets = std::fs::read_to_string(OFFSETS).unwrap_or_default();
    match flaw(&offsets) {
        None => Ok(()),
        Some(flaw) => Err(Error::Unsupported(flaw)),
    }
}

/// What speaks against it; lines are a clock, seconds and nanoseconds.
fn flaw(offsets: &str) -> Option<String> {
    let line = offsets.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    // 7 is CLOCK_BOOTTIME, as the file is written to.
    let of_boot = line.into_iter().find(|words| matches!(words[..], ["boottime" | "7", ..]))?;
    let number = |at: usize| of_boot.get(at).and_then(|word| word.parse::<i64>().ok());
    match (number(1), number(2)) {
        (Some(0), Some(0)) => None,
        (Some(seconds), Some(nanos)) => Some(format!(
            "this process is in a time namespace whose boot time is {seconds} s and {nanos} ns off the host's, which the \
             program would compare with"
        )),
        _ => Some(format!("this process may be in a time namespace: {OFFSETS} has no numbers for boottime")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_boot_time_that_is_shifted_speaks_against_the_gate() {
        for same in
            ["", "monotonic 0 0\nboottime 0 0\n", "monotonic 86400 5\nboottime           0         0\n"]
        {
            assert_eq!(flaw(same), None, "{same:?}");
        }
        for shifted in [
            "monotonic           0         0\nboottime      604800         0\n",
            "boottime -1 999999999\nmonotonic 0 0\n",
            "boottime 0 1",
            "7 1 0",
        ] {
            let why = flaw(shifted).unwrap();
            assert!(why.starts_with("this process is in a time namespace "), "{why}");
        }
        assert!(flaw("boottime 604800 0").unwrap().contains("604800 s"));
    }

    #[test]
    fn numbers_that_cannot_be_read_are_taken_for_a_shift() {
        for odd in ["boottime", "boottime 0", "boottime x 0", "boottime 99999999999999999999 0"] {
            assert!(flaw(odd).unwrap().contains("may be in a time namespace"), "{odd:?}");
        }
    }
}
