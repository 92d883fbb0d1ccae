//! Places as both sides see them, on a file in place of the kernel's map.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use xdp_prog::{Outcome, State, Waybill};

use super::{Offer, Outcomes, RANGE};

fn table(handles: u32) -> Arc<Outcomes> {
    let file = tempfile::tempfile().expect("a file");
    let bytes = 8 * u64::from(Outcomes::words(handles));
    file.set_len(bytes).expect("its length");
    Outcomes::open(file.as_fd(), handles, 77).expect("mapped")
}

/// What the program writes.
fn says(table: &Outcomes, place: u32, outcome: Outcome) {
    let word = table.words.at(place as usize).expect("a place");
    word.store(outcome.encode(), Ordering::Release);
}

#[test]
fn an_outcome_is_that_of_its_offer_only() {
    let table = table(1);
    let mut places = table.range().expect("places");
    let first = places.take().expect("a place");
    assert_eq!(places.state(first), State::Pending);
    let said = |offer: Offer, state| Outcome {
        offer: offer.number,
        state,
    };
    says(&table, first.place, said(first, State::Assigned));
    assert_eq!(places.state(first), State::Assigned);
    says(&table, first.place, said(first, State::Taken));
    assert_eq!(places.state(first), State::Taken);
    places.give_back(first);
    let over = table.read(first.place);
    assert_ne!(over.offer, first.number, "its carriers find nobody");

    let offers: Vec<Offer> = std::iter::from_fn(|| places.take()).collect();
    assert_eq!(offers.len(), RANGE as usize);
    let again = offers[RANGE as usize - 1];
    assert_eq!(again.place, first.place, "the last one to be taken again");
    assert!(![first.number, over.offer].contains(&again.number));
    assert_eq!(places.state(again), State::Pending);
    // A word about the first one that comes only now.
    says(&table, first.place, said(first, State::Taken));
    assert_eq!(places.state(again), State::Pending);
}

#[test]
fn handles_have_places_of_their_own() {
    let table = table(2);
    assert_eq!(table.read(Waybill::TABLE), Outcome::decode(77));
    let mut both = [(); 2].map(|()| table.range().expect("places"));
    assert!(table.range().is_none());
    let mut seen = std::collections::HashSet::from([Waybill::TABLE]);
    for places in &mut both {
        for offer in std::iter::from_fn(|| places.take()) {
            assert!(seen.insert(offer.place), "{offer:?}");
            assert!(offer.place < Outcomes::words(2));
        }
    }
    drop(both);
    assert!(table.range().is_some());
}
