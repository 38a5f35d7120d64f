//! DNS questions: every packet is answered shortly or not at all, and no two names look the same.

use std::net::Ipv4Addr;

use coco::init::dns::{A, Answer, Query, answer, query};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::counted::law;

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Answer::Address(Ipv4Addr::from_bits(bits))),
        select(std::vec![Answer::Nothing, Answer::NoSuchName, Answer::NotImplemented, Answer::Failed]),
    ]
}

/// A query for these labels, with EDNS0 or without.
fn packet(id: u16, labels: &[Vec<u8>], kind: u16, extended: bool) -> Vec<u8> {
    let mut packet =
        [id, 0x0100, 1, 0, 0, u16::from(extended)].into_iter().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
    for label in labels {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend(label);
    }
    packet.push(0);
    packet.extend([kind, 1].into_iter().flat_map(u16::to_be_bytes));
    if extended {
        packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    packet
}

/// Labels that tempt to be taken for others.
fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(select(b"aA.\\046-\0\xff ".as_slice()), 1..5), 0..4)
}

/// What must hold for the answer to any query.
fn check(packet: &[u8], question: &Query, given: &Answer) {
    let answered = answer(question, given);
    assert!(answered.len() <= 300);
    assert_eq!(answered[..2], packet[..2]);
    assert_eq!(answered[2] & 0x80, 0x80);
    // An answer is no question: two servers can't keep each other busy.
    assert_eq!(query(&answered), None);
    let questions = usize::from(answered[5]);
    assert!(questions <= 1 && answered[4] == 0);
    // What is asked comes back as it was, case included.
    let end = if questions == 0 { 12 } else { 12 + answered[12..].windows(5).position(|at| at[0] == 0).unwrap() };
    assert_eq!(answered[12..end], packet[12..end]);
}

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn every_query_is_answered_shortly(id in any::<u16>(), labels in labels(), kind in any::<u16>(), extended in any::<bool>(), given in any_answer()) {
        let packet = packet(id, &labels, kind, extended);
        let question = query(&packet).unwrap();
        prop_assert_eq!((question.id, question.kind, question.class, question.problem), (id, kind, 1, None));
        check(&packet, &question, &given);
        for cut in 0..packet.len() - if extended { 11 } else { 0 } {
            prop_assert_eq!(query(&packet[..cut]), None);
        }
    }
}

#[test]
fn two_names_are_the_same_if_their_labels_are() {
    // Two at random are hardly ever the same: the other is the one with the case of some letters turned, or any.
    let turned = labels().prop_flat_map(|one| {
        let count = one.iter().map(Vec::len).sum::<usize>();
        (Just(one), vec(any::<bool>(), count)).prop_map(|(one, turns)| {
            let mut turns = turns.into_iter();
            let mut other = one.clone();
            for byte in other.iter_mut().flatten().filter(|byte| byte.is_ascii_alphabetic()) {
                *byte ^= if turns.next() == Some(true) { 0x20 } else { 0 };
            }
            (one, other)
        })
    });
    let floors = [("the same", 1000), ("the same in other letters", 200), ("others", 1000)];
    law(5000, &floors, prop_oneof![turned, (labels(), labels())], |tally, (one, other)| {
        let name = |labels: &[Vec<u8>]| query(&packet(1, labels, A, false)).unwrap().name;
        let folded = |labels: &[Vec<u8>]| labels.iter().map(|label| label.to_ascii_lowercase()).collect::<Vec<_>>();
        let same = folded(&one) == folded(&other);
        tally.count(if same { "the same" } else { "others" });
        tally.count_if(same && one != other, "the same in other letters");
        prop_assert_eq!(name(&one) == name(&other), same);
        Ok(())
    });
}

#[test]
fn hostile_bytes_never_panic() {
    let starts = vec![Vec::new(), vec![0; 12], packet(7, &[b"a".to_vec(), b"example".to_vec()], A, true)];
    let packets = (select(starts), vec(any::<u8>(), 0..60), any::<proptest::sample::Index>(), any_answer());
    law(5000, &[("answered", 500), ("not answered", 500)], packets, |tally, (start, bytes, flip, given)| {
        let mut packet = [start, bytes].concat();
        if !packet.is_empty() {
            let at = flip.index(packet.len());
            packet[at] ^= 1;
        }
        match query(&packet) {
            Some(question) => {
                tally.count("answered");
                check(&packet, &question, &given);
            }
            None => tally.count("not answered"),
        }
        Ok(())
    });
}
