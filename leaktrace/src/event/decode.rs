//! Bytes of the ring buffer to events.

use leaktrace_common::{
    event::{
        CollectionRecord, FunctionRecord, HeapRecord, ProcessRecord, RecordKind, RegionRecord, STACK_HEADER,
    },
    hook::Shape,
    process::ProcessId,
    stack::{StackId, StopReason},
};
use thiserror::Error;
use zerocopy::FromBytes;

use super::{Collection, Event, Function, ProcessEvent, Region, Stack};

/// A record that this agent cannot read: counted, and shown in the coverage line.
#[derive(Debug, Error, PartialEq)]
pub enum DecodeError {
    #[error("record of {0} bytes is shorter than its kind says")]
    Short(usize),
    #[error("unknown record kind {0}")]
    Kind(u32),
    #[error("unknown value {value} of {field}")]
    Value { field: &'static str, value: u32 },
}

/// One record.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let kind = word(bytes, 0)?;
    match RecordKind::try_from(kind).map_err(DecodeError::Kind)? {
        RecordKind::Stack => stack(bytes),
        RecordKind::Region => region(bytes),
        RecordKind::Function => function(bytes),
        RecordKind::Collection => collection(bytes),
        RecordKind::HeapEnded => heap_ended(bytes),
        // A whole one is no event, see `Unfinished`.
        RecordKind::Unfinished => Err(DecodeError::Short(bytes.len())),
        kind @ (RecordKind::Exec | RecordKind::Fork | RecordKind::Exit) => process(kind, bytes),
    }
}

fn stack(bytes: &[u8]) -> Result<Event, DecodeError> {
    let depth = word(bytes, 28)? as usize;
    let frames = bytes
        .get(STACK_HEADER..)
        .and_then(|frames| frames.get(..depth.checked_mul(8)?))
        .ok_or(DecodeError::Short(bytes.len()))?;
    Ok(Event::Stack(Stack {
        process: ProcessId(word(bytes, 4)?),
        id: StackId(u64::from(word(bytes, 8)?) | u64::from(word(bytes, 12)?) << 32),
        stop: StopReason::try_from(word(bytes, 16)?)
            .map_err(|value| DecodeError::Value { field: "stop", value })?,
        hook: u16::try_from(word(bytes, 20)?)
            .map_err(|_| DecodeError::Value { field: "hook", value: u32::MAX })?,
        tgid: word(bytes, 24)?,
        words: frames.as_chunks::<8>().0.iter().map(|address| u64::from_le_bytes(*address)).collect(),
    }))
}

fn region(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (record, _) = RegionRecord::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
    let unknown_shape = DecodeError::Value { field: "shape", value: record.shape };
    let shape = u8::try_from(record.shape)
        .ok()
        .and_then(|shape| Shape::try_from(shape).ok())
        .filter(|shape| matches!(shape, Shape::Map | Shape::Unmap | Shape::Remap))
        .ok_or(unknown_shape)?;
    Ok(Event::Region(Region {
        process: ProcessId(record.process),
        shape,
        flags: record.flags,
        protection: record.protection,
        address: record.address,
        length: record.length,
        old_address: record.old_address,
        old_length: record.old_length,
        stack: StackId(record.stack),
        entered: record.entered,
        returned: record.returned,
    }))
}

fn process(kind: RecordKind, bytes: &[u8]) -> Result<Event, DecodeError> {
    let (record, _) = ProcessRecord::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
    let ProcessRecord { kind: _, tgid, process, before, parent_tgid, padding: _, at } = record;
    let (process, before) = (ProcessId(process), ProcessId(before));
    Ok(Event::Process(match kind {
        RecordKind::Exec => ProcessEvent::Exec { tgid, before, process, at },
        RecordKind::Fork => {
            let process = (process.0 != 0).then_some(process);
            ProcessEvent::Fork { parent_tgid, parent: before, tgid, process, at }
        }
        _ => ProcessEvent::Exit { tgid, process, at },
    }))
}

fn function(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (record, _) = FunctionRecord::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
    let FunctionRecord { kind: _, process, key, seen } = record;
    Ok(Event::Function(Function { process: ProcessId(process), key, seen }))
}

fn collection(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (record, _) =
        CollectionRecord::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
    let CollectionRecord { kind: _, process, heap, began, ended, before, after, tid, .. } = record;
    let CollectionRecord { collector, reason, looked_at, died, looking, .. } = record;
    let size = |bytes| (bytes != 0).then_some(bytes);
    Ok(Event::Collection(Collection {
        process: ProcessId(process),
        heap,
        tid,
        collector,
        reason,
        began,
        ended,
        before: size(before),
        after: size(after),
        looked_at,
        died,
        looking_ns: looking,
    }))
}

fn heap_ended(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (record, _) = HeapRecord::read_from_prefix(bytes).map_err(|_| DecodeError::Short(bytes.len()))?;
    let HeapRecord { kind: _, process, heap } = record;
    Ok(Event::HeapEnded { process: ProcessId(process), heap })
}

fn word(bytes: &[u8], at: usize) -> Result<u32, DecodeError> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_le_bytes).ok_or(DecodeError::Short(bytes.len()))
}

#[cfg(test)]
mod tests {
    use leaktrace_common::event::StackRecord;
    use zerocopy::IntoBytes;

    use super::*;

    fn stack_record(depth: u32, stop: u32) -> StackRecord {
        let mut record = StackRecord {
            kind: RecordKind::Stack as u32,
            process: 7,
            id: 0xdead_beef_0000_0001,
            stop,
            hook: 3,
            tgid: 1234,
            depth,
            frames: [0; leaktrace_common::stack::MAX_FRAMES],
        };
        record.frames[..2].copy_from_slice(&[0x1000, 0x2000]);
        record
    }

    #[test]
    fn a_stack_is_as_long_as_its_depth_says() {
        let record = stack_record(2, StopReason::End as u32);
        let decoded = decode(&record.as_bytes()[..STACK_HEADER + 16]).unwrap();
        assert_eq!(
            decoded,
            Event::Stack(Stack {
                id: StackId(0xdead_beef_0000_0001),
                process: ProcessId(7),
                tgid: 1234,
                hook: 3,
                stop: StopReason::End,
                words: vec![0x1000, 0x2000],
            })
        );
    }

    #[test]
    fn a_stack_with_fewer_frames_than_it_says_is_refused() {
        let record = stack_record(3, StopReason::End as u32);
        let bytes = &record.as_bytes()[..STACK_HEADER + 16];
        assert_eq!(decode(bytes), Err(DecodeError::Short(bytes.len())));
    }

    #[test]
    fn values_from_a_newer_kernel_side_are_refused_not_guessed() {
        let record = stack_record(1, 99);
        assert_eq!(decode(record.as_bytes()), Err(DecodeError::Value { field: "stop", value: 99 }));
        assert_eq!(decode(&77u32.to_le_bytes()), Err(DecodeError::Kind(77)));
        assert_eq!(decode(&[1, 0]), Err(DecodeError::Short(2)));
    }
}
