//! The lines of a recording. Numbers stand as they crossed from the kernel side.

mod read;
mod write;

use leaktrace_common::stack::ThreadName;
use serde::{Deserialize, Serialize};

use crate::event::{Event, Snapshot};

/// The first line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) leaktrace_stream: u32,
    /// Of the machine, in bytes.
    pub(super) page: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Stack {
        process: u32,
        id: u64,
        tgid: u32,
        hook: u16,
        stop: u32,
        #[serde(alias = "addresses")]
        words: Vec<u64>,
    },
    Region {
        process: u32,
        shape: u8,
        flags: u32,
        protection: u32,
        address: u64,
        length: u64,
        old_address: u64,
        old_length: u64,
        stack: u64,
        entered: u64,
        returned: u64,
    },
    Exec {
        tgid: u32,
        before: u32,
        process: u32,
        at: u64,
    },
    Fork {
        parent_tgid: u32,
        parent: u32,
        tgid: u32,
        process: Option<u32>,
        at: u64,
    },
    Exit {
        tgid: u32,
        process: u32,
        at: u64,
    },
    Undecodable,
    Traced {
        process: u32,
        pid: u32,
        comm: String,
        command: String,
        at: u64,
    },
    Mappings {
        process: u32,
        list: Vec<Mapped>,
        #[serde(default)]
        whole: bool,
    },
    Binary {
        id: u32,
        path: String,
    },
    Hooked {
        number: u16,
        function: String,
        #[serde(default)]
        javascript: bool,
    },
    Engine {
        process: u32,
        version: String,
        interval: u64,
        unseen: Vec<String>,
        #[serde(default = "followed")]
        followed: bool,
    },
    Paused {
        at: u64,
        work: u64,
    },
    Resumed {
        at: u64,
        work: u64,
    },
    Worked {
        at: u64,
        work: u64,
    },
    InUse {
        process: u32,
        at: u64,
        /// Least and largest bytes, blocks at the most, and usual ones.
        sizes: Vec<(u64, u64, u64, u64)>,
    },
    HeapEnded {
        process: u32,
        heap: u64,
    },
    Function {
        process: u32,
        key: u64,
        function: u64,
        shared: u64,
        bytecode: u64,
    },
    Collection {
        process: u32,
        heap: u64,
        tid: u32,
        collector: u32,
        reason: u32,
        began: u64,
        ended: u64,
        before: Option<u64>,
        after: Option<u64>,
        looked_at: u32,
        died: u32,
        looking_ns: u32,
    },
    Snapshot {
        at: u64,
        stacks: Vec<Entry>,
        blocks: Vec<Live>,
        #[serde(default)]
        samples: Vec<Sampled>,
        counters: Vec<(String, u64)>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mapped {
    start: u64,
    end: u64,
    offset: u64,
    what: What,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Binary(u32),
    Anonymous,
    Vdso,
}

/// Stack, process, allocs, alloc_bytes, frees, freed_bytes, sent, deaths by age, thread.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry(
    u64,
    u32,
    u64,
    u64,
    u64,
    u64,
    u32,
    #[serde(default)] Vec<u32>,
    #[serde(default)] Option<ThreadName>,
);

/// Process, address, size, stack, born.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Live(u32, u64, u64, u64, u64);

/// A sample of a JavaScript heap. Where it lies and what comes next in its list is the kernel side's own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Sampled {
    process: u32,
    heap: u64,
    stack: u64,
    weight: u64,
    size: u32,
    born: u64,
    born_major: u32,
    minor_survived: u16,
    major_survived: u16,
    state: u32,
    instance_type: u16,
    constructor: u64,
    /// Not there in streams of before there were windows.
    #[serde(default)]
    shift: u16,
}

/// What a line holds.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    Event(Event),
    Snapshot(Box<Snapshot>),
}

/// As recordings from before it was written down.
const fn followed() -> bool {
    true
}
