//! Files that nobody wrote in good faith: sentences, never a panic, in bounded time.

use mainstay_config::gost::Severity;
use mainstay_config::{Checks, parse_str};

use super::{file, line, lost, said};

#[test]
fn a_file_without_a_service_is_told_and_fails() {
    for text in ["services: []\n", ""] {
        let done = file(text);
        assert!(done.findings.iter().any(|f| f.severity == Severity::Error), "{text:?}: {:?}", done.findings);
        assert_eq!(done.exit_code(true), 1, "{text:?}");
    }
    said(&file("services: []\n"), "there is no service in it");
}

#[test]
fn what_is_no_configuration_is_told_with_its_line() {
    for (text, says) in [
        ("services: [", "this is not YAML"),
        ("services:\n\t- x", "this is not YAML"),
        ("a: 1\nA: 2", "`A` stands here twice"),
        ("- a\n- b", "there is no service in it"),
        ("", "there is no service in it"),
        ("services: 5", "`services` is not understood"),
    ] {
        let done = file(text);
        let told = lost(&done);
        assert_eq!(told.is_empty(), says.is_empty(), "{text:?}: {told:?}");
        assert!(told.iter().all(|said| said.contains(says)), "{text:?}: {told:?}");
    }
}

#[test]
fn texts_cannot_leave_their_place_in_the_toml() {
    let evil = "a\\\"]\\n[evil]\\nx=\\\"${HOME}";
    let text = format!(
        "services:\n- name: \"{evil}\"\n  addr: \":1\"\n  handler: {{type: tunnel, auth: {{username: \"{evil}\", password: \"{evil}\"}}, metadata: {{ingress: \"{evil}\", tunnel: \"{evil}:4d21094e-b74c-4916-86c1-d9fa36ea677b\"}}}}\ningresses:\n- name: \"{evil}\"\n  plugin: {{addr: \"{evil}\"}}\n"
    );
    let done = file(&text);
    assert!(!done.toml.lines().any(|line| line.starts_with("[evil]")), "{}", done.toml);
    // The address is refused by the loader, with a sentence.
    let _ = parse_str("mainstay.toml", &done.toml, &|_| None, Checks::NONE);
}

#[test]
fn a_thousand_ports_and_targets_end_soon() {
    let targets: Vec<String> = (0..5000).map(|n| format!("t{n}:1")).collect();
    let done = line(&format!("-L tcp://:1-1024/{} -L tcp://:1-60000/a:1", targets.join(",")));
    assert!(done.findings.len() <= 1001);
    let many: String = (0..3000).map(|_| "- {addr: ':1', handler: {type: tunnel}}\n".to_owned()).collect();
    let done = file(&format!("services:\n{many}"));
    assert!(lost(&done).iter().any(|said| said.contains("more than 1024 services")), "{:?}", lost(&done));
}
