//! Every frame of a report, once.

use std::{collections::HashMap, ops::Range};

use super::{
    Frame,
    owner::{self, Says},
};
use crate::{
    attribute::{self, Place},
    ledger::Ledger,
    symbolize::{Name, Named, Names},
};

pub(super) struct Frames<'a> {
    ledger: &'a Ledger,
    names: &'a Names,
    pub(super) all: Vec<Frame>,
    /// Of each of these.
    says: Vec<Says>,
    /// Where in `all` those of a place are: several where functions are inlined there. Processes may have a place at
    /// different addresses.
    known: HashMap<(Place, u64), Range<usize>>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(ledger: &'a Ledger, names: &'a Names) -> Self {
        Self { ledger, names, all: Vec::new(), says: Vec::new(), known: HashMap::new() }
    }

    /// Where in `all` the frames of this one are, innermost first.
    pub(super) fn of(&mut self, frame: attribute::Frame) -> Range<usize> {
        let Self { ledger, names, all, says, known } = self;
        let new = || {
            let start = all.len();
            all.extend(frames(ledger, names, frame));
            says.extend(all[start..].iter().map(Says::of));
            start..all.len()
        };
        known.entry((frame.place, frame.address)).or_insert_with(new).clone()
    }

    /// The part of V8 that a stack of native memory belongs to.
    pub(super) fn owner(&self, frames: &[usize]) -> Option<&'static str> {
        owner::of(frames.iter().map(|at| self.says[*at]))
    }
}

fn frames(ledger: &Ledger, names: &Names, frame: attribute::Frame) -> Vec<Frame> {
    let (module, offset) = match frame.place {
        Place::Binary { binary, offset } => (ledger.binary(binary).map(str::to_owned), Some(offset)),
        Place::Vdso { offset } => (Some("[vdso]".to_owned()), Some(offset)),
        Place::JavaScript { .. } | Place::Jit { .. } | Place::Unknown(_) => (None, None),
    };
    let bare = Frame {
        address: format!("{:#x}", frame.address),
        module,
        offset: offset.map(|offset| format!("{:#x}", offset.0)),
        ..Frame::default()
    };
    match (frame.place, names.get(frame.place)) {
        (Place::Unknown(reason), _) => vec![Frame { unknown: Some(reason.describe().into()), ..bare }],
        (_, Named::Unknown(reason)) => vec![Frame { unknown: Some(reason.describe().into()), ..bare }],
        (_, Named::Known(found)) => found.iter().map(|name| named(&bare, name)).collect(),
    }
}

fn named(bare: &Frame, name: &Name) -> Frame {
    let Name { function, file, line, column, inlined, line_of_function } = name;
    Frame {
        function: Some(function.clone()),
        file: file.clone(),
        line: *line,
        column: *column,
        inlined: *inlined,
        line_of_function: *line_of_function,
        ..bare.clone()
    }
}
