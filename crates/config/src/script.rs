//! Check scripts that stop keepalived to get rid of the address: the habit that `requires` replaces.

use regex_lite::Regex;

/// Where a script stops the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stops {
    /// Counted from 1.
    pub line: usize,
    /// The line, trimmed.
    pub text: String,
}

/// The two lines that do what such a script means to do.
pub const REPLACEMENT: &str = "let the script only look (exit 0 or 1), and write in the vip and in the probe:\n\
    requires = [\"nginx\"]\n\
    restart = { exec = [\"/usr/bin/systemctl\", \"restart\", \"nginx\"], tries = 1, wait = \"5s\" }";

/// The first line of a shell script that stops keepalived or mainstay, comments apart.
#[must_use]
pub fn stops_keepalived(script_text: &str) -> Option<Stops> {
    let daemon = r"(?:\S*/)?(?:keepalived|mainstay)(?:\.service)?";
    let patterns = [
        format!(r"\bservice\s+{daemon}\s+(?:stop|restart)\b"),
        format!(
            r"\bsystemctl\s+(?:-\S+\s+)*(?:stop|kill|restart|disable|mask)\s+(?:\S+\s+)*{daemon}(?:\s|;|$)"
        ),
        format!(r"\b(?:killall|pkill|skill)\s+(?:\S+\s+)*{daemon}\b"),
        format!(r"/init\.d/{daemon}\s+(?:stop|restart)\b"),
        format!(r"\brc-service\s+{daemon}\s+(?:stop|restart)\b"),
        format!(r"\bkill\s.*(?:pidof|pgrep|\.pid)?.*{daemon}"),
    ];
    let stops = patterns.map(|pattern| Regex::new(&pattern).expect("the patterns are fixed and compile"));
    script_text.lines().take(MOST_LINES).enumerate().find_map(|(nth, line)| {
        let code = line.split_once('#').map_or(line, |(code, _)| code).trim();
        let hit = stops.iter().any(|pattern| pattern.is_match(code));
        hit.then(|| Stops { line: nth + 1, text: code.chars().take(LONGEST_SHOWN).collect() })
    })
}

/// Longer files are no check scripts.
const MOST_LINES: usize = 10_000;
const LONGEST_SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_way_to_stop_the_daemon_is_seen() {
        for line in [
            "service keepalived stop",
            "systemctl stop keepalived",
            "systemctl --no-block stop keepalived.service",
            "  /usr/bin/systemctl stop nginx keepalived; exit 1",
            "killall -9 keepalived",
            "pkill keepalived",
            "/etc/init.d/keepalived stop",
            "kill $(pidof keepalived)",
            "kill `cat /var/run/keepalived.pid`",
            "test -f /run/x || systemctl stop mainstay",
        ] {
            let script = format!("#!/bin/sh\n{line}\n");
            assert_eq!(stops_keepalived(&script).map(|stops| stops.line), Some(2), "{line}");
        }
    }

    #[test]
    fn a_script_that_only_looks_is_left_in_peace() {
        for line in [
            "# systemctl stop keepalived",
            "systemctl status keepalived",
            "systemctl stop nginx",
            "service nginx start",
            "pgrep keepalived",
            "kill -0 $(cat /run/nginx.pid)",
            "/etc/keepalived/check_nginx.sh",
            "echo done > /var/log/keepalived.log",
        ] {
            assert_eq!(stops_keepalived(line), None, "{line}");
        }
    }
}
