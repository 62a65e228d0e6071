//! Credit: what a stream may send, how it grows, what a slow reader costs others.

use std::time::Duration;

use super::rig::{Rig, SMALL, Told, fill, read};
use crate::tunnel::{Limits, RESERVE};

#[test]
fn a_stream_sends_its_window_and_goes_on_when_it_was_read() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    assert_eq!(fill(&mut rig.hub, ours), 16 << 10);
    rig.settle();
    assert_eq!(rig.hub.room(ours), Ok(0));
    assert_eq!(read(&mut rig.agent, theirs, rig.now).len(), 16 << 10);
    assert!(rig.settle().0.contains(&Told::Writable(ours)));
    assert_eq!(fill(&mut rig.hub, ours), 16 << 10);
}

#[test]
fn a_stream_that_is_drained_fast_over_a_long_way_gets_a_wider_window_and_a_slow_one_does_not() {
    let limits = Limits { budget: 16 << 20, window: 256 << 10, window_max: 4 << 20, ..SMALL };
    for (pause, wide) in [(Duration::from_millis(1), true), (Duration::from_secs(30), false)] {
        let mut rig = Rig::new(Limits { silence: Duration::from_secs(3600), ..limits });
        rig.agent.rtt = Some(Duration::from_millis(100));
        rig.agent.shortest = [rig.agent.rtt; 2];
        let (ours, theirs) = rig.open();
        for _ in 0..40 {
            while fill(&mut rig.hub, ours) > 0 {
                rig.agent_hears();
            }
            rig.now += Duration::from_millis(100) + pause;
            read(&mut rig.agent, theirs, rig.now);
            rig.settle();
        }
        let window = rig.agent.streams.get(theirs).unwrap().receive_window;
        assert_eq!(window > 256 << 10, wide, "{window} after pauses of {pause:?}");
        assert!(window <= 4 << 20);
    }
}

#[test]
fn a_queue_on_the_way_does_not_widen_the_window_that_fills_it() {
    let limits = Limits { budget: 16 << 20, window: 256 << 10, window_max: 4 << 20, ..SMALL };
    // With nothing in the way a PING takes 1 ms; behind what the window lets stand there, 100. The second time nobody remembers.
    for (least, widest) in [(1, 256 << 10), (100, 512 << 10)] {
        let mut rig = Rig::new(Limits { silence: Duration::from_secs(3600), ..limits });
        rig.agent.rtt = Some(Duration::from_millis(100));
        rig.agent.shortest = [Some(Duration::from_millis(least)); 2];
        let (ours, theirs) = rig.open();
        for _ in 0..40 {
            while fill(&mut rig.hub, ours) > 0 {
                rig.agent_hears();
            }
            let stream = rig.agent.streams.get(theirs).unwrap();
            // 256 KiB in 100 ms is all that the way carries.
            rig.now += Duration::from_millis(100) * stream.held / (256 << 10);
            read(&mut rig.agent, theirs, rig.now);
            rig.settle();
        }
        let window = rig.agent.streams.get(theirs).unwrap().receive_window;
        assert!(window <= widest + 1024, "{window}, where {least} ms are the shortest");
    }
}

#[test]
fn slow_readers_never_stop_small_messages_of_others() {
    let mut rig = Rig::new(SMALL);
    for _ in 0..20 {
        let (ours, _) = rig.open();
        fill(&mut rig.hub, ours);
        rig.settle();
    }
    // The budget is gone; a newcomer still has what is its own.
    let (ours, theirs) = rig.open();
    assert_eq!(fill(&mut rig.hub, ours), RESERVE as usize);
    rig.settle();
    assert_eq!(read(&mut rig.agent, theirs, rig.now).len(), RESERVE as usize);
}

#[test]
fn who_waits_for_the_budget_goes_on_when_others_are_read() {
    let mut rig = Rig::new(SMALL);
    let slow: Vec<_> = (0..8).map(|_| rig.open()).collect();
    for (ours, _) in &slow {
        fill(&mut rig.hub, *ours);
        rig.settle();
    }
    let (ours, _) = rig.open();
    fill(&mut rig.hub, ours);
    rig.settle();
    assert_eq!(rig.hub.room(ours), Ok(0));
    read(&mut rig.agent, slow[0].1, rig.now);
    assert!(rig.settle().0.contains(&Told::Writable(ours)));
    assert!(rig.hub.room(ours).unwrap() > 0);
}

#[test]
fn a_stream_that_ended_counts_until_it_was_read() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    fill(&mut rig.hub, ours);
    rig.hub.finish(ours);
    rig.agent.finish(theirs);
    rig.settle();
    rig.hub.forget(ours);
    assert_eq!(rig.hub.spent, u64::from(16_384 - RESERVE));
    assert_eq!(rig.hub.living(), 1);
    read(&mut rig.agent, theirs, rig.now);
    rig.settle();
    rig.agent.forget(theirs);
    assert_eq!((rig.hub.spent, rig.hub.living(), rig.agent.living()), (0, 0, 0));
}

#[test]
fn an_idle_stream_is_small_and_has_no_buffer() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = rig.open();
    rig.hub.send(ours, b"ask").unwrap();
    rig.settle();
    read(&mut rig.agent, theirs, rig.now);
    assert!(rig.agent.streams.get(theirs).unwrap().inbox.is_none());
    assert!(std::mem::size_of::<crate::tunnel::stream::Stream>() <= 96);
}
