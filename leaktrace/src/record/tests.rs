//! What is written is read back, and what is broken keeps what stood before it.

use leaktrace_common::{
    counter::{COUNTERS, Counter},
    hook::Shape,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{AGE_BUCKETS, StackEntry, StackId, StopReason},
    v8::{FunctionKey, Sample, SampleState, Sighting},
};

use super::*;
use crate::event::{
    Backing, Binary, BinaryId, Collection, Engine, Event, FileOffset, Function, Hooked, InUse, Mapping,
    Mappings, ProcessEvent, Progress, Region, SizeInUse, Snapshot, Source, Stack, Traced,
};

const ONE: ProcessId = ProcessId(1);

fn one_of_each() -> Vec<Event> {
    let mapping = |backing| Mapping { start: 0x1000, end: u64::MAX, offset: FileOffset(0x40), backing };
    vec![
        Event::Traced(Traced {
            process: ONE,
            pid: 9,
            comm: "a;b".into(),
            command: "a \"b\"\n".into(),
            at: 1,
        }),
        Event::Binary(Binary { id: BinaryId(3), path: "/lib/x.so".into() }),
        Event::Hooked(Hooked { number: 2, function: "malloc".into(), javascript: false }),
        Event::Mappings(Mappings {
            whole: true,
            process: ONE,
            list: [Backing::Binary(BinaryId(3)), Backing::Anonymous, Backing::Vdso].map(mapping).to_vec(),
        }),
        Event::Stack(Stack {
            id: StackId(u64::MAX),
            process: ONE,
            tgid: 9,
            hook: 2,
            stop: StopReason::NoFramePointer,
            words: vec![u64::MAX, 1],
        }),
        Event::Region(Region {
            process: ONE,
            shape: Shape::Remap,
            flags: 1,
            protection: 2,
            address: 3,
            length: 4,
            old_address: 5,
            old_length: 6,
            stack: StackId(7),
            entered: 8,
            returned: 9,
        }),
        Event::Process(ProcessEvent::Exec { tgid: 9, before: ONE, process: ProcessId(2), at: 4 }),
        Event::Process(ProcessEvent::Fork { parent_tgid: 9, parent: ONE, tgid: 10, process: None, at: 4 }),
        Event::Process(ProcessEvent::Exit { tgid: 9, process: ONE, at: 4 }),
        Event::Undecodable,
        Event::Engine(Engine {
            process: ONE,
            version: "11.3.244.8".into(),
            interval: 1 << 19,
            unseen: vec!["types".into()],
            followed: false,
        }),
        Event::HeapEnded { process: ProcessId(1), heap: 0x1234 },
        Event::Paused { at: 5, work: 1 },
        Event::Worked { at: 6, work: 2 },
        Event::Resumed { at: 7, work: 3 },
        Event::InUse(InUse {
            process: ONE,
            at: 7,
            sizes: vec![
                SizeInUse { from: 0, to: 24, most: 5, usual: 4 },
                SizeInUse { from: 25, to: 40, most: 1, usual: 1 },
            ],
        }),
        Event::Function(Function {
            process: ONE,
            key: FunctionKey::new(3, 4),
            seen: Sighting { function: 1, shared: 2, bytecode: 3 },
        }),
        Event::Collection(Collection {
            process: ONE,
            heap: 1,
            tid: 2,
            collector: 1,
            reason: 3,
            began: 4,
            ended: 5,
            before: Some(6),
            after: None,
            looked_at: 7,
            died: 8,
            looking_ns: 9,
        }),
    ]
}

fn snapshot(at: u64) -> Snapshot {
    let mut counters = [0; COUNTERS];
    counters[Counter::FreeUnknown as usize] = 7;
    let mut deaths = [0; AGE_BUCKETS];
    deaths[3] = 9;
    let (allocs, alloc_bytes, frees, freed_bytes) = (1, 2, 3, 4);
    let comm = *b"worker-1\0\0\0\0\0\0\0\0";
    let counts = StackEntry { allocs, alloc_bytes, frees, freed_bytes, ..StackEntry::default() };
    let entry = StackEntry { process: 1, sent: 1, deaths, comm, ..counts };
    let sample = Sample {
        heap: 1,
        stack: 2,
        weight: 3,
        born: 4,
        constructor: FunctionKey(5),
        size: 6,
        process: 1,
        state: SampleState::Old as u32,
        born_major: 7,
        minor_survived: 8,
        major_survived: 9,
        instance_type: 10,
        ..Sample::default()
    };
    let block = (BlockKey::new(ONE, 0x1000), Block { size: 5, stack: 6, born: 7 });
    Snapshot { at, stacks: vec![(StackId(1), entry)], blocks: vec![block], samples: vec![sample], counters }
}

fn recorded() -> String {
    let mut recorder = Recorder::new(Vec::new(), 4096).unwrap();
    for at in [1, 2] {
        one_of_each().iter().for_each(|event| recorder.event(event).unwrap());
        recorder.snapshot(&snapshot(at)).unwrap();
    }
    String::from_utf8(recorder.finish()).unwrap()
}

#[test]
fn every_event_and_snapshot_is_read_back_as_it_was() {
    let mut recording = Recording::read(recorded().as_bytes()).unwrap();
    assert_eq!((recording.page(), recording.broken()), (4096, None));
    for at in [1, 2] {
        let mut events = Vec::new();
        assert_eq!(recording.pull(&mut events).unwrap(), Progress::More);
        assert_eq!(events, one_of_each());
        assert_eq!(recording.snapshot().unwrap(), snapshot(at));
    }
    let mut events = Vec::new();
    assert_eq!(recording.pull(&mut events).unwrap(), Progress::Ended);
    assert!(events.is_empty());
    assert_eq!(recording.snapshot().unwrap(), snapshot(2), "the last one again");
}

#[test]
fn a_cut_off_recording_gives_everything_before_the_cut() {
    let whole = recorded();
    for cut in 0..whole.len() {
        let (text, lines) = (&whole[..cut], whole[..cut].lines().count());
        let Ok(mut recording) = Recording::read(text.as_bytes()) else {
            assert!(lines <= 1, "a whole header is enough");
            continue;
        };
        let mut events = Vec::new();
        recording.pull(&mut events).unwrap();
        if let Some(broken) = recording.broken() {
            assert_eq!(broken.line, lines, "{broken}");
        }
        let read_before = one_of_each().len().min(lines.saturating_sub(2));
        assert!(events.len() >= read_before, "{} of {read_before} at {cut}", events.len());
    }
}

#[test]
fn a_broken_line_is_told_with_its_number() {
    let header = "{\"leaktrace_stream\":1,\"page\":4096}\n";
    let cases = [
        ("{\"is\":\"undecodable\"}\nnonsense\n", 3, "expected"),
        ("{\"is\":\"later\"}\n", 2, "unknown variant `later`"),
        (
            "{\"is\":\"stack\",\"process\":1,\"id\":1,\"tgid\":1,\"hook\":1,\"stop\":99,\"addresses\":[]}\n",
            2,
            "unknown stop reason 99",
        ),
        (
            "{\"is\":\"snapshot\",\"at\":1,\"stacks\":[],\"blocks\":[],\"counters\":[[\"x\",1]]}\n",
            2,
            "counter x",
        ),
    ];
    for (text, line, reason) in cases {
        let recording = Recording::read(format!("{header}{text}").as_bytes()).unwrap();
        let broken = recording.broken().unwrap();
        assert_eq!(broken.line, line);
        assert!(broken.reason.contains(reason), "{broken}");
    }
}

#[test]
fn another_format_or_version_is_refused() {
    for text in ["", "\n", "{}\n", "PNG", "{\"leaktrace_stream\":2,\"page\":4096}\n"] {
        assert_eq!(Recording::read(text.as_bytes()).unwrap_err().line, 1);
    }
}
