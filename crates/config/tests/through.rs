//! What is refused of a probe that looks through a vip.

mod finding;

use finding::{assert_finding, no_env, refused};
use mainstay_config::{Checks, parse_str};

/// A vip with a line more, in line 6, and a probe that begins in line 7.
fn with(line: &str, probe: &str) -> String {
    format!(
        "[[vip]]\nname = \"front\"\naddrs = [\"10.0.4.99\"]\ninterface = \"eth0\"\nvrid = \
         51\n{line}\n[[probe]]\nname = \"x\"\n{probe}\n"
    )
}

#[test]
fn a_probe_through_a_vip_names_one_moves_nothing_and_looks_at_no_part_of_this_host() {
    let through = "through = \"front\"\ntcp = \"10.0.4.99:80\"";
    assert!(parse_str("t.toml", &with("", through), &no_env, Checks::NONE).is_ok());
    assert_finding(&with("", &through.replace("front", "frnt")), 9, "there is no vip \"frnt\"", "front");
    assert_finding(
        &with("requires = [\"x\"]", through),
        9,
        "depends on probe \"x\", which looks through a vip",
        "keep this one for the alarm",
    );
    let process = "through = \"front\"\nprocess = \"nginx\"";
    assert_finding(&with("", process), 10, "`process` means nothing here", "take `process` out");
    let told = "tcp = \"10.0.4.99:80\"\nnotify = [{ exec = [\"/bin/true\"] }]";
    let report = refused(&with("", told)).to_string();
    assert!(report.contains("belongs to probes with `through`"), "{report}");
}
