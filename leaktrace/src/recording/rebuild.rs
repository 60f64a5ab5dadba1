//! From what a recording holds at a moment to the report of it: the same to the byte, since lists are built in the order
//! in which [`Report::new`] builds them.

use std::collections::HashMap;

use super::{
    ages::Clock,
    changes::Difference,
    moment::{Begin, Diff},
    reader::{Known, State, running},
    stacks::Still,
};
use crate::{
    report::{Frame, Process, Report, Stack, Type, VERSION, rank},
    verdict::{Changed, ChangedStack, HeapDiff, stack_name},
};

/// None where there was no moment yet.
pub(super) fn rebuild(state: &State) -> Option<Report> {
    let begin = state.begin.clone()?;
    let mut listed: Vec<&Known> = state.stacks.iter().flatten().collect();
    listed.sort_unstable_by_key(|known| known.still.key);
    let running = running(&state.processes);
    let mut frames = Frames { state, all: Vec::new(), places: HashMap::new() };
    let mut stacks: Vec<Stack> = listed
        .iter()
        .map(|known| {
            let runs = running.get(&known.still.key.process).copied().unwrap_or_default();
            stack(state, known, Clock { traced_ns: begin.traced_ns, runs }, &mut frames)
        })
        .collect();
    rank(&mut stacks);
    let Begin {
        leaktrace,
        traced_ns,
        older_than_ns,
        watch,
        cost,
        judged,
        growing,
        proofs,
        diff,
        totals,
        coverage,
        processes: _,
        verdicts: _,
    } = begin;
    Some(Report {
        schema: "leaktrace-report",
        version: VERSION,
        leaktrace,
        traced_ns,
        older_than_ns,
        watch,
        cost,
        processes: state.processes.iter().map(|process| with_cycles(state, process)).collect(),
        verdicts: state.verdicts.clone(),
        judged,
        growing,
        proofs,
        diff: diff.map(|diff| difference(state, diff, &listed)),
        totals,
        frames: frames.all,
        stacks,
        coverage,
    })
}

/// A report's frames: each once, as its stacks come to them.
struct Frames<'a> {
    state: &'a State,
    all: Vec<Frame>,
    places: HashMap<u32, usize>,
}

impl Frames<'_> {
    fn place(&mut self, id: u32) -> usize {
        let Self { state, all, places } = self;
        *places.entry(id).or_insert_with(|| {
            all.push(state.frames.get(id as usize).cloned().unwrap_or_default());
            all.len() - 1
        })
    }
}

/// Names were looked at when they were read.
fn string(state: &State, at: u32) -> String {
    state.strings.get(at as usize).cloned().unwrap_or_default()
}

fn stack(state: &State, known: &Known, clock: Clock, frames: &mut Frames<'_>) -> Stack {
    let Known { still, kept, numbers } = known;
    let Still { key, pid, owner, function, thread, complete, stopped, frames: ids } = still;
    let (oldest, median) = kept.ages(clock);
    let named = |(name, live): &(u32, _)| Type { name: string(state, *name), live: *live };
    Stack {
        rank: 0,
        stack: stack_name(key.stack),
        pid: *pid,
        process: key.process,
        kind: key.kind.name().into(),
        owner: owner.map(|owner| string(state, owner).into()),
        function: function.map(|function| string(state, function)),
        thread: thread.map(|thread| string(state, thread)),
        totals: numbers.totals,
        oldest_age_ns: numbers.has_oldest.then_some(oldest),
        median_age_ns: numbers.has_median.then_some(median),
        sizes: numbers.sizes.clone(),
        error_bytes: numbers.error_bytes,
        types: numbers.types.iter().map(named).collect(),
        generations: numbers.generations.clone(),
        complete: *complete,
        stopped: string(state, *stopped).into(),
        frames: ids.iter().rev().map(|id| frames.place(*id)).collect(),
    }
}

fn with_cycles(state: &State, process: &Process) -> Process {
    let mut process = process.clone();
    if let Some(javascript) = &mut process.javascript {
        javascript.collections = state.cycles.get(&process.process).cloned().unwrap_or_default();
    }
    process
}

fn difference(state: &State, diff: Diff, listed: &[&Known]) -> HeapDiff {
    let Diff { from, to, from_ns, to_ns, all, types, elsewhere } = diff;
    let mut stacks = elsewhere;
    for known in listed {
        if let Some(Difference { change, types }) = &known.numbers.difference {
            let named = |one: &Changed<u32>| {
                let Changed { what, change, after_blocks, after_bytes } = *one;
                Changed { what: string(state, what), change, after_blocks, after_bytes }
            };
            let types = types.iter().map(named).collect();
            stacks.push(ChangedStack { stack: known.still.key.stack, change: *change, types });
        }
    }
    stacks.sort_by_key(ChangedStack::order);
    HeapDiff { from, to, from_ns, to_ns, all, types, stacks }
}
