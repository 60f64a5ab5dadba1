//! Two processes: one leaks by native code, the other has JavaScript.

use crate::{
    ledger::Ledger,
    report::{
        CollectionTotals, Cycle, Estimate, Frame, JavaScript, Options, Process, Report, Stack, Totals, Type,
        tests::judged::judged,
    },
    symbolize::Names,
};

fn at(function: &str, file: &str, line: u32, column: u32) -> Frame {
    Frame {
        address: "0x7f0000001000".to_owned(),
        function: Some(function.to_owned()),
        file: Some(file.to_owned()),
        line: Some(line),
        column: Some(column),
        ..Frame::default()
    }
}

/// 500 blocks of 48 bytes leaked by a native stack, half of them since the mark.
pub(super) fn world() -> Report {
    let mut report = judged(100, false, 0);
    let first = report.frames.len();
    report.frames.extend([
        Frame { inlined: true, ..at("keep", "/app/cache.js", 3, 15) },
        at("onRequest", "/app/server.js", 12, 7),
        Frame {
            address: "0x8001".to_owned(),
            function: Some("LazyCompile:other".to_owned()),
            ..Frame::default()
        },
        Frame { address: "0xdead".to_owned(), unknown: Some("in no mapping".into()), ..Frame::default() },
    ]);
    report.processes.push(Process {
        process: 2,
        pid: 77,
        comm: "node".to_owned(),
        command: "node </script><script>alert(1)</script>".to_owned(),
        javascript: Some(engine()),
        ..report.processes[0].clone()
    });
    let javascript = Stack {
        rank: report.stacks.len() + 1,
        stack: "0x00000000000000aa".to_owned(),
        pid: 77,
        process: 2,
        kind: "javascript".into(),
        function: Some("V8's heap".to_owned()),
        thread: Some("node".to_owned()),
        totals: Totals {
            live_bytes: 3000,
            live_blocks: 3,
            allocs: 9,
            alloc_bytes: 9000,
            ..Totals::default()
        },
        error_bytes: Some(700),
        types: vec![kind("Session", 2000, 2), kind("String", 1000, 1)],
        complete: true,
        stopped: "end".into(),
        frames: vec![first, first + 1],
        ..report.stacks[0].clone()
    };
    report.stacks.push(javascript.clone());
    report.stacks.push(Stack {
        rank: report.stacks.len() + 1,
        stack: "0x00000000000000ab".to_owned(),
        kind: "heap".into(),
        owner: Some("V8's parser and compilers".into()),
        function: None,
        totals: Totals { live_bytes: 77, live_blocks: 7, allocs: 7, alloc_bytes: 77, ..Totals::default() },
        error_bytes: None,
        types: Vec::new(),
        complete: false,
        stopped: "unknown code".into(),
        frames: vec![first + 3, first + 2],
        ..javascript.clone()
    });
    // Blocks without a stack.
    report.stacks.push(Stack {
        rank: report.stacks.len() + 1,
        stack: "0x0000000000000000".to_owned(),
        kind: "heap".into(),
        function: None,
        totals: Totals { live_bytes: 5, live_blocks: 1, allocs: 1, alloc_bytes: 5, ..Totals::default() },
        error_bytes: None,
        types: Vec::new(),
        complete: false,
        stopped: "stack unknown".into(),
        frames: Vec::new(),
        ..javascript
    });
    report
}

fn kind(name: &str, bytes: u64, samples: u64) -> Type {
    Type { name: name.to_owned(), live: Estimate { bytes, error_bytes: 10, samples } }
}

/// Three whole collections, each of which left more, and one of the young generation.
fn engine() -> JavaScript {
    let cycle = |number: u64, collector: &'static str, after| Cycle {
        at_ns: number * 20_000_000_000,
        pause_ns: number * 1_000_000,
        collector: collector.into(),
        reason: "allocation limit".into(),
        heap: "0xa000".to_owned(),
        tid: 77,
        before: None,
        after,
        samples: 3,
        samples_died: 0,
    };
    JavaScript {
        engine: "V8 11.3.244.8".to_owned(),
        sample_interval: 1000,
        samples: 40,
        refills_seen: 0.125,
        unseen: Vec::new(),
        followed: true,
        sampled_bytes: 9000,
        live: Estimate { bytes: 3000, error_bytes: 700, samples: 3 },
        types: Vec::new(),
        minor: CollectionTotals { count: 1, ..CollectionTotals::default() },
        major: CollectionTotals { count: 3, ..CollectionTotals::default() },
        collections: vec![
            cycle(1, "mark-compact", Some(1_000_000)),
            cycle(2, "scavenge", None),
            cycle(3, "mark-compact", Some(1_500_000)),
            cycle(4, "mark-compact", Some(2_000_000)),
        ],
        collections_left_out: 2,
    }
}

/// Nothing traced.
pub(super) fn empty() -> Report {
    Report::new(&Ledger::new(4096), &Names::default(), Options::default())
}
