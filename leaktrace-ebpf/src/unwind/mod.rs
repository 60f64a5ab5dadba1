//! From the registers at a probe to the frames of the stack, by the tables that the agent made from call frame
//! information. Where code has none, by the frame-pointer chain.
//!
//! The step itself is `leaktrace_common::unwind::step`; this is its world: helpers that read, caches that save
//! reading, and the loop.

mod arena;
mod cache;
mod returns;
pub mod unfinished;
mod window;

use core::ffi::c_void;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_loop};
use leaktrace_common::{
    event::StackRecord,
    process::ProcessId,
    stack::{MAX_FRAMES, StopReason},
    unwind::{self, Architecture, MappingEntry, ProcessTable, Registers, Rule, World},
};

pub use self::cache::RuleCache;
use self::{arena::Maps, returns::Returns, window::Window};
use crate::{
    maps::UNWIND_TABLES,
    read,
    regs::{Here, Regs},
};

/// Where a walk starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At a return probe: the registers are the caller's, who is the first frame.
    Return,
    /// At a function's first instruction: the return address is where the call put it, and no rule is needed.
    #[allow(dead_code, reason = "probes at entries and within functions come with single-trap probes")]
    Entry,
    /// At an instruction within a function, before it ran. The function itself is no frame.
    #[allow(dead_code, reason = "as above")]
    Site,
}

/// A walk up a stack. Lies in a map's value, being larger than a program's stack.
#[repr(C)]
pub struct Walk {
    registers: Registers,
    memory: Memory,
    pub hashes: Hashes,
    /// A stack pointer to look out for, 0 for none, and whether a caller has it.
    pub watched: u64,
    pub is_met: u64,
    /// The frames that were left by their frame pointers, innermost first.
    pub chained: [Chained; MAX_FRAMES],
    pub chained_count: u64,
    /// How many of them were passed by who goes through the frames again. In a map's value, as the verifier would follow each
    /// number that it knows apart.
    pub chained_passed: u64,
}

/// A frame that was left by its frame pointer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Chained {
    /// How many frames the record had then: itself is the last of them.
    pub depth: u64,
    pub frame_pointer: u64,
}

/// Two hashes of the frames so far.
#[repr(C)]
pub struct Hashes {
    pub id: u64,
    pub check: u64,
}

/// What a walk knows of the process.
#[repr(C)]
struct Memory {
    window: Window,
    returns: Returns,
    table: ProcessTable,
    padding: u32,
    /// The mapping of the last rule that was looked up.
    mapping: MappingEntry,
    /// Of the process and its generation, see `cache`.
    tag: u64,
}

/// Frames a call of `bpf_loop`'s function: fewer calls cost less, and the verifier follows each frame once.
const FRAMES_A_CALL: u32 = 16;

/// Fills `record.frames`, `depth` and `stop`, and adds to the two hashes, which the caller has started.
#[inline(always)]
pub fn unwind(walk: &mut Walk, record: &mut StackRecord, regs: Regs<'_>, process: ProcessId, start: Start) {
    record.depth = 0;
    walk.chained_count = 0;
    let registers = &mut walk.registers;
    registers.pc = regs.instruction_pointer();
    registers.stack_pointer = regs.stack_pointer();
    registers.frame_pointer = regs.frame_pointer();
    registers.second = regs.second();
    registers.frame_pointer_at = 0;
    registers.second_at = 0;
    registers.is_return = u64::from(start != Start::Site);
    registers.guessed = 0;
    let memory = &mut walk.memory;
    memory.window.forget();
    memory.returns.start();
    // SAFETY: plain words, copied at once; the agent replaces the whole value.
    match unsafe { UNWIND_TABLES.get(process.0) } {
        Some(table) => memory.table = *table,
        // The first frame or two need no tables: better than none.
        None => memory.table = ProcessTable::default(),
    }
    memory.tag = cache::tag(process, memory.table.generation);
    memory.mapping.start = 0;
    memory.mapping.end = 0;
    let epoch = memory.table.epoch;
    walk.hashes.mix(u64::from(epoch));
    if start == Start::Return {
        push(&mut walk.hashes, record, regs.instruction_pointer());
    } else if start == Start::Entry {
        let Walk { registers, memory, .. } = walk;
        if !enter(registers, memory) {
            record.stop = StopReason::Unreadable as u32;
            return;
        }
        let caller = walk.registers.pc;
        push(&mut walk.hashes, record, caller);
    }
    if walk.memory.table.count == 0 {
        record.stop = StopReason::NoTables as u32;
        return;
    }
    record.stop = StopReason::TooDeep as u32;
    let Some(cache) = cache::all() else { return };
    // `bpf_loop` wants its context on the stack; pointers into map values may be in it.
    let mut context = Context { walk: &raw mut *walk, record, cache };
    // SAFETY: `frames` is given this context and nothing else, and it outlives the call.
    unsafe {
        bpf_loop(
            MAX_FRAMES as u32 / FRAMES_A_CALL,
            frames as *const () as *mut c_void,
            (&raw mut context).cast(),
            0,
        );
    }
    if walk.registers.guessed != 0 && record.stop == StopReason::End as u32 {
        // The same frames by tables are another stack, which is not in doubt.
        record.stop = StopReason::Guessed as u32;
        walk.hashes.mix(u64::from(record.stop));
    }
    let taken = walk.registers.stack_pointer.wrapping_sub(regs.stack_pointer());
    walk.memory.window.expect(taken);
}

impl Walk {
    /// Whether the process of the last walk has code made at run time.
    #[inline(always)]
    pub fn has_jit(&self) -> bool {
        self.memory.table.flags & ProcessTable::HAS_JIT != 0
    }

    /// Whether the walk came past the watched stack pointer without meeting it.
    #[inline(always)]
    pub fn has_missed(&self, record: &StackRecord) -> bool {
        let is_past = self.registers.stack_pointer > self.watched || record.stop == StopReason::End as u32;
        self.is_met == 0 && is_past
    }
}

/// Gives a child the tables of its parent, of whom it is a copy, until the agent gives it its own.
#[inline(always)]
pub fn inherit(parent: ProcessId, child: ProcessId) {
    // SAFETY: plain words, copied at once; the agent replaces the whole value.
    let Some(table) = (unsafe { UNWIND_TABLES.get(parent.0) }).copied() else { return };
    let _ = UNWIND_TABLES.insert(child.0, table, u64::from(BPF_NOEXIST));
}

/// Steps to the caller of a function that has not run yet.
#[inline(always)]
fn enter(registers: &mut Registers, memory: &mut Memory) -> bool {
    let stack_pointer = registers.stack_pointer;
    let (found, cfa) = match Here::RETURN_ADDRESS {
        Some(offset) => match memory.window.word(stack_pointer) {
            Some(found) => (found, stack_pointer.wrapping_sub(offset as u64)),
            None => return false,
        },
        None => (registers.second, stack_pointer),
    };
    let found = memory.returns.original(cfa.wrapping_add(Here::RETURN_PROBE_KEY as u64), found);
    registers.pc = found & Here::ADDRESS_BITS;
    registers.stack_pointer = cfa;
    true
}

struct Context {
    walk: *mut Walk,
    record: *mut StackRecord,
    cache: *mut RuleCache,
}

/// What a step sees.
struct Kernel<'a> {
    memory: &'a mut Memory,
    cache: *mut RuleCache,
    chained: &'a mut [Chained; MAX_FRAMES],
    chained_count: &'a mut u64,
    record: &'a mut StackRecord,
}

/// Some frames. Returns 1 at the end of the stack, as `bpf_loop` has it.
unsafe extern "C" fn frames(_: u32, context: *mut Context) -> i64 {
    // SAFETY: `bpf_loop` passes on the context that `unwind` made, whose references are live and not used meanwhile.
    let (walk, record, cache) = unsafe { (&mut *(*context).walk, &mut *(*context).record, (*context).cache) };
    let Walk { registers, memory, hashes, watched, is_met, chained, chained_count, .. } = walk;
    let mut kernel = Kernel { memory, cache, chained, chained_count, record };
    let mut count = 0;
    while count < FRAMES_A_CALL {
        if let Err(reason) = unwind::step::<Here, _>(registers, &mut kernel) {
            kernel.record.stop = reason as u32;
            return 1;
        }
        if registers.stack_pointer == *watched {
            *is_met = 1;
        }
        if !push(hashes, kernel.record, registers.pc) {
            // `stop` says so already.
            return 1;
        }
        count += 1;
    }
    0
}

impl World for Kernel<'_> {
    #[inline(always)]
    fn rule(&mut self, pc: u64) -> Result<Rule, StopReason> {
        let place = cache::place(self.cache, self.memory.tag, pc);
        if let Some(rule) = place.get() {
            return Ok(rule);
        }
        let rule = unwind::rule_at(Maps, &self.memory.table, &mut self.memory.mapping, pc)?;
        place.put(rule);
        Ok(rule)
    }

    #[inline(always)]
    fn stack_word(&mut self, address: u64) -> Option<u64> {
        self.memory.window.word(address)
    }

    #[inline(always)]
    fn stack_words(&mut self, address: u64) -> Option<[u64; 8]> {
        let mut words = [0; 8];
        read::user(address, &mut words).then_some(words)
    }

    #[inline(always)]
    fn returns_to(&mut self, key: u64, found: u64) -> u64 {
        self.memory.returns.original(key, found)
    }

    #[inline(always)]
    fn left_by_chain(&mut self, frame_pointer: u64) {
        let at = *self.chained_count as usize & (MAX_FRAMES - 1);
        self.chained[at] = Chained { depth: u64::from(self.record.depth), frame_pointer };
        *self.chained_count += 1;
    }
}

/// Adds a word to the frames; false if there is no room.
#[inline(always)]
pub fn push(hashes: &mut Hashes, record: &mut StackRecord, address: u64) -> bool {
    let depth = record.depth as usize;
    if depth >= MAX_FRAMES {
        return false;
    }
    record.frames[depth & (MAX_FRAMES - 1)] = address;
    record.depth = depth as u32 + 1;
    hashes.mix(address);
    true
}

impl Hashes {
    /// Adds a word: `id` multiplies and folds it in, `check` is the sum of all the values that `id` had. Each
    /// step of `id` is one to one, so two stacks whose `id` came together had different ones before.
    #[inline(always)]
    pub fn mix(&mut self, word: u64) {
        let id = (self.id ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.id = id ^ (id >> 29);
        self.check = self.check.wrapping_add(self.id);
    }
}
