//! What is understood of the scripts that files name.

use super::*;

#[test]
fn the_usual_ways_to_count_a_process_are_read() {
    for line in [
        "if [ `ps -C nginx --no-header | wc -l` -eq 0 ]; then",
        "counter=$(ps -C nginx --no-heading|wc -l)",
        "if ! pidof nginx >/dev/null; then",
        "pgrep -x nginx || exit 1",
        "killall -0 nginx",
    ] {
        let seen = Seen::of(&format!("#!/bin/sh\n{line}\nfi\n"));
        assert_eq!((seen.process.as_deref(), seen.stranger), (Some("nginx"), None), "{line}");
    }
}

#[test]
fn the_command_that_starts_the_service_is_kept_with_its_full_path() {
    for (line, argv) in [
        ("service nginx start", ["/usr/sbin/service", "nginx", "start"]),
        ("systemctl restart nginx.service", ["/usr/bin/systemctl", "restart", "nginx.service"]),
    ] {
        assert_eq!(Seen::of(line).start.expect("it starts something"), argv);
    }
    assert_eq!(Seen::of("service keepalived start").start, None);
}

#[test]
fn a_program_whose_part_is_not_understood_is_a_stranger() {
    assert_eq!(Seen::of("#!/bin/sh\ncurl -f http://x/ || exit 1\n").stranger.as_deref(), Some("curl"));
    assert_eq!(Seen::of("# curl\nif [ \"$x\" = 0 ]; then\necho curl\nfi\n").stranger, None);
}

#[test]
fn the_longest_sleep_counts() {
    assert_eq!(Seen::of("sleep 1\nsleep 5; sleep 0.5\n").longest_sleep(), Some((2, Duration::from_secs(5))));
}
