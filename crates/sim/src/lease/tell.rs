//! Letters as a line that a reader can follow; a beat is told only when it says something new.

use std::fmt::Write as _;

use mainstay_core::lease::{Letter, Message, Outcome, Standing};

/// What a letter says; `told` is what the last beat to the same peer said.
pub(crate) fn letter(letter: &Letter, told: &mut String) -> String {
    let mut line = String::new();
    for message in &letter.messages {
        match message {
            Message::Beat(beat) => {
                let stands = standings(&beat.rights);
                if stands != *told {
                    let _ = write!(line, "beat {} [{stands}] ", beat.number);
                    *told = stands;
                }
            }
            Message::Request(request) => {
                let _ = write!(line, "request {} for {:?} [", request.number, request.term);
                for asked in &request.rights {
                    let again = if asked.renewal { " again" } else { "" };
                    let _ = write!(line, "{} e{}{again} ", asked.right, asked.epoch);
                }
                line.push_str("] ");
            }
            Message::Reply(reply) => {
                let _ = write!(line, "reply {} [", reply.number);
                for answered in &reply.rights {
                    let _ = write!(line, "{} {} ", answered.right, outcome(&answered.outcome));
                }
                line.push_str("] ");
            }
            Message::Free(freed) => {
                for freed in freed {
                    let next = freed.next.as_deref().unwrap_or("anybody");
                    let _ = write!(line, "free {} e{} next {next} ", freed.right, freed.epoch);
                }
            }
            Message::Sights(_) => {}
            Message::List(list) => {
                let voters: Vec<&str> = list.voters().map(|node| list.name(node)).collect();
                let _ = write!(line, "list {} {voters:?} ", list.epoch);
            }
        }
    }
    line
}

fn standings(rights: &[Standing]) -> String {
    let mut line = String::new();
    for standing in rights {
        let ready = if standing.ready { "" } else { " unable" };
        let preempts = if standing.preempts { "!" } else { "" };
        let held = if standing.epoch > 0 { format!(" holds e{}", standing.epoch) } else { String::new() };
        let _ = write!(line, "{} p{}{preempts}{ready}{held}, ", standing.right, standing.priority);
    }
    line
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Granted { epoch } => format!("granted e{epoch}"),
        Outcome::Held { by, epoch, left } => format!("held by {by} e{epoch} for {left:?}"),
        Outcome::Stale { epoch } => format!("stale, e{epoch} is known"),
        Outcome::Mute { left } => format!("mute for {left:?}"),
        Outcome::Mismatch { mark, .. } => format!("mismatch with {mark}"),
        Outcome::Full => "full".to_string(),
    }
}
