//! What V8 allocates for itself.

use super::*;

/// Books of a process with V8, and a stack that is to be V8's own once it has a name.
fn with_v8() -> (Ledger, Names, StackId) {
    let (mut ledger, names) = books();
    let engine = crate::event::Engine {
        process: PROCESS,
        version: "11.3".into(),
        interval: SIZE,
        unseen: Vec::new(),
        followed: true,
    };
    ledger.apply(&Event::Engine(engine));
    let backing = Backing::Binary(BinaryId(1));
    let mapping = Mapping { start: 0x5000, end: 0x6000, offset: FileOffset(0), backing };
    ledger.apply(&Event::Mappings(Mappings { process: PROCESS, list: vec![mapping], whole: false }));
    let (id, stop) = (StackId(3), StopReason::End);
    ledger.apply(&Event::Stack(Stack { id, process: PROCESS, tgid: 7, hook: 0, stop, words: vec![0x5101] }));
    (ledger, names, id)
}

fn name_v8(names: &mut Names) {
    let place = Place::Binary { binary: BinaryId(1), offset: FileOffset(0x100) };
    names.insert(place, Looked::Known(vec![name("v8::internal::Zone::Expand()", None)]));
}

#[test]
fn v8s_own_allocations_are_activity_before_and_after_they_have_a_name() {
    let (mut ledger, mut names, id) = with_v8();
    let mut judges = judges();
    for epochs in 1..=20 {
        let mut now = snapshot(epochs, 50);
        now.stacks.push((id, entry(1000 * epochs, 1000 * epochs)));
        ledger.snapshot(now);
        if epochs == 10 {
            name_v8(&mut names);
        }
        judges.end_epoch(&ledger, &names);
    }
    // With an epoch that seemed idle, or one in which all of V8's work seemed to be done at once, it would be less.
    let evidence = &judges.said().next().unwrap().judgement.evidence;
    assert_eq!((evidence.window_epochs, evidence.busy_epochs), (20, 20));
}

#[test]
fn what_v8_compiles_at_the_start_does_not_make_a_steady_leak_seem_to_have_begun_later() {
    let (mut ledger, mut names, id) = with_v8();
    name_v8(&mut names);
    let mut judges = judges();
    for epochs in 1..=100_u64 {
        let mut now = snapshot(epochs, 50);
        let of_v8 = 20 * epochs.min(20) + 3 * epochs.saturating_sub(20);
        now.stacks.push((id, entry(of_v8, of_v8)));
        ledger.snapshot(now);
        judges.end_epoch(&ledger, &names);
    }
    assert_eq!(said(&judges), ["LEAK"]);
}

#[test]
fn what_v8_did_before_it_had_names_is_not_the_programs_work_once_it_has() {
    let (mut ledger, mut names, id) = with_v8();
    let served = (StackId(4), 0x200);
    let (stop, words) = (StopReason::End, vec![0x5001 + served.1]);
    ledger.apply(&Event::Stack(Stack { id: served.0, process: PROCESS, tgid: 7, hook: 0, stop, words }));
    let place = Place::Binary { binary: BinaryId(1), offset: FileOffset(served.1) };
    names.insert(place, Looked::Known(vec![name("serve", None)]));
    let mut judges = judges();
    for epochs in 1..=100_u64 {
        let mut now = snapshot(epochs, 50);
        let of_v8 = 2000 * epochs.min(5) + 100 * epochs;
        now.stacks.push((id, entry(of_v8, of_v8)));
        now.stacks.push((served.0, entry(20 * epochs, 20 * epochs)));
        ledger.snapshot(now);
        if epochs == 10 {
            name_v8(&mut names);
        }
        judges.end_epoch(&ledger, &names);
    }
    let leak = judges.said().find(|said| said.judgement.verdict.name() == "LEAK").expect("a leak");
    let evidence = &leak.judgement.evidence;
    assert!(evidence.spread.dispersion < 2.0, "{:?}", evidence.spread);
}
