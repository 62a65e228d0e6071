//! A draft becomes text: readable, in the order of docs/reference/config.md, the same for the same input.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::draft::{Addr, Check, Draft, Globals, Group, Notify, Probe, Vip};
use super::report::Report;
use crate::import::quote;
use crate::values::written;

/// Writes the whole configuration.
pub(super) fn toml(draft: &Draft, path: &Path, report: &Report) -> String {
    let mut out = Out::default();
    out.comment(&format!("Imported from {}.", path.display()));
    node(draft, report, &mut out);
    mail(draft, &mut out);
    for vip in &draft.vips {
        one_vip(vip, draft, report, &mut out);
    }
    for group in &draft.groups {
        one_group(group, draft, report, &mut out);
    }
    for probe in &draft.probes {
        one_probe(probe, report, &mut out);
    }
    out.text
}

fn list(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| quote(word.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

fn time(time: Duration) -> String {
    quote(&written(time))
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn comment(&mut self, text: &str) {
        for line in text.lines() {
            let clean: String = line.chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(self.text, "# {clean}");
        }
    }

    fn table(&mut self, header: &str, origin: &str) {
        let clean: String = origin.chars().filter(|c| !c.is_control()).collect();
        let origin = if clean.is_empty() { clean } else { format!("  # {clean}") };
        let _ = writeln!(self.text, "\n{header}{origin}");
    }

    fn key(&mut self, key: &str, value: impl AsRef<str>) {
        let _ = writeln!(self.text, "{key} = {}", value.as_ref());
    }

    fn maybe(&mut self, key: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }
}

fn node(draft: &Draft, report: &Report, out: &mut Out) {
    let globals = &draft.globals;
    let commands = draft.probes.iter().any(|probe| matches!(probe.check, Check::Exec(_)))
        || draft.vips.iter().any(|vip| !vip.notify.is_empty())
        || draft.groups.iter().any(|group| !group.notify.is_empty());
    let user = globals.script_user.as_ref().filter(|_| commands);
    if globals.id.is_none() && globals.start_delay.is_none() && user.is_none() {
        return;
    }
    out.table("[node]", &globals.id.as_ref().map_or(String::new(), |(_, pos)| report.place(*pos)));
    out.maybe("id", globals.id.as_ref().map(|(id, _)| quote(id)));
    out.maybe("script_user", user.map(|user| quote(user)));
    out.maybe("start_delay", globals.start_delay.map(time));
}

/// Whether a vip or group asks for mail, and there is somebody to send it to.
fn mails(alert: Option<bool>, globals: &Globals) -> bool {
    let wanted = alert.or(globals.alert_vrrp).or(globals.alert).unwrap_or(false);
    wanted && !globals.mail_to.is_empty()
}

fn mail(draft: &Draft, out: &mut Out) {
    let globals = &draft.globals;
    let used = draft.vips.iter().any(|vip| mails(vip.alert, globals))
        || draft.groups.iter().any(|group| mails(group.alert, globals));
    if !used {
        return;
    }
    out.table("[mail]", "");
    out.key("smtp", quote(globals.smtp.as_deref().unwrap_or("127.0.0.1:25")));
    out.maybe("helo", globals.smtp_helo.as_ref().map(|helo| quote(helo)));
    out.key("from", quote(globals.mail_from.as_deref().unwrap_or("keepalived@localhost")));
    out.key("to", list(&globals.mail_to));
    out.maybe("timeout", globals.smtp_timeout.map(time));
}

fn one_vip(vip: &Vip, draft: &Draft, report: &Report, out: &mut Out) {
    out.table("[[vip]]", &report.place(vip.pos));
    out.key("name", quote(&vip.name));
    out.key("addrs", addrs(&vip.addrs, vip));
    if !vip.unadvertised.is_empty() {
        out.key("unadvertised", addrs(&vip.unadvertised, vip));
    }
    out.maybe("interface", vip.interface.as_ref().map(|name| quote(name)));
    out.maybe("vrid", vip.vrid.map(|vrid| vrid.to_string()));
    out.maybe("version", vip.version.map(|version| version.to_string()));
    out.key("priority", vip.effective_priority().to_string());
    out.key("advert", time(vip.advert.map_or(Duration::from_secs(1), |(advert, _)| advert)));
    if vip.nopreempt.is_some() {
        out.key("preempt", "false");
    }
    out.maybe(
        "preempt_delay",
        vip.preempt_delay.filter(|(delay, _)| !delay.is_zero()).map(|(delay, _)| time(delay)),
    );
    out.maybe(
        "down_adverts",
        vip.down_adverts.filter(|adverts| *adverts != 3).map(|adverts| adverts.to_string()),
    );
    out.maybe("password", vip.password.as_ref().map(|(password, _)| quote(password)));
    out.maybe("source", vip.source.map(|source| quote(&source.to_string())));
    if !vip.unicast.is_empty() {
        out.key("unicast", list(vip.unicast.iter().map(ToString::to_string)));
        if vip.check_source == Some(true) {
            out.key("check_source", "true");
        }
        let least = vip.ttl_min.unwrap_or(0);
        if least != 255 {
            // Without min_ttl keepalived hears unicast peers from any distance.
            out.key("ttl_min", format!("{}", least.max(1)));
        }
    }
    out.maybe("multicast", vip.multicast.map(|group| quote(&group.to_string())));
    if vip.skip_check_addrs == Some(true) {
        out.key("check_addrs", "false");
    }
    out.maybe("announce", announce(vip, &draft.globals));
    if !vip.requires.is_empty() {
        out.key("requires", list(&vip.requires));
    }
    weights(vip, out);
    notify(&vip.notify, mails(vip.alert, &draft.globals), out);
}

fn addrs(all: &[Addr], vip: &Vip) -> String {
    let one = |addr: &Addr| match &addr.interface {
        Some(interface) if vip.interface.as_ref() != Some(interface) => {
            format!("{{ addr = {}, interface = {} }}", quote(&addr.addr.to_string()), quote(interface))
        }
        Some(_) | None => quote(&addr.addr.to_string()),
    };
    let all: Vec<String> = all.iter().map(one).collect();
    match all.len() {
        0..=4 => format!("[{}]", all.join(", ")),
        _ => format!("[\n    {},\n]", all.join(",\n    ")),
    }
}

/// Only what differs from the default, which is keepalived's.
fn announce(vip: &Vip, globals: &Globals) -> Option<String> {
    let (own, all) = (&vip.announce, &globals.announce);
    let five = if globals.min_garp { 1 } else { 5 };
    let second = Duration::from_secs(if globals.min_garp { 0 } else { 5 });
    let repeat = own.repeat.or(all.repeat).unwrap_or(five);
    let lower = own.lower_repeat.or(all.lower_repeat).or(all.repeat).unwrap_or(five);
    let delay = own.delay.or(all.delay).unwrap_or(second);
    let refresh = own.refresh.or(all.refresh).unwrap_or_default();
    let refresh_repeat = own.refresh_repeat.or(all.refresh_repeat).unwrap_or(1);
    let grouped = vip.interface.as_ref().and_then(|interface| globals.intervals.get(interface));
    let (arp, na) = grouped.copied().unwrap_or((None, None));
    let interval = if vip.is_v6() { na.or(globals.gna_interval) } else { arp.or(globals.garp_interval) };
    let mut parts = Vec::new();
    if repeat != 5 {
        parts.push(format!("repeat = {repeat}"));
    }
    parts.extend(
        interval
            .filter(|interval| !interval.is_zero())
            .map(|interval| format!("interval = {}", time(interval))),
    );
    if delay != Duration::from_secs(5) {
        parts.push(format!("delay = {}", time(delay)));
    }
    if repeat != 5 {
        parts.push(format!("delay_repeat = {repeat}"));
    }
    if !refresh.is_zero() {
        parts.push(format!("refresh = {}", time(refresh)));
    }
    if refresh_repeat != 1 {
        parts.push(format!("refresh_repeat = {refresh_repeat}"));
    }
    if lower != 5 {
        parts.push(format!("lower_repeat = {lower}"));
    }
    (!parts.is_empty()).then(|| format!("{{ {} }}", parts.join(", ")))
}

fn weights(vip: &Vip, out: &mut Out) {
    if vip.weights.is_empty() {
        return;
    }
    let one = |weight: &super::draft::Weight| {
        let reverse = if weight.reverse { ", reverse = true" } else { "" };
        format!("{{ probe = {}, weight = {}{reverse} }}", quote(&weight.probe), weight.weight)
    };
    let all: Vec<String> = vip.weights.iter().map(one).collect();
    out.key("weights", format!("[{}]", all.join(", ")));
}

fn notify(all: &[Notify], mail: bool, out: &mut Out) {
    let one = |notify: &Notify| {
        let mut parts = Vec::new();
        parts.extend(notify.on.map(|on| format!("on = [{}]", quote(on))));
        parts.push(format!("exec = {}", list(&notify.command.argv)));
        if notify.on.is_none() {
            parts.push("args = true".to_owned());
        }
        parts.extend(notify.command.user.as_ref().map(|user| format!("user = {}", quote(user))));
        format!("    {{ {} }},\n", parts.join(", "))
    };
    let mut text: String = all.iter().map(one).collect();
    if mail {
        text.push_str("    { mail = true },\n");
    }
    if !text.is_empty() {
        out.key("notify", format!("[\n{text}]"));
    }
}

fn one_group(group: &Group, draft: &Draft, report: &Report, out: &mut Out) {
    out.table("[[group]]", &report.place(group.pos));
    out.key("name", quote(&group.name));
    out.key("vips", list(group.vips.iter().map(|(name, _)| name)));
    notify(&group.notify, mails(group.alert, &draft.globals), out);
}

fn one_probe(probe: &Probe, report: &Report, out: &mut Out) {
    out.table("[[probe]]", &report.place(probe.pos));
    for remark in &probe.remarks {
        out.comment(remark);
    }
    out.key("name", quote(&probe.ours));
    match &probe.check {
        Check::Nothing => {}
        Check::Exec(command) => {
            out.key("exec", list(&command.argv));
            out.maybe("user", command.user.as_ref().map(|user| quote(user)));
        }
        Check::Process { name, args, min, max } => {
            out.key("process", quote(name));
            out.maybe("args", args.as_ref().map(list));
            if *min != 1 {
                out.key("min", min.to_string());
            }
            out.maybe("max", max.map(|max| max.to_string()));
        }
        Check::File(path) => {
            out.key("file", quote(path));
            out.key("content", "\"0\"");
        }
        Check::Up(interface) => out.key("up", quote(interface)),
    }
    out.maybe("interval", probe.interval.map(time));
    out.maybe("timeout", probe.timeout.map(time));
    out.maybe("fall", probe.fall.map(|fall| fall.to_string()));
    out.maybe("rise", probe.rise.map(|rise| rise.to_string()));
    if probe.init_fail {
        out.key("initial", "\"down\"");
    }
    if let Some(restart) = &probe.restart {
        let wait = time(probe.restart_wait.unwrap_or(Duration::from_secs(5)));
        out.key("restart", format!("{{ exec = {}, tries = 1, wait = {wait} }}", list(restart)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_file_can_neither_end_its_string_nor_name_a_variable() {
        assert_eq!(quote("a\"b\\c\n\u{1}"), r#""a\"b\\c\n\u0001""#);
        assert_eq!(quote("${HOME} $x"), "\"$${HOME} $x\"");
    }

    #[test]
    fn times_are_written_in_the_largest_unit_that_fits() {
        assert_eq!(time(Duration::from_secs(3)), "\"3s\"");
        assert_eq!(time(Duration::from_millis(1500)), "\"1500ms\"");
    }
}
