//! What the simulator has found, as the shortest story that shows it.

use super::rig::{A, B, C, Net, RIGHT, ms, ready, terms};
use crate::lease::{
    Answered, Asked, Beat, Ending, Freed, Input, Mark, Message, Notice, Outcome, Phase, Reply, Request,
    Standing,
};
use crate::name::NodeId;

fn held_by_a() -> Net {
    let mut net = Net::new(terms(1500), &["a", "b", "w"]);
    net.stance(A, ready(150));
    net.stance(B, ready(100));
    net.until(ms(1500), |net| net.holder() == Some(A));
    net.run(ms(1500));
    net
}

fn free(epoch: u64, next: Option<&str>) -> Message {
    Message::Free(vec![Freed { right: "vip/web".into(), epoch, next: next.map(Into::into) }])
}

#[test]
fn a_losers_release_does_not_hide_the_winner_that_asked_under_the_same_epoch() {
    let mut net = held_by_a();
    let epoch = 1_000_000;
    net.forge(C, A, vec![free(epoch, None)]);
    let standing = Standing { right: "vip/web".into(), epoch, ready: true, preempts: false, priority: 1 };
    net.forge(B, A, vec![Message::Beat(Beat { number: 1_000_000, rights: vec![standing] })]);
    assert_eq!(net.yields, [(A, Ending::Superseded { epoch })]);
}

#[test]
fn a_holder_whose_first_word_after_a_sleep_is_a_late_promise_leaves() {
    let mut net = held_by_a();
    let (epoch, number) = (net.takes[0].2, net.node(A).number);
    let paused = net.nodes[A].take();
    net.until(ms(1600), |net| net.holder() == Some(B));
    net.nodes[A] = paused;
    let answered = Answered { right: "vip/web".into(), outcome: Outcome::Granted { epoch } };
    net.forge(C, A, vec![Message::Reply(Reply { number, rights: vec![answered.clone()] })]);
    assert_eq!(net.yields, [(A, Ending::Unrenewed)]);
}

#[test]
fn a_named_successor_does_not_take_its_predecessor_for_a_rival() {
    let mut net = held_by_a();
    // The release does not reach the witness, and who said it is gone: to the witness the right is still a's.
    net.loss = Box::new(|from, to, letter| {
        (from, to) == (A, C) && letter.messages.iter().any(|message| matches!(message, Message::Free(_)))
    });
    net.gone(A);
    net.crash(A);
    let before = net.letters;
    net.run(ms(100));
    assert!(net.letters - before < 100, "{} letters in 100 ms", net.letters - before);
}

#[test]
fn who_asks_tries_again_at_once_when_a_rival_lets_go() {
    let mut net = held_by_a();
    net.crash(A);
    net.loss = Box::new(|from, to, _| (from, to) == (C, B) || (from, to) == (B, C));
    net.run(ms(2_000));
    net.until(ms(3_000), |net| net.node(B).rights[RIGHT.index()].claim.phase() == Phase::Asking);
    assert_eq!(net.holder(), None);
    net.loss = Box::new(|_, _, _| false);
    let epoch = net.node(B).rights[RIGHT.index()].claim.epoch();
    net.forge(C, B, vec![free(epoch + 5, None)]);
    net.until(ms(10), |net| net.holder() == Some(B));
    assert!(net.takes[1].2 > epoch + 5);
}

#[test]
fn a_voter_that_has_forgotten_what_it_granted_grants_nothing_below_its_own_floor() {
    let mut net = held_by_a();
    let asked = Asked { right: "vip/other".into(), epoch: 50, renewal: false };
    let request = Message::Request(Request { number: 7, term: ms(1500), rights: vec![asked] });
    // The rig's floor is no lower than 100.
    net.start(C, true, None);
    let heard = std::rc::Rc::new(std::cell::Cell::new(false));
    let stale = std::rc::Rc::clone(&heard);
    net.loss = Box::new(move |_, to, letter| {
        let floor = letter.messages.iter().any(|message| match message {
            Message::Reply(reply) => {
                reply.rights.iter().any(|a| matches!(a.outcome, Outcome::Stale { epoch } if epoch >= 100))
            }
            Message::Beat(_)
            | Message::Request(_)
            | Message::Free(_)
            | Message::List(_)
            | Message::Sights(_) => false,
        });
        stale.set(stale.get() || to == B && floor);
        false
    });
    net.forge(B, C, vec![request]);
    assert!(heard.get());
}

#[test]
fn a_letter_that_was_overtaken_does_not_take_its_sender_back_to_an_older_list() {
    let mut net = held_by_a();
    net.notices.clear();
    let mut old = net.node(C).letter(vec![]);
    old.mark = Mark { epoch: 0, hash: 7 };
    net.give(A, &Input::Heard { from: NodeId(2), letter: &old });
    net.run(ms(100));
    assert!(
        !net.notices.iter().any(|(_, notice)| matches!(notice, Notice::NoQuorum | Notice::Mismatch { .. }))
    );
}
