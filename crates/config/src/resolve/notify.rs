//! Who is told of changes, and what runs only on the holder.

use std::path::Path;
use std::time::Duration;

use super::command::COMMAND_TIMEOUT;
use super::{Resolver, SECOND};
use crate::plan::{Notify, NotifyHow, NotifyOn, Owned};
use crate::raw;
use crate::source::{At, Span};
use crate::values::OnWord;

/// Scripts of operators may talk to a cloud's API, which takes its time.
const EXEC_TIMEOUT: Duration = Duration::from_secs(60);
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// A service that starts within this long is the usual case.
const OWNS_TIMEOUT: Duration = Duration::from_secs(30);
const WEBHOOK_RETRIES: u8 = 3;
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

impl Resolver<'_> {
    pub(super) fn notify(&mut self, list: Option<&At<Vec<At<raw::Notify>>>>, who: &str) -> Vec<Notify> {
        let entries = list.into_iter().flat_map(|list| &list.value);
        entries.filter_map(|entry| self.notify_entry(entry, &format!("{who}: notify"))).collect()
    }

    fn notify_entry(&mut self, entry: &At<raw::Notify>, who: &str) -> Option<Notify> {
        let At { value: raw, span } = entry;
        let on = raw.on.iter().flat_map(|on| &on.value).map(|word| match word.value {
            OnWord::Active => NotifyOn::Active,
            OnWord::Backup => NotifyOn::Backup,
            OnWord::Fault => NotifyOn::Fault,
            OnWord::Stop => NotifyOn::Stop,
            OnWord::Conflict => NotifyOn::Conflict,
            OnWord::Unusable => NotifyOn::Unusable,
        });
        let on = on.collect();
        let wants_mail = raw.mail.as_ref().is_some_and(|mail| mail.value);
        let how = match (&raw.exec, &raw.webhook, wants_mail) {
            (Some(exec), None, false) => self.notify_exec(raw, exec, who),
            (None, Some(url), false) => self.notify_webhook(raw, url, who),
            (None, None, true) => self.notify_mail(raw, *span, who),
            (None, None, false) | (Some(_), Some(_), _) | (Some(_), None, true) | (None, Some(_), true) => {
                let help =
                    "write exactly one of exec = [\"/path\"], webhook = \"https://...\" and mail = true";
                self.error(*span, format!("{who}: an entry tells somebody in exactly one way"), help);
                return None;
            }
        };
        Some(Notify { on, how })
    }

    fn notify_exec(&mut self, raw: &raw::Notify, exec: &At<Vec<At<String>>>, who: &str) -> NotifyHow {
        self.foreign(raw.headers.as_ref().map(|v| v.span), "headers", "webhook", who);
        self.foreign(raw.retries.as_ref().map(|v| v.span), "retries", "webhook", who);
        let timeout = self.time(&raw.timeout, EXEC_TIMEOUT, COMMAND_TIMEOUT, who, "timeout");
        let user = self.user(raw.user.as_ref(), who);
        let command = self.command(exec, user, timeout, who);
        NotifyHow::Exec { command, args: raw.args.as_ref().is_some_and(|args| args.value) }
    }

    fn notify_webhook(&mut self, raw: &raw::Notify, url: &At<String>, who: &str) -> NotifyHow {
        self.foreign(raw.user.as_ref().map(|v| v.span), "user", "exec", who);
        self.foreign(raw.args.as_ref().map(|v| v.span), "args", "exec", who);
        self.url(url, who);
        let mut headers = Vec::new();
        for (name, secret) in raw.headers.iter().flat_map(|headers| &headers.value.0) {
            let Some(value) = self.secret(secret, who, name) else { continue };
            if value.contains(|c: char| c.is_control() && c != '\t') {
                let message = format!("{who}: the value of header {name} has a line end in it");
                self.error(secret.span, message, "write it in one line");
            }
            headers.push((name.clone(), value));
        }
        NotifyHow::Webhook {
            url: url.value.clone(),
            headers,
            timeout: self.time(&raw.timeout, WEBHOOK_TIMEOUT, COMMAND_TIMEOUT, who, "timeout"),
            retries: self.byte(&raw.retries, WEBHOOK_RETRIES, 0, who, "retries"),
        }
    }

    fn notify_mail(&mut self, raw: &raw::Notify, span: Span, who: &str) -> NotifyHow {
        self.foreign(raw.user.as_ref().map(|v| v.span), "user", "exec", who);
        self.foreign(raw.args.as_ref().map(|v| v.span), "args", "exec", who);
        self.foreign(raw.headers.as_ref().map(|v| v.span), "headers", "webhook", who);
        self.foreign(raw.retries.as_ref().map(|v| v.span), "retries", "webhook", who);
        self.foreign(
            raw.timeout.as_ref().map(|v| v.span),
            "timeout",
            "exec or webhook; [mail] has its own",
            who,
        );
        if !self.has_mail {
            let help = "write [mail] with smtp = \"localhost:25\", from = \"...\" and to = [\"...\"]";
            self.error(span, format!("{who}: there is no [mail] that says where e-mail goes"), help);
        }
        NotifyHow::Mail
    }

    /// Refuses a key that means nothing beside the others.
    pub(super) fn foreign(&mut self, span: Option<Span>, key: &str, belongs_to: &str, who: &str) {
        if let Some(span) = span {
            let message = format!("{who}: `{key}` means nothing here, it belongs to {belongs_to}");
            self.error(span, message, format!("take `{key}` out"));
        }
    }

    pub(super) fn owns(&mut self, list: Option<&At<Vec<At<raw::Owns>>>>, who: &str) -> Vec<Owned> {
        let entries = list.into_iter().flat_map(|list| &list.value);
        entries.filter_map(|entry| self.owned(entry, &format!("{who}: owns"))).collect()
    }

    fn owned(&mut self, entry: &At<raw::Owns>, who: &str) -> Option<Owned> {
        let At { value: raw, span } = entry;
        let range = SECOND..=*COMMAND_TIMEOUT.end();
        let timeout = self.time(&raw.timeout, OWNS_TIMEOUT, range, who, "timeout");
        let user = raw.user.as_ref().map_or_else(|| "root".to_owned(), |user| self.user(Some(user), who));
        match (&raw.unit, &raw.start, &raw.stop) {
            (Some(unit), None, None) => {
                let start = self.systemctl("start", unit, &user, who);
                let stop = self.systemctl("stop", unit, &user, who);
                Some(Owned {
                    name: unit.value.clone(),
                    start: self.command(&start, user.clone(), timeout, who),
                    stop: self.command(&stop, user, timeout, who),
                })
            }
            (None, Some(start), Some(stop)) => {
                let words: Vec<&str> = start.value.iter().map(|word| word.value.as_str()).collect();
                Some(Owned {
                    name: words.join(" "),
                    start: self.command(start, user.clone(), timeout, who),
                    stop: self.command(stop, user, timeout, who),
                })
            }
            _ => {
                let help = "write { unit = \"x.service\" }, or { start = [\"/path\"], stop = [\"/path\"] }";
                self.error(*span, format!("{who}: an entry is a unit, or a start and a stop command"), help);
                None
            }
        }
    }

    /// The command line that starts or stops a unit.
    fn systemctl(&mut self, verb: &str, unit: &At<String>, user: &str, who: &str) -> At<Vec<At<String>>> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if unit.value.is_empty() || unit.value.starts_with('-') || unit.value.contains(odd) {
            let message = format!("{who}: \"{}\" is not the name of a unit", unit.value.escape_debug());
            self.error(unit.span, message, "write it as systemctl shows it, such as \"nginx.service\"");
        }
        if user != "root" && verb == "start" {
            let message = format!("{who}: user {user} may not start units");
            self.findings.warn(unit.span, message, "leave out `user`, or allow it in polkit");
        }
        let present = SYSTEMCTL.iter().find(|path| self.checks.files && Path::new(path).exists());
        let program = present.unwrap_or(&SYSTEMCTL[0]);
        let word = |text: &str| At::new(text.to_owned(), unit.span);
        At::new(vec![word(program), word(verb), word(&unit.value)], unit.span)
    }
}
