//! The manual page: one page for the program, with every command, its arguments and its exit codes.

use std::fmt::Write as _;

use anyhow::Context as _;

/// The whole page in roff (man(7)).
pub(super) fn page(command: &clap::Command) -> anyhow::Result<String> {
    let man = clap_mangen::Man::new(command.clone());
    let mut head = Vec::new();
    man.render_title(&mut head)
        .and_then(|()| man.render_name_section(&mut head))
        .and_then(|()| man.render_synopsis_section(&mut head))
        .and_then(|()| man.render_options_section(&mut head))
        .context("render the manual page")?;
    let mut page = String::from_utf8(head).context("the manual page is text")?;
    page.push_str(".SH COMMANDS\n");
    let mut built = command.clone();
    built.build();
    built.get_subcommands().for_each(|sub| describe(sub, &mut page));
    if let Some(after) = command.get_after_help() {
        let _ = writeln!(
            page,
            ".SH EXIT STATUS\n{}",
            escape(after.to_string().trim_start_matches("Exit codes: "))
        );
    }
    page.push_str(
        ".SH FILES\n.TP\n/etc/mainstay/mainstay.toml, /etc/mainstay/conf.d/*.toml\nthe configuration\n",
    );
    page.push_str(".TP\n/run/mainstay/control.sock\nwhere the running node takes an operator's word\n");
    Ok(page)
}

/// A command that does something; one that only groups others is represented by those.
fn describe(command: &clap::Command, page: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    if command.has_subcommands() {
        return command.get_subcommands().for_each(|sub| describe(sub, page));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace(" [OPTIONS]", "");
    let _ = writeln!(page, ".SS \"{}\"", escape(&usage).replace('"', "\\(dq"));
    if let Some(about) = command.get_about() {
        let _ = writeln!(page, "{}.", escape(&about.to_string()));
    }
    let own =
        command.get_arguments().filter(|a| !a.is_global_set() && !a.is_hide_set() && a.get_id() != "help");
    for argument in own {
        let Some(help) = argument.get_help() else { continue };
        let mut names: Vec<String> =
            argument.get_short().map(|short| format!("-{short}")).into_iter().collect();
        names.extend(argument.get_long().map(|long| format!("--{long}")));
        let takes = argument.get_action().takes_values();
        let value =
            argument.get_value_names().into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        let value = if takes { format!(" {}", value.join(" ")) } else { String::new() };
        let name = format!("{}{value}", names.join(", "));
        let _ = write!(page, ".TP\n\\fB{}\\fR\n{}", escape(name.trim()), escape(&help.to_string()));
        let default: Vec<_> = argument.get_default_values().iter().map(|v| v.to_string_lossy()).collect();
        if takes && !default.is_empty() {
            let _ = write!(page, " (default {})", escape(&default.join(" ")));
        }
        page.push('\n');
    }
}

/// Text that roff prints as it stands.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\n', " ");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_that_can_be_given_has_its_place() {
        let page = page(&super::super::Cli::command()).expect("a page");
        for command in [
            "run",
            "check",
            "import keepalived",
            "import nginx",
            "vip move",
            "drill vip",
            "explain vip",
            "version",
        ] {
            assert!(page.contains(&format!(".SS \"mainstay {command}")), "{command}: {page}");
        }
        for hidden in ["mainstay worker", "mainstay help", "mainstay-"] {
            assert!(!page.contains(hidden), "{hidden}: {page}");
        }
    }

    #[test]
    fn what_roff_would_take_for_a_request_is_escaped() {
        assert_eq!(escape(".SH a-b\\"), "\\&.SH a\\-b\\e");
    }
}
