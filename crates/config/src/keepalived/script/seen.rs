//! What stands in a check script, as far as lines and words tell: no shell is run and none is imitated.

use std::time::Duration;

use crate::script::stops_keepalived;

/// Longer files are no check scripts.
const MOST_LINES: usize = 2000;
/// Programs that a script which only counts, starts and gives up has use for.
const PLAIN: &str = "test echo printf exit return true false set grep egrep wc awk sed tr cut head tail sort \
    logger date cat if then elif else fi for in do done while until case esac local export";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The line that stops keepalived.
    pub(super) stops: Option<usize>,
    /// The process that it counts.
    pub(super) process: Option<String>,
    /// The command that starts a service.
    pub(super) start: Option<Vec<String>>,
    /// A program whose part is not understood.
    pub(super) stranger: Option<String>,
    sleeps: Vec<(usize, Duration)>,
}

impl Seen {
    /// Reads a script.
    pub(super) fn of(text: &str) -> Seen {
        let stops = stops_keepalived(text).map(|stops| stops.line);
        let mut seen = Seen { stops, ..Seen::default() };
        for (at, line) in text.lines().take(MOST_LINES).enumerate() {
            let code = line.trim();
            if code.starts_with('#') {
                continue;
            }
            for command in code.split([';', '|', '&', '(', ')', '`']) {
                let words = command.split_whitespace().filter(|word| !word.contains(['<', '>']));
                let words = words.skip_while(|word| {
                    ["if", "then", "else", "do", "!", "sudo", "while", "elif"].contains(word)
                });
                let words: Vec<&str> =
                    words.map(|word| word.trim_matches(['"', '\'', '$', '{', '}'])).collect();
                seen.command(&words, at + 1);
            }
        }
        seen
    }

    /// The longest time that it sleeps in one go, and where.
    pub(super) fn longest_sleep(&self) -> Option<(usize, Duration)> {
        self.sleeps.iter().copied().max_by_key(|(_, sleep)| *sleep)
    }

    fn command(&mut self, words: &[&str], line: usize) {
        let Some((first, rest)) = words.split_first() else { return };
        let program = first.rsplit('/').next().unwrap_or_default();
        let init_script = first.starts_with("/etc/init.d/") || first.starts_with("/etc/rc.d/init.d/");
        match (program, rest) {
            ("service", [service, verb, ..]) => self.service(first, rest, service, verb),
            ("systemctl", [verb, service, ..]) => self.service(first, rest, service, verb),
            (name, [verb, ..]) if init_script => self.service(first, rest, name, verb),
            _ => self.program(program, rest, line),
        }
    }

    fn service(&mut self, first: &str, rest: &[&str], service: &str, verb: &str) {
        if self.start.is_some() || service.starts_with("keepalived") || !["start", "restart"].contains(&verb)
        {
            return;
        }
        let program = match first {
            "service" => "/usr/sbin/service",
            "systemctl" => "/usr/bin/systemctl",
            other => other,
        };
        let words = std::iter::once(program).chain(rest.iter().copied().take(2));
        self.start = Some(words.map(str::to_owned).collect());
    }

    fn program(&mut self, program: &str, rest: &[&str], line: usize) {
        let last = || rest.iter().rev().copied().find(|word| !word.starts_with('-'));
        match program {
            "killall" | "pkill" if rest.iter().any(|word| ["-0", "-s0"].contains(word)) => {
                self.counts(last())
            }
            "killall" | "pkill" | "kill" | "skill" => {}
            "pidof" | "pgrep" => self.counts(last()),
            "ps" => {
                let at = rest.iter().position(|word| *word == "-C");
                self.counts(at.and_then(|at| rest.get(at + 1)).copied());
            }
            "sleep" => {
                let seconds = rest.first().and_then(|word| word.trim_end_matches('s').parse::<f64>().ok());
                let seconds = seconds.filter(|seconds| (0.0..=86400.0).contains(seconds));
                self.sleeps.extend(seconds.map(|seconds| (line, Duration::from_secs_f64(seconds))));
            }
            "" => {}
            other
                if !other.starts_with(|c: char| c.is_ascii_alphabetic())
                    || other.contains(['=', '>', '<', '"']) => {}
            other if PLAIN.split_ascii_whitespace().any(|plain| plain == other) => {}
            other => self.stranger = self.stranger.take().or_else(|| Some(other.to_owned())),
        }
    }

    fn counts(&mut self, name: Option<&str>) {
        let named = |name: &&str| {
            !name.is_empty()
                && !name.starts_with("keepalived")
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c))
        };
        if self.process.is_none() {
            self.process = name.filter(named).map(str::to_owned);
        }
    }
}
