//! The rules of the handoff as a table.

use core::cell::Cell;

use super::{Attributes, Found, Kernel, Outcome, Ruling, State, Waybill, hand_over};
use crate::{Addr, FlowKey};

const TABLE: u32 = 77;
const PLACE: u32 = 3;
const OFFER: u32 = 9;

fn waybill() -> Waybill {
    Waybill {
        flow: FlowKey::new(
            Addr::v4([192, 0, 2, 1]),
            80,
            Addr::v4([192, 0, 2, 2]),
            4_000,
        ),
        attributes: Attributes([1, 2, 3, 4, 5]),
        table: TABLE,
        place: PLACE,
        offer: OFFER,
    }
}

/// A kernel that sees a frame, with one place in use.
struct World {
    waybill: Option<Waybill>,
    word: Cell<u64>,
    found: Found,
    error: i32,
    assigned: Cell<u32>,
    repeated: Cell<u32>,
}

impl World {
    fn new(state: State, found: Found) -> Self {
        let offer = OFFER;
        Self {
            waybill: Some(waybill()),
            word: Cell::new(Outcome { offer, state }.encode()),
            found,
            error: 0,
            assigned: Cell::new(0),
            repeated: Cell::new(0),
        }
    }

    fn state(&self) -> State {
        let outcome = Outcome::decode(self.word.get());
        assert_eq!(outcome.offer, OFFER);
        outcome.state
    }
}

impl Kernel for World {
    type Place = ();

    fn waybill(&self) -> Option<Waybill> {
        self.waybill
    }

    fn word(&self, place: u32) -> Option<((), u64)> {
        match place {
            Waybill::TABLE => Some(((), TABLE.into())),
            PLACE => Some(((), self.word.get())),
            _ => None,
        }
    }

    fn set(&self, (): (), word: u64) {
        self.word.set(word);
    }

    fn find(&self, flow: &FlowKey, attributes: Option<&Attributes>) -> (Found, i32) {
        assert_eq!(*flow, waybill().flow);
        if let Some(attributes) = attributes
            && self.found == Found::Listener
        {
            assert_eq!(*attributes, waybill().attributes);
            self.assigned.set(self.assigned.get() + 1);
            return (self.found, self.error);
        }
        (self.found, 0)
    }

    fn repeat(&self) {
        assert_eq!(self.state(), State::Assigned, "told before it is repeated");
        self.repeated.set(self.repeated.get() + 1);
    }
}

#[test]
fn the_carrier_is_assigned_once_and_then_looked_after() {
    use Found::{Flow, Listener, Nobody};
    use Ruling::{Deliver, Drop};
    use State::{Assigned, NoListener, Pending, Refused, Taken};
    // State, what the kernel has, what becomes of the carrier, the next state.
    let rows = [
        (Pending, Listener, Deliver, Assigned),
        (Pending, Nobody, Drop, NoListener),
        (Pending, Flow, Deliver, Taken),
        (Assigned, Flow, Drop, Taken),
        (Assigned, Listener, Drop, Pending),
        (Assigned, Nobody, Drop, Pending),
        (Taken, Flow, Drop, Taken),
        (Taken, Listener, Drop, Taken),
        (Taken, Nobody, Drop, Taken),
        (NoListener, Listener, Drop, NoListener),
        (NoListener, Nobody, Drop, NoListener),
        (Refused(22), Listener, Drop, Refused(22)),
        (Refused(22), Flow, Drop, Refused(22)),
    ];
    for (state, found, ruling, next) in rows {
        let world = World::new(state, found);
        let row = (state, found);
        assert_eq!(hand_over(&world), ruling, "{row:?}");
        assert_eq!(world.state(), next, "{row:?}");
        let assigned = u32::from(next == Assigned);
        assert_eq!(world.assigned.get(), assigned, "{row:?}");
        assert_eq!(world.repeated.get(), assigned, "{row:?}");
    }
}

#[test]
fn a_refusal_is_told_and_the_carrier_dropped() {
    let mut world = World::new(State::Pending, Found::Listener);
    world.error = -22;
    assert_eq!(hand_over(&world), Ruling::Drop);
    assert_eq!(world.state(), State::Refused(22));
    assert_eq!(world.repeated.get(), 0);
}

/// Nothing is done about a frame with this waybill.
fn leaves_alone(waybill: Option<Waybill>, ruling: Ruling) {
    for state in [State::Pending, State::Assigned, State::Taken] {
        for found in [Found::Nobody, Found::Listener, Found::Flow] {
            let mut world = World::new(state, found);
            world.waybill = waybill;
            assert_eq!(hand_over(&world), ruling, "{waybill:?}");
            assert_eq!((world.state(), world.assigned.get()), (state, 0));
        }
    }
}

#[test]
fn what_is_no_carrier_of_ours_passes_unseen() {
    leaves_alone(None, Ruling::NotOurs);
    let table = TABLE + 1;
    leaves_alone(Some(Waybill { table, ..waybill() }), Ruling::NotOurs);
    let place = Waybill::TABLE;
    leaves_alone(Some(Waybill { place, ..waybill() }), Ruling::NotOurs);
}

#[test]
fn a_carrier_of_another_time_is_dropped() {
    for offer in [OFFER - 1, OFFER + 1, 0] {
        leaves_alone(Some(Waybill { offer, ..waybill() }), Ruling::Drop);
    }
    let place = PLACE + 1;
    leaves_alone(Some(Waybill { place, ..waybill() }), Ruling::Drop);
}

#[test]
fn outcomes_and_waybills_survive_their_way() {
    for state in [
        State::Pending,
        State::Assigned,
        State::Taken,
        State::NoListener,
        State::Refused(0),
        State::Refused(95),
        State::Refused(u16::MAX),
    ] {
        let outcome = Outcome {
            offer: u32::MAX,
            state,
        };
        assert_eq!(Outcome::decode(outcome.encode()), outcome);
    }
    let words = waybill().words();
    assert_eq!(words[..9], waybill().flow.words());
    assert_eq!(words[9..], [1, 2, 3, 4, 5, TABLE, PLACE, OFFER]);
    assert_eq!(size_of_val(&words), Waybill::LEN);
}
