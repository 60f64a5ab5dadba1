//! Stacks whose walk met code that there are no tables for yet: the agent finishes them, by the same step, from the
//! registers at that place and a copy of the stack above it.
//!
//! Two stacks that are alike up to there may differ above, so the copy is mixed into the id. It also holds what is no
//! part of any frame's chain, so that one stack can have several ids; reports put them together again.

use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_xadd},
};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_loop, bpf_probe_read_user, bpf_ringbuf_output, bpf_ringbuf_query},
};
use leaktrace_common::{
    counter::Counter,
    event::{RecordKind, StackRecord},
    stack::StopReason,
    unfinished::{COPIED_WORDS, PENDING, UNFINISHED_HEADER, UnfinishedRecord},
};

use super::{Hashes, Walk, returns};
use crate::{
    count::count,
    maps::{EVENTS, UNFINISHED_LEFT},
    read,
};

const PAGE: u64 = 4096;
const COPIED_BYTES: u64 = 8 * COPIED_WORDS as u64;
/// Words a call of `bpf_loop`'s function.
const WORDS_A_CALL: u64 = 16;
/// Numbers below this are neither code nor stack: which of them stands in a word makes no other stack.
const NO_ADDRESS: u64 = 4096;

/// Where the walk ended for want of tables, takes what it takes to finish it and mixes that into the hashes; 1 then. A
/// function of its own, as few stacks come here and the verifier would follow it in every program.
#[inline(never)]
pub fn take(walk: &mut Walk, record: &StackRecord, rest: &mut UnfinishedRecord) -> u32 {
    let wants_tables =
        record.stop == StopReason::NoTables as u32 || record.stop == StopReason::UnknownCode as u32;
    if !wants_tables {
        return 0;
    }
    if !has_room() {
        count(Counter::StackUnfinished);
        return 0;
    }
    let Walk { registers, memory, hashes, .. } = walk;
    registers.load(|address| memory.window.word(address));
    rest.registers = *registers;
    rest.count = copy(registers.stack_pointer, rest) as u32;
    returns::pending(&mut memory.returns, &mut rest.pending);
    hashes.mix(registers.stack_pointer);
    hashes.mix(registers.frame_pointer);
    hashes.mix(registers.second);
    let mut index = 0;
    while index < PENDING {
        hashes.mix(rest.pending[index].key);
        hashes.mix(rest.pending[index].original);
        index += 1;
    }
    // `bpf_loop` wants its context on the stack; pointers into map values may be in it.
    let mut context = Context { hashes, rest };
    // SAFETY: `mix_words` is given this context and nothing else, and it outlives the call.
    unsafe {
        bpf_loop(
            COPIED_WORDS as u32 / WORDS_A_CALL as u32,
            mix_words as *const () as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    1
}

/// Sends the rest of a stack that has just been sent.
#[inline(never)]
pub fn send(record: &StackRecord, rest: &mut UnfinishedRecord) -> u32 {
    rest.kind = RecordKind::Unfinished as u32;
    rest.process = record.process;
    rest.id = record.id;
    rest.tgid = record.tgid;
    rest.at = read::now();
    let mut words = u64::from(rest.count);
    if words > COPIED_WORDS as u64 {
        words = COPIED_WORDS as u64;
    }
    // SAFETY: at most the size of the record, whose words are set as far as `count` says.
    let failed = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut *rest).cast(),
            UNFINISHED_HEADER as u64 + words * 8,
            u64::from(BPF_RB_NO_WAKEUP),
        )
    };
    if failed != 0 {
        count(Counter::StackUnfinished);
    } else if let Some(left) = UNFINISHED_LEFT.get_ptr_mut(0) {
        // SAFETY: an aligned word of a map's value, changed only atomically.
        unsafe { atomic_xadd::<i64, i64, { AtomicOrdering::SeqCst }>(left, -1) };
    }
    0
}

/// Of the ring's 8 MiB, as much may wait when a copy is added. The other half is for stacks and events: one that does
/// not fit there is lost, for a stack with a copy has an id that is not met again.
const MOST_WAITING: u64 = 4 << 20;

fn has_room() -> bool {
    // SAFETY: only asks the map for a number.
    let waiting =
        unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), u64::from(BPF_RB_AVAIL_DATA)) };
    if waiting > MOST_WAITING {
        return false;
    }
    // SAFETY: a word of a map's value. Several CPUs may see the last place free, which does no harm.
    UNFINISHED_LEFT.get_ptr_mut(0).is_some_and(|left| unsafe { left.read_volatile() } > 0)
}

/// Copies as much of the stack from `address` on as there is, whole pages at its end; in words.
#[inline(always)]
fn copy(address: u64, rest: &mut UnfinishedRecord) -> u64 {
    let to_page_end = (PAGE - (address & (PAGE - 1))) & (COPIED_BYTES - 8);
    if read_words(rest, address, COPIED_BYTES) {
        COPIED_BYTES / 8
    } else if to_page_end + PAGE < COPIED_BYTES && read_words(rest, address, to_page_end + PAGE) {
        (to_page_end + PAGE) / 8
    } else if read_words(rest, address, to_page_end) {
        to_page_end / 8
    } else {
        0
    }
}

#[inline(always)]
fn read_words(rest: &mut UnfinishedRecord, address: u64, length: u64) -> bool {
    let into = rest.words.as_mut_ptr().cast();
    // SAFETY: the helper writes `length` bytes, at most as many as `words` has.
    unsafe { bpf_probe_read_user(into, length as u32, address as *const c_void) == 0 }
}

struct Context<'a> {
    hashes: &'a mut Hashes,
    rest: &'a mut UnfinishedRecord,
}

/// Mixes some words. Returns 1 behind the last, as `bpf_loop` has it.
unsafe extern "C" fn mix_words(call: u32, context: *mut Context<'_>) -> i64 {
    // SAFETY: `bpf_loop` passes on the context that `take` made, whose references are live and not used meanwhile.
    let (hashes, rest) = unsafe { (&mut *(*context).hashes, &mut *(*context).rest) };
    let first = u64::from(call) * WORDS_A_CALL;
    let mut index = 0;
    while index < WORDS_A_CALL {
        let at = first + index;
        if at >= u64::from(rest.count) {
            return 1;
        }
        // SAFETY: the mask keeps the index within the array.
        let word = unsafe { *rest.words.as_ptr().add(at as usize & (COPIED_WORDS - 1)) };
        hashes.mix(if word < NO_ADDRESS { u64::from(word != 0) } else { word });
        index += 1;
    }
    0
}
