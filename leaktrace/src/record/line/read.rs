//! What lines tell.

use leaktrace_common::{
    counter::{COUNTERS, Counter},
    hook::Shape,
    live::{Block, BlockKey},
    process::ProcessId,
    stack::{AGE_BUCKETS, StackEntry, StackId, StopReason},
    v8::{FunctionKey, Sample, Sighting},
};

use super::{Entry, Line, Live, Mapped, Read, Sampled, What};
use crate::event::{
    Backing, Binary, BinaryId, Collection, Engine, Event, FileOffset, Function, Hooked, InUse, Mapping,
    Mappings, ProcessEvent, Region, SizeInUse, Snapshot, Stack, Traced,
};

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
            Line::InUse { process, at, sizes } => {
                let size = |(from, to, most, usual)| SizeInUse { from, to, most, usual };
                Event::InUse(InUse {
                    process: ProcessId(process),
                    at,
                    sizes: sizes.into_iter().map(size).collect(),
                })
            }
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
