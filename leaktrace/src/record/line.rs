//! The lines of a recording. Numbers stand as they crossed from the kernel side.

use leaktrace_common::{
    counter::{COUNTERS, Counter},
    hook::Shape,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{AGE_BUCKETS, StackEntry, StackId, StopReason, ThreadName},
    v8::{FunctionKey, Sample, Sighting},
};
use serde::{Deserialize, Serialize};

use crate::event::{
    Backing, Binary, BinaryId, Collection, Engine, Event, FileOffset, Function, Hooked, Mapping, Mappings,
    ProcessEvent, Region, Snapshot, Stack, Traced,
};

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

impl From<&Event> for Line {
    fn from(event: &Event) -> Self {
        match event {
            Event::Stack(Stack { id, process, tgid, hook, stop, words }) => Self::Stack {
                process: process.0,
                id: id.0,
                tgid: *tgid,
                hook: *hook,
                stop: *stop as u32,
                words: words.clone(),
            },
            Event::Region(region) => Self::from(*region),
            Event::Process(event) => Self::from(*event),
            Event::Undecodable => Self::Undecodable,
            Event::Traced(Traced { process, pid, comm, command, at }) => Self::Traced {
                process: process.0,
                pid: *pid,
                comm: comm.clone(),
                command: command.clone(),
                at: *at,
            },
            Event::Mappings(Mappings { process, list, whole }) => {
                let list = list.iter().map(Mapped::from).collect();
                Self::Mappings { process: process.0, list, whole: *whole }
            }
            Event::Binary(Binary { id, path }) => Self::Binary { id: id.0, path: path.clone() },
            Event::Hooked(Hooked { number, function, javascript }) => {
                Self::Hooked { number: *number, function: function.clone(), javascript: *javascript }
            }
            Event::Engine(Engine { process, version, interval, unseen, followed }) => Self::Engine {
                process: process.0,
                version: version.clone(),
                interval: *interval,
                unseen: unseen.clone(),
                followed: *followed,
            },
            Event::Function(Function { process, key, seen }) => {
                let Sighting { function, shared, bytecode } = *seen;
                Self::Function { process: process.0, key: key.0, function, shared, bytecode }
            }
            Event::Collection(collection) => Self::from(*collection),
            Event::Paused { at, work } => Self::Paused { at: *at, work: *work },
            Event::Resumed { at, work } => Self::Resumed { at: *at, work: *work },
            Event::Worked { at, work } => Self::Worked { at: *at, work: *work },
            Event::HeapEnded { process, heap } => Self::HeapEnded { process: process.0, heap: *heap },
        }
    }
}

impl From<Collection> for Line {
    fn from(collection: Collection) -> Self {
        let Collection { process, heap, tid, collector, reason, began, ended, .. } = collection;
        let Collection { before, after, looked_at, died, looking_ns, .. } = collection;
        Self::Collection {
            process: process.0,
            heap,
            tid,
            collector,
            reason,
            began,
            ended,
            before,
            after,
            looked_at,
            died,
            looking_ns,
        }
    }
}

impl From<Region> for Line {
    fn from(region: Region) -> Self {
        let Region { process, shape, flags, protection, address, length, .. } = region;
        let Region { old_address, old_length, stack, entered, returned, .. } = region;
        Self::Region {
            process: process.0,
            shape: shape as u8,
            flags,
            protection,
            address,
            length,
            old_address,
            old_length,
            stack: stack.0,
            entered,
            returned,
        }
    }
}

impl From<ProcessEvent> for Line {
    fn from(event: ProcessEvent) -> Self {
        match event {
            ProcessEvent::Exec { tgid, before, process, at } => {
                Self::Exec { tgid, before: before.0, process: process.0, at }
            }
            ProcessEvent::Fork { parent_tgid, parent, tgid, process, at } => {
                let process = process.map(|process| process.0);
                Self::Fork { parent_tgid, parent: parent.0, tgid, process, at }
            }
            ProcessEvent::Exit { tgid, process, at } => Self::Exit { tgid, process: process.0, at },
        }
    }
}

impl From<&Mapping> for Mapped {
    fn from(mapping: &Mapping) -> Self {
        let Mapping { start, end, offset, backing } = *mapping;
        let what = match backing {
            Backing::Binary(binary) => What::Binary(binary.0),
            Backing::Anonymous => What::Anonymous,
            Backing::Vdso => What::Vdso,
        };
        Self { start, end, offset: offset.0, what }
    }
}

impl From<Mapped> for Mapping {
    fn from(mapped: Mapped) -> Self {
        let Mapped { start, end, offset, what } = mapped;
        let backing = match what {
            What::Binary(binary) => Backing::Binary(BinaryId(binary)),
            What::Anonymous => Backing::Anonymous,
            What::Vdso => Backing::Vdso,
        };
        Self { start, end, offset: FileOffset(offset), backing }
    }
}

impl From<&Snapshot> for Line {
    fn from(snapshot: &Snapshot) -> Self {
        let Snapshot { at, stacks, blocks, samples, counters } = snapshot;
        let stacks = stacks.iter().map(|(id, entry)| {
            // The check value has done its work in the kernel, and of threads it is the name that counts.
            let StackEntry { check: _, allocs, alloc_bytes, frees, freed_bytes, process, sent, .. } = *entry;
            let (ages, thread) = (entry.deaths.to_vec(), entry.thread());
            Entry(id.0, process, allocs, alloc_bytes, frees, freed_bytes, sent, ages, thread)
        });
        let blocks = blocks
            .iter()
            .map(|(key, block)| Live(key.process.0, key.address, block.size, block.stack, block.born));
        let counters = Counter::ALL.iter().map(|counter| (*counter, counters[*counter as usize]));
        let counters = counters.filter(|(_, count)| *count > 0);
        Self::Snapshot {
            at: *at,
            stacks: stacks.collect(),
            blocks: blocks.collect(),
            samples: samples.iter().map(Sampled::from).collect(),
            counters: counters.map(|(counter, count)| (counter.key().to_owned(), count)).collect(),
        }
    }
}

impl TryFrom<Line> for Read {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        Ok(Self::Event(match line {
            Line::Stack { process, id, tgid, hook, stop, words } => Event::Stack(Stack {
                id: StackId(id),
                process: ProcessId(process),
                tgid,
                hook,
                stop: StopReason::try_from(stop).map_err(|stop| format!("unknown stop reason {stop}"))?,
                words,
            }),
            Line::Region {
                process,
                shape,
                flags,
                protection,
                address,
                length,
                old_address,
                old_length,
                stack,
                entered,
                returned,
            } => Event::Region(Region {
                process: ProcessId(process),
                shape: Shape::try_from(shape).map_err(|shape| format!("unknown shape {shape}"))?,
                flags,
                protection,
                address,
                length,
                old_address,
                old_length,
                stack: StackId(stack),
                entered,
                returned,
            }),
            Line::Exec { tgid, before, process, at } => Event::Process(ProcessEvent::Exec {
                tgid,
                before: ProcessId(before),
                process: ProcessId(process),
                at,
            }),
            Line::Fork { parent_tgid, parent, tgid, process, at } => Event::Process(ProcessEvent::Fork {
                parent_tgid,
                parent: ProcessId(parent),
                tgid,
                process: process.map(ProcessId),
                at,
            }),
            Line::Exit { tgid, process, at } => {
                Event::Process(ProcessEvent::Exit { tgid, process: ProcessId(process), at })
            }
            Line::Undecodable => Event::Undecodable,
            Line::Traced { process, pid, comm, command, at } => {
                Event::Traced(Traced { process: ProcessId(process), pid, comm, command, at })
            }
            Line::Mappings { process, list, whole } => Event::Mappings(Mappings {
                whole,
                process: ProcessId(process),
                list: list.into_iter().map(Mapping::from).collect(),
            }),
            Line::Binary { id, path } => Event::Binary(Binary { id: BinaryId(id), path }),
            Line::Hooked { number, function, javascript } => {
                Event::Hooked(Hooked { number, function, javascript })
            }
            Line::Engine { process, version, interval, unseen, followed } => {
                Event::Engine(Engine { process: ProcessId(process), version, interval, unseen, followed })
            }
            Line::Paused { at, work } => Event::Paused { at, work },
            Line::Resumed { at, work } => Event::Resumed { at, work },
            Line::Worked { at, work } => Event::Worked { at, work },
            Line::HeapEnded { process, heap } => Event::HeapEnded { process: ProcessId(process), heap },
            Line::Function { process, key, function, shared, bytecode } => Event::Function(Function {
                process: ProcessId(process),
                key: FunctionKey(key),
                seen: Sighting { function, shared, bytecode },
            }),
            Line::Collection {
                process,
                heap,
                tid,
                collector,
                reason,
                began,
                ended,
                before,
                after,
                looked_at,
                died,
                looking_ns,
            } => Event::Collection(Collection {
                process: ProcessId(process),
                heap,
                tid,
                collector,
                reason,
                began,
                ended,
                before,
                after,
                looked_at,
                died,
                looking_ns,
            }),
            Line::Snapshot { at, stacks, blocks, samples, counters } => {
                let samples = samples.into_iter().map(Sample::from).collect();
                return Ok(Self::Snapshot(Box::new(snapshot(at, stacks, blocks, samples, &counters)?)));
            }
        }))
    }
}

/// As recordings from before it was written down.
const fn followed() -> bool {
    true
}

fn snapshot(
    at: u64,
    stacks: Vec<Entry>,
    blocks: Vec<Live>,
    samples: Vec<Sample>,
    counted: &[(String, u64)],
) -> Result<Snapshot, String> {
    let stacks = stacks.into_iter().map(|entry| {
        let Entry(id, process, allocs, alloc_bytes, frees, freed_bytes, sent, ages, thread) = entry;
        let mut deaths = [0; AGE_BUCKETS];
        deaths.iter_mut().zip(ages).for_each(|(bucket, count)| *bucket = count);
        let counts = StackEntry { allocs, alloc_bytes, frees, freed_bytes, ..StackEntry::default() };
        let comm = thread.unwrap_or_default();
        (StackId(id), StackEntry { process, sent, deaths, comm, ..counts })
    });
    let blocks = blocks.into_iter().map(|Live(process, address, size, stack, born)| {
        (BlockKey::new(ProcessId(process), address), Block { size, stack, born })
    });
    let mut counters = [0; COUNTERS];
    for (key, count) in counted {
        let counter = Counter::ALL.iter().find(|counter| counter.key() == key);
        let counter = counter.ok_or_else(|| format!("unknown counter {key}"))?;
        counters[*counter as usize] = *count;
    }
    Ok(Snapshot { at, stacks: stacks.collect(), blocks: blocks.collect(), samples, counters })
}

impl From<&Sample> for Sampled {
    fn from(sample: &Sample) -> Self {
        let Sample { process, heap, stack, weight, size, born, born_major, .. } = *sample;
        let Sample { minor_survived, major_survived, state, instance_type, constructor, shift, .. } = *sample;
        let constructor = constructor.0;
        Self {
            process,
            heap,
            stack,
            weight,
            size,
            born,
            born_major,
            minor_survived,
            major_survived,
            state,
            instance_type,
            constructor,
            shift,
        }
    }
}

impl From<Sampled> for Sample {
    fn from(sampled: Sampled) -> Self {
        let Sampled { process, heap, stack, weight, size, born, born_major, .. } = sampled;
        let Sampled { minor_survived, major_survived, state, instance_type, constructor, shift, .. } =
            sampled;
        let constructor = FunctionKey(constructor);
        Self {
            process,
            heap,
            stack,
            weight,
            size,
            born,
            born_major,
            minor_survived,
            major_survived,
            state,
            instance_type,
            constructor,
            shift,
            ..Self::default()
        }
    }
}
