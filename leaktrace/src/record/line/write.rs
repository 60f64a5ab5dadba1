//! Lines of what was heard.

use leaktrace_common::{
    counter::Counter,
    stack::StackEntry,
    v8::{Sample, Sighting},
};

use super::{Entry, Line, Live, Mapped, Sampled, What};
use crate::event::{
    Backing, Binary, Collection, Engine, Event, Function, Hooked, InUse, Mapping, Mappings, ProcessEvent,
    Region, SizeInUse, Snapshot, Stack, Traced,
};

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
            Event::InUse(InUse { process, at, sizes }) => {
                let size = |size: &SizeInUse| (size.from, size.to, size.most, size.usual);
                Self::InUse { process: process.0, at: *at, sizes: sizes.iter().map(size).collect() }
            }
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
