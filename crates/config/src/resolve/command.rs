//! Commands: a program by its absolute path, its arguments, its user and its deadline.

use std::ops::RangeInclusive;
use std::time::Duration;

use mainstay_core::name::CommandId;

use super::{HOUR, Resolver};
use crate::access::{self, Access};
use crate::plan::Command;
use crate::script::{self, Stops};
use crate::source::{At, Span};

/// A command that takes longer is stuck.
pub(super) const COMMAND_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;

impl Resolver<'_> {
    /// The user to run as: the named one, or `[node] script_user`, or `mainstay`, or `nobody`.
    pub(super) fn user(&mut self, user: Option<&At<String>>, who: &str) -> String {
        let Some(user) = user else {
            if !self.script_user.is_empty() {
                return self.script_user.clone();
            }
            let nobody = self.checks.users && access::user("mainstay").is_none();
            return if nobody { "nobody" } else { "mainstay" }.to_owned();
        };
        if self.checks.users && access::user(&user.value).is_none() {
            let message = format!("{who}: there is no user \"{}\" on this host", user.value);
            let help = format!("create it with `useradd --system {}`, or name another user", user.value);
            self.error(user.span, message, help);
        }
        user.value.clone()
    }

    /// The index of a command; equal commands share one.
    pub(super) fn command(
        &mut self,
        argv: &At<Vec<At<String>>>,
        user: String,
        timeout: Duration,
        who: &str,
    ) -> CommandId {
        let Some(program) = argv.value.first() else {
            self.error(argv.span, format!("{who}: the command is empty"), "write [\"/path/to/program\"]");
            return CommandId(0);
        };
        if let Some(argument) = argv.value.iter().find(|a| a.value.contains('\0')) {
            self.error(argument.span, format!("{who}: an argument has a zero byte"), "take it out");
        }
        if !program.value.starts_with('/') {
            let message = format!("{who}: \"{}\" is not an absolute path", program.value);
            let help = "write the whole path, such as \"/usr/bin/pgrep\"; no shell and no PATH is used";
            self.error(program.span, message, help);
        } else if self.checks.files
            && program.value.contains(' ')
            && !std::path::Path::new(&program.value).exists()
        {
            let words: Vec<String> =
                program.value.split_whitespace().map(|word| format!("\"{word}\"")).collect();
            let message = format!("{who}: \"{}\" does not exist", program.value);
            let help = format!("each argument is a text of its own: [{}]", words.join(", "));
            self.error(program.span, message, help);
        } else if self.checks.files {
            self.executable(program, &user, who);
        }
        let argv = argv.value.iter().map(|argument| argument.value.clone()).collect();
        self.intern(Command { argv, user: Some(user), timeout })
    }

    pub(super) fn intern(&mut self, command: Command) -> CommandId {
        if let Some(id) = self.command_ids.get(&command) {
            return *id;
        }
        let id =
            CommandId(u32::try_from(self.commands.len()).expect("256 files of 1 MiB have fewer commands"));
        self.commands.push(command.clone());
        self.command_ids.insert(command, id);
        id
    }

    /// The program can be run by the user, as can the interpreter that a script names.
    fn executable(&mut self, program: &At<String>, user: &str, who: &str) {
        let account = if self.checks.users { access::user(user) } else { None };
        match access::executable(&program.value, account.as_ref()) {
            Access::Ok => {}
            Access::Unknown(why) => {
                let message = format!("{who}: {} can't be looked at: {why}", program.value);
                self.findings.warn(program.span, message, "run this check as root to be sure");
            }
            Access::Refused { message, help } => self.error(program.span, format!("{who}: {message}"), help),
            Access::Dubious { message, help } => {
                self.findings.warn(program.span, format!("{who}: {message}"), help);
            }
        }
    }

    /// Warns of a check that stops the daemon to move an address.
    pub(super) fn stopping_script(&mut self, argv: &At<Vec<At<String>>>, who: &str) {
        let mut texts: Vec<(Span, String)> = vec![(argv.span, joined(&argv.value))];
        if self.checks.files {
            let script = |word: &At<String>| access::script_text(&word.value).map(|text| (word.span, text));
            texts.extend(argv.value.iter().filter_map(script));
        }
        for (span, text) in texts {
            if let Some(Stops { line, text }) = script::stops_keepalived(&text) {
                let message = format!(
                    "{who}: the script stops the daemon to move the address (its line {line}: `{text}`)"
                );
                self.findings.warn(span, message, script::REPLACEMENT);
                return;
            }
        }
    }
}

fn joined(argv: &[At<String>]) -> String {
    let words: Vec<&str> = argv.iter().map(|word| word.value.as_str()).collect();
    words.join(" ")
}
