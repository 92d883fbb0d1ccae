//! The rules of the handoff as a table, and frames that are none of its business.

use core::cell::Cell;
use std::vec::Vec;

use super::{Attributes, Entry, Found, Kernel, State, hand_over};
use crate::decide::tests::frames::{
    ACK, KERNELS, OURS, PEER, REGISTERED, RST, SYN, WEB, damaged, table, v4, v6, with,
};
use crate::{Addr, FlowKey, INJECT_MAC, Verdict};

const ATTRIBUTES: Attributes = Attributes([1, 2, 3, 4, 5]);
/// The numbers of the frames.
const SEQ: u32 = 1;
const ACKED: u32 = 0;

/// A kernel in which only the flow that the frames call registered is under way.
struct World {
    seq: u32,
    ack: u32,
    state: Cell<State>,
    found: Found,
    error: i32,
    assigned: Cell<u32>,
    repeated: Cell<u32>,
}

impl World {
    fn new(state: State, found: Found) -> Self {
        Self {
            seq: SEQ,
            ack: ACKED,
            state: Cell::new(state),
            found,
            error: 0,
            assigned: Cell::new(0),
            repeated: Cell::new(0),
        }
    }
}

impl Kernel for World {
    type Place = ();

    fn entry(&self, flow: &FlowKey) -> Option<((), Entry)> {
        let [.., ports] = flow.words();
        let entry = Entry {
            seq: self.seq,
            ack: self.ack,
            attributes: ATTRIBUTES,
            state: self.state.get().encode(),
        };
        let [a, b, ..] = ports.to_ne_bytes();
        (u16::from_be_bytes([a, b]) == REGISTERED).then_some(((), entry))
    }

    fn set(&self, (): (), state: State) {
        self.state.set(state);
    }

    fn find(&self, _: &FlowKey, attributes: Option<&Attributes>) -> (Found, i32) {
        if let Some(attributes) = attributes
            && self.found == Found::Listener
        {
            assert_eq!(*attributes, ATTRIBUTES);
            self.assigned.set(self.assigned.get() + 1);
            return (self.found, self.error);
        }
        (self.found, 0)
    }

    fn repeat(&self) {
        assert_eq!(
            self.state.get(),
            State::Assigned,
            "told before it is repeated"
        );
        self.repeated.set(self.repeated.get() + 1);
    }
}

fn injected(frame: Vec<u8>) -> Vec<u8> {
    with(frame, 6, &INJECT_MAC)
}

#[test]
fn the_carrier_is_assigned_once_and_then_looked_after() {
    use Found::{Flow, Listener, Nobody};
    use State::{Assigned, NoListener, Pending, Refused, Taken};
    // State, what the kernel has, whether the carrier passes, the next state.
    let rows = [
        (Pending, Listener, true, Assigned),
        (Pending, Nobody, false, NoListener),
        (Pending, Flow, true, Taken),
        (Assigned, Flow, false, Taken),
        (Assigned, Listener, false, Pending),
        (Assigned, Nobody, false, Pending),
        (Taken, Flow, true, Taken),
        (Taken, Listener, true, Taken),
        (Taken, Nobody, true, Taken),
        (NoListener, Listener, true, Assigned),
        (NoListener, Nobody, false, NoListener),
        (NoListener, Flow, true, Taken),
        (Refused(22), Listener, true, Assigned),
        (Refused(22), Nobody, false, NoListener),
        (Refused(22), Flow, true, Taken),
    ];
    for (state, found, passes, next) in rows {
        for frame in [v4(REGISTERED, ACK), v6(REGISTERED, ACK)] {
            let world = World::new(state, found);
            let row = (state, found);
            let frame = injected(frame);
            assert_eq!(hand_over(frame.as_slice(), &world), passes, "{row:?}");
            assert_eq!(world.state.get(), next, "{row:?}");
            let assigned = u32::from(next == Assigned);
            assert_eq!(world.assigned.get(), assigned, "{row:?}");
            assert_eq!(world.repeated.get(), assigned, "{row:?}");
        }
    }
}

#[test]
fn a_refusal_is_told_and_the_carrier_dropped() {
    let mut world = World::new(State::Pending, Found::Listener);
    world.error = -22;
    assert!(!hand_over(injected(v4(REGISTERED, ACK)).as_slice(), &world));
    assert_eq!(world.state.get(), State::Refused(22));
    assert_eq!(world.repeated.get(), 0);
}

#[test]
fn other_segments_wait_for_the_socket_and_change_nothing() {
    for (seq, ack) in [(SEQ + 1, ACKED), (SEQ, ACKED + 1), (SEQ - 1, ACKED)] {
        for state in [State::Pending, State::Assigned, State::NoListener] {
            for found in [Found::Nobody, Found::Listener, Found::Flow] {
                let mut world = World::new(state, found);
                (world.seq, world.ack) = (seq, ack);
                let passes = hand_over(injected(v4(REGISTERED, ACK)).as_slice(), &world);
                assert_eq!(passes, found == Found::Flow);
                assert_eq!((world.state.get(), world.assigned.get()), (state, 0));
            }
        }
    }
}

#[test]
fn what_was_not_injected_or_offered_passes_unseen() {
    let all = || table().into_iter().map(|(_, frame, _)| frame);
    for frame in all().chain(damaged(20_000)) {
        if frame.get(6..12) == Some(&INJECT_MAC) {
            continue;
        }
        let world = World::new(State::Pending, Found::Nobody);
        assert!(hand_over(frame.as_slice(), &world), "{frame:02x?}");
        assert_eq!(world.state.get(), State::Pending);
    }
    for frame in [
        v4(KERNELS, ACK),
        v4(REGISTERED, SYN),
        v4(REGISTERED, SYN | ACK),
        v4(REGISTERED, RST | ACK),
        v6(REGISTERED, 0),
    ] {
        let world = World::new(State::Pending, Found::Nobody);
        assert!(hand_over(injected(frame).as_slice(), &world));
        assert_eq!(world.state.get(), State::Pending);
    }
}

#[test]
fn headers_are_walked_as_for_steering() {
    let mut seen = 0;
    for (name, frame, verdict) in table() {
        if verdict == Verdict::XskFlow && frame.len() > 14 {
            let world = World::new(State::Pending, Found::Listener);
            hand_over(injected(frame).as_slice(), &world);
            seen += u32::from(world.assigned.get() == 1);
            if name.contains("options") || name.contains("tag") {
                assert_eq!(world.assigned.get(), 1, "{name}");
            }
        }
    }
    assert!(seen > 3, "{seen}");
}

#[test]
fn states_and_entries_survive_the_map() {
    for state in [
        State::Pending,
        State::Assigned,
        State::Taken,
        State::NoListener,
        State::Refused(0),
        State::Refused(95),
        State::Refused(u16::MAX),
    ] {
        assert_eq!(State::decode(state.encode()), state);
    }
    let entry = Entry {
        seq: 7,
        ack: 8,
        attributes: ATTRIBUTES,
        state: State::Taken.encode(),
    };
    assert_eq!(Entry::from_words(entry.words()), entry);
    assert_eq!(entry.words(), [7, 8, 1, 2, 3, 4, 5, 2]);
    assert_eq!(size_of::<Entry>(), size_of_val(&entry.words()));
    // The frames are of the flow that the table of the kernel would hold.
    let flow = FlowKey::new(Addr::v4(OURS), WEB, Addr::v4(PEER), REGISTERED);
    assert!(
        World::new(State::Pending, Found::Nobody)
            .entry(&flow)
            .is_some()
    );
}
