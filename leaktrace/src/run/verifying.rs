//! Verify before report: survivors that a verdict counts are looked up in the allocator's own memory.
//!
//! glibc's heap is read, with the lists of blocks that wait to be given out again; of other allocators nothing is known
//! there. A block counts only if the kernel side still has it afterwards, by the same birth: one that was freed meanwhile is
//! a death, and no error of the books.

use std::{collections::HashMap, time::Duration};

use leaktrace_common::process::ProcessId;
use tokio::time::Instant;

use super::session::Session;
use crate::{
    heap_reader::{HeapReader, Liveness},
    judge::{Judges, Survivors},
    kernel::clock::{of_thread, page_size},
    ledger::{LiveBlock, State as Life},
    verdict::{Checked, NoState, Verified},
};

/// A large heap is not walked more often than for this part of a CPU; until then what was found last stands. What was never
/// looked at is looked at in any case.
const SHARE_OF_TIME: u32 = 20;

/// Readers of the heaps that something is suspected in.
#[derive(Default)]
pub(super) struct Verifying(HashMap<ProcessId, Reading>);

struct Reading {
    /// None where the heap is of no glibc that is known.
    reader: Option<HeapReader>,
    not_before: Instant,
}

impl Verifying {
    /// Holds everything native that is suspected against the allocator's state.
    pub(super) fn verify(&mut self, session: &Session, judges: &mut Judges) {
        let wanted = judges.survivors(&session.ledger);
        self.0.retain(|process, _| wanted.iter().any(|survivors| survivors.process == *process));
        let (now, mut spent) = (Instant::now(), HashMap::<ProcessId, u64>::new());
        for Survivors { process, node, blocks } in wanted {
            let Some(pid) = running(session, process) else {
                judges.ended_before_verified(process, node);
                continue;
            };
            let begun = of_thread();
            let reading = self.0.entry(process).or_insert_with(|| Reading {
                reader: HeapReader::open(pid, page_size()).ok(),
                not_before: now,
            });
            if now < reading.not_before && judges.still_verified(process, node) {
                continue;
            }
            let found = look(session, reading.reader.as_mut(), process, &blocks);
            judges.verified(process, node, found);
            *spent.entry(process).or_default() += of_thread().saturating_sub(begun);
        }
        for (process, ns) in spent {
            if let Some(reading) = self.0.get_mut(&process) {
                reading.not_before = Instant::now() + Duration::from_nanos(ns) * SHARE_OF_TIME;
            }
        }
    }
}

fn look(
    session: &Session,
    reader: Option<&mut HeapReader>,
    process: ProcessId,
    blocks: &[(LiveBlock, Option<u16>)],
) -> Verified {
    let unheard = blocks.iter().filter(|(block, _)| !session.ledger.is_heard(block)).count() as u64;
    // They may all be free.
    let is_doubtful =
        Checked { checked: blocks.len() as u64, refuted: unheard, ..Checked::default() }.is_doubtful();
    let impossible =
        |because| Verified::Impossible { because: if is_doubtful { NoState::Unheard } else { because } };
    let is_of_glibc = |hook: Option<u16>| hook.is_some_and(|hook| session.is_of_glibc(hook));
    let (own, others): (Vec<_>, Vec<_>) = blocks.iter().partition(|(_, hook)| is_of_glibc(*hook));
    let mut found =
        Checked { checked: others.len() as u64, unknown: others.len() as u64, ..Checked::default() };
    let addresses: Vec<u64> = own.iter().map(|(block, _)| block.address).collect();
    let states = match reader.map(|reader| reader.check(&addresses)) {
        _ if own.is_empty() => Vec::new(),
        Some(Ok(checked)) => checked.states,
        Some(Err(_)) | None => return impossible(NoState::UnknownHeap),
    };
    for ((block, _), state) in own.iter().zip(states) {
        let lives = session.live_block(process, block.address);
        if lives.is_some_and(|live| live.born == block.born && live.size == block.size) {
            found.checked += 1;
            match state {
                Liveness::Live => found.confirmed += 1,
                Liveness::Free => found.refuted += 1,
                Liveness::Unknown(_) => found.unknown += 1,
            }
        }
    }
    match found {
        Checked { checked: 0, .. } => Verified::Impossible { because: NoState::AllFreed },
        Checked { checked, unknown, .. } if checked == unknown && own.is_empty() => {
            impossible(NoState::OtherAllocator)
        }
        Checked { checked, unknown, .. } if checked == unknown => impossible(NoState::Unread),
        found => Verified::Allocator(found),
    }
}

fn running(session: &Session, process: ProcessId) -> Option<u32> {
    let known = session.ledger.processes().find(|known| known.id == process)?;
    (known.state == Life::Running).then_some(known.pid)
}
