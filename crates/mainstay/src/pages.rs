//! The pages of docs/reference that describe the program say what it does.

use clap::CommandFactory as _;
use mainstay_core::election::{Reason, State};
use mainstay_proxy::route::Question;
use serde_json::Value;

use crate::cli::{self, Cli};
use crate::ipc::{ApiCall, ApiReply, ClusterAction, PoolAction, VipAction};
use crate::status::{self, Status};
use crate::words;

fn page(name: &str) -> String {
    let path = format!("{}/../../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn says(page: &str, text: &str) {
    assert!(page.contains(text), "{text} is not on the page");
}

#[test]
fn every_command_flag_and_exit_code_stands_on_the_page_of_commands() {
    let page = page("commands.md");
    for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        says(&page, &format!("`{}", command.get_name()));
        for sub in command.get_subcommands() {
            says(&page, &format!("`{} {}", command.get_name(), sub.get_name()));
        }
        let deep = command.get_subcommands().flat_map(clap::Command::get_arguments);
        for flag in command.get_arguments().chain(deep).filter_map(clap::Arg::get_long) {
            says(&page, &if flag == "follow" { "`-f`".to_owned() } else { format!("`--{flag}") });
        }
    }
    for code in [0, cli::FAILURE, 2, cli::UNREACHABLE, cli::DEGRADED, cli::DENIED] {
        says(&page, &format!("| {code} | "));
    }
}

#[test]
fn every_call_and_answer_of_the_control_socket_stands_on_its_page() {
    let page = page("control.md");
    let calls = [
        ApiCall::Status,
        ApiCall::Reload,
        ApiCall::Upgrade,
        ApiCall::Pool { name: "app".into(), action: PoolAction::Drain { backend: "10.0.4.20:8080".into() } },
        ApiCall::Route(Question { url: "https://a.example/".into(), ..Question::default() }),
        ApiCall::Vip { name: "front".into(), action: VipAction::Move },
        ApiCall::Cluster(ClusterAction::Add { id: "web-3".into() }),
        ApiCall::Cluster(ClusterAction::Remove { id: "web-3".into() }),
        ApiCall::Cluster(ClusterAction::Move { vip: "front".into(), to: "web-3".into() }),
        ApiCall::Cluster(ClusterAction::Enrol { id: "web-3".into(), seconds: 600, addrs: Vec::new() }),
        ApiCall::Cluster(ClusterAction::Revoke { id: "web-3".into() }),
        ApiCall::Cluster(ClusterAction::Forget { id: "web-3".into() }),
        ApiCall::Cluster(ClusterAction::Take { vip: "front".into(), fenced: "web-2".into() }),
        ApiCall::Events { follow: false },
        ApiCall::Events { follow: true },
    ];
    for call in calls {
        says(&page, &format!("`{}`", serde_json::to_string(&call).unwrap()));
    }
    let message = || "...".to_owned();
    for reply in [ApiReply::Done { message: message() }, ApiReply::Refused { message: message() }] {
        says(&page, &format!("`{}`", serde_json::to_string(&reply).unwrap()));
    }
}

#[test]
fn every_field_of_status_and_event_stands_on_the_page_of_the_control_socket() {
    let page = page("control.md");
    let event = crate::events::event("web-1", "vip", "front", String::new());
    let cluster = status::cluster_tests::cluster();
    let wire = serde_json::to_value(&cluster.nodes[1].wires[0]).unwrap();
    let node = serde_json::to_value(&cluster.nodes[1]).unwrap();
    let lease = status::cluster_tests::lease();
    let saying = serde_json::to_value(&lease.voters[0]).unwrap();
    for value in [
        serde_json::to_value(Status::empty("web-1")).unwrap(),
        serde_json::to_value(event).unwrap(),
        serde_json::to_value(cluster).unwrap(),
        node,
        wire,
        serde_json::to_value(lease).unwrap(),
        saying,
    ] {
        let Value::Object(fields) = value else { panic!("an object") };
        for field in fields.keys().filter(|field| *field != "schema") {
            assert!(
                page.contains(&format!("`{field}`")) || page.contains(&format!("`{field}[]`")),
                "{field}"
            );
        }
    }
    for state in [State::Fault, State::Backup, State::Active] {
        says(&page, &format!("`{}`", words::state(state)));
    }
    let reasons = [
        Reason::Started,
        Reason::Owner,
        Reason::Silence { last: None },
        Reason::LinkDown,
        Reason::Recovered,
        Reason::ProbeDown { probe: 0 },
        Reason::ProbePending { probe: 0 },
        Reason::ServiceFailed,
        Reason::Late { nanos: 0 },
        Reason::Group { vip: String::new() },
        Reason::Moved,
        Reason::Drained,
        Reason::Stopping,
        Reason::Reloaded,
    ];
    for reason in &reasons {
        says(&page, &format!("`{}`", words::reason_kind(reason)));
    }
}
