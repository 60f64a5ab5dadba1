//! Frames as verdicts tell them apart: a place in native code; of JavaScript the function and its line, whatever tier it
//! ran in and wherever its code was.

use std::collections::{HashMap, HashSet};

use crate::{
    attribute::{Frame, Place},
    ledger::{Gone, Ledger},
    symbolize::{Name, Named as Looked, Names, file_name, is_file_of_library, is_of_library},
    verdict::{FrameId, Named},
};

/// What tells a frame from others. Of native code that is its place, which needs no name: those of most are never asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    Native(Place),
    JavaScript { function: String, file: Option<String>, line: Option<u32> },
}

/// How a person reads a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Path of the file that native code is from.
    pub module: Option<String>,
    pub function: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// Every frame that an engine was told of. Ids stay the same.
#[derive(Debug, Default)]
pub struct Frames {
    known: HashMap<FrameId, Known>,
    ids: HashMap<Known, FrameId>,
    next: u64,
}

impl Frames {
    /// With the names that are there by now.
    #[must_use]
    pub fn get(&self, id: FrameId, names: &Names, ledger: &Ledger) -> Option<Shown> {
        Some(match self.known.get(&id)? {
            Known::Native(place) => of_native(*place, names.get(*place), ledger),
            Known::JavaScript { function, file, line } => {
                Shown { module: None, function: Some(function.clone()), file: file.clone(), line: *line }
            }
        })
    }

    /// Forgets functions of JavaScript that are in none of these: which process's they are is not theirs to know.
    pub(super) fn keep_javascript(&mut self, used: impl Iterator<Item = FrameId>) {
        let used: HashSet<FrameId> = used.collect();
        self.retain(|known, id| matches!(known, Known::Native(_)) || used.contains(&id));
    }

    /// Forgets native code that no stack is in any more.
    pub(super) fn forget(&mut self, Gone { processes, binaries }: &Gone) {
        self.retain(|known, _| {
            let Known::Native(place) = known else { return true };
            !place.process().is_some_and(|id| processes.contains(&id))
                && !place.binary().is_some_and(|id| binaries.contains(&id))
        });
    }

    fn retain(&mut self, is_kept: impl Fn(&Known, FrameId) -> bool) {
        self.known.retain(|id, known| is_kept(known, *id));
        self.ids.retain(|known, id| is_kept(known, *id));
    }

    /// The frames of a stack, outermost first. Those of JavaScript have to have their names.
    ///
    /// With JavaScript on the stack, V8's and node's own frames are left out: they differ with the tier.
    pub(super) fn path<'a>(
        &mut self,
        frames: impl DoubleEndedIterator<Item = &'a Frame> + Clone,
        names: &Names,
    ) -> Vec<FrameId> {
        let places = frames.map(|frame| frame.place);
        if !places.clone().any(Place::is_javascript) {
            return places.rev().map(|place| self.id(Known::Native(place))).collect();
        }
        let mut path = Vec::new();
        for place in places.rev().filter(|place| place.is_javascript()) {
            match names.get(place) {
                // Innermost first, as names have it.
                Looked::Known(found) => {
                    path.extend(found.iter().rev().map(|name| self.id(of_javascript(name))));
                }
                Looked::Unknown(_) => path.push(self.id(Known::Native(place))),
            }
        }
        // Who called node's library is to blame for what it allocates: its innermost frames are the same for everyone.
        let own = path.iter().rposition(|id| self.known.get(id).is_some_and(|known| !known.is_of_node()));
        if let Some(own) = own {
            path.truncate(own + 1);
        }
        path
    }

    fn id(&mut self, known: Known) -> FrameId {
        if let Some(id) = self.ids.get(&known) {
            return *id;
        }
        let id = FrameId(self.next);
        self.next += 1;
        self.known.insert(id, known.clone());
        self.ids.insert(known, id);
        id
    }
}

fn of_javascript(name: &Name) -> Known {
    let Name { function, file, line, .. } = name;
    Known::JavaScript { function: function.clone(), file: file.clone(), line: *line }
}

fn of_native(place: Place, looked: &Looked, ledger: &Ledger) -> Shown {
    let names = if let Looked::Known(names) = looked { &names[..] } else { &[] };
    // Of what was inlined here, the innermost function that a person wrote for this program.
    let is_own = |name: &&Name| {
        !is_of_library(&name.function) && !name.file.as_deref().is_some_and(is_file_of_library)
    };
    let name = names.iter().find(is_own).or(names.first());
    Shown {
        module: module(place, ledger).map(str::to_owned),
        function: name.map(|name| name.function.clone()),
        file: name.and_then(|name| name.file.clone()),
        line: name.and_then(|name| name.line),
    }
}

fn module(place: Place, ledger: &Ledger) -> Option<&str> {
    match place {
        Place::Binary { binary, .. } => ledger.binary(binary),
        _ => None,
    }
}

/// Everything that a whole stack is known by, for patterns of suppressions: frames that verdicts leave out and
/// functions that were inlined too.
pub(super) fn all_named<'a>(
    frames: impl Iterator<Item = &'a Frame>,
    names: &'a Names,
    ledger: &'a Ledger,
) -> Vec<Named<'a>> {
    let mut all = Vec::new();
    for frame in frames {
        let module = module(frame.place, ledger);
        match names.get(frame.place) {
            Looked::Known(found) => all.extend(found.iter().map(|name| Named {
                function: Some(&name.function),
                file: name.file.as_deref(),
                module,
            })),
            Looked::Unknown(_) => all.push(Named { module, ..Named::default() }),
        }
    }
    all
}

/// Functions at a place of native code; none for JavaScript.
pub(super) fn native_names(place: Place, names: &Names) -> Option<Vec<&str>> {
    match (place, names.get(place)) {
        (Place::JavaScript { .. }, _) => None,
        (_, Looked::Known(found)) => Some(found.iter().map(|name| name.function.as_str()).collect()),
        (_, Looked::Unknown(_)) => Some(Vec::new()),
    }
}

impl Known {
    /// A function of node's own JavaScript, or one without a script.
    fn is_of_node(&self) -> bool {
        let Self::JavaScript { file, .. } = self else { return false };
        file.as_deref().is_some_and(|file| file.starts_with("node:") || file == "native")
    }
}

impl Shown {
    /// `function file:line`
    #[must_use]
    pub fn label(&self) -> String {
        let Some(function) = &self.function else {
            let module = self.module.as_deref().map(file_name);
            return module.map_or("(unknown function)".to_owned(), |module| format!("(unknown in {module})"));
        };
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{function} ({file}:{line})"),
            (Some(file), None) => format!("{function} ({file})"),
            (None, _) => function.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use leaktrace_common::{process::ProcessId, v8::FunctionKey};

    use super::*;
    use crate::attribute::{At, BinaryId, FileOffset};

    fn frame(address: u64, place: Place) -> Frame {
        Frame { address, place }
    }

    fn native(offset: u64) -> Frame {
        frame(offset, Place::Binary { binary: BinaryId(1), offset: FileOffset(offset) })
    }

    fn javascript(literal: u32, at: At) -> Frame {
        let (process, function) = (ProcessId(1), FunctionKey::new(1, literal));
        frame(7, Place::JavaScript { process, function, at })
    }

    fn name(names: &mut Names, frame: &Frame, functions: &[(&str, &str)]) {
        let name = |(function, file): &(&str, &str)| Name {
            function: (*function).to_owned(),
            file: Some((*file).to_owned()),
            line: Some(1),
            column: None,
            inlined: false,
            line_of_function: false,
        };
        names.insert(frame.place, Looked::Known(functions.iter().map(name).collect()));
    }

    #[test]
    fn a_function_is_one_frame_whatever_tier_it_runs_in_and_node_is_not_to_blame() {
        let (library, interpreted, compiled) =
            (javascript(1, At::Code(5)), javascript(2, At::Bytecode(60)), javascript(3, At::Code(9)));
        let mut names = Names::default();
        name(&mut names, &native(1), &[("v8::internal::Factory::New", "factory.cc")]);
        name(&mut names, &native(2), &[("main", "main.cc")]);
        name(&mut names, &library, &[("alloc", "node:buffer")]);
        name(&mut names, &interpreted, &[("open", "/app.js")]);
        name(&mut names, &compiled, &[("open", "/app.js"), ("serve", "/app.js")]);
        let (mut frames, ledger) = (Frames::default(), Ledger::new(4096));
        let serve = javascript(4, At::Bytecode(70));
        name(&mut names, &serve, &[("serve", "/app.js")]);
        let first = frames.path([native(1), library, interpreted, serve, native(2)].iter(), &names);
        let second = frames.path([native(1), compiled, native(2)].iter(), &names);
        assert_eq!(first, second);
        let labels: Vec<String> =
            first.iter().map(|id| frames.get(*id, &names, &ledger).unwrap().label()).collect();
        assert_eq!(labels, ["serve (/app.js:1)", "open (/app.js:1)"]);
    }

    #[test]
    fn what_is_of_files_and_processes_that_are_gone_is_forgotten_and_its_id_is_no_others() {
        let jit = Frame { address: 1, place: Place::Jit { process: ProcessId(7), address: 1 } };
        let other = Frame { address: 2, place: Place::Binary { binary: BinaryId(2), offset: FileOffset(2) } };
        let mut names = Names::default();
        [native(1), jit, other].iter().for_each(|frame| name(&mut names, frame, &[("f", "f.c")]));
        let (mut frames, ledger) = (Frames::default(), Ledger::new(4096));
        let before = frames.path([native(1), jit, other].iter(), &names);
        frames.forget(&Gone { processes: [ProcessId(7)].into(), binaries: [BinaryId(1)].into() });
        assert_eq!(
            before.iter().map(|id| frames.get(*id, &names, &ledger).is_some()).collect::<Vec<_>>(),
            [true, false, false]
        );
        let after = frames.path([native(1), other].iter(), &names);
        assert_eq!(after[0], before[0]);
        assert!(!before.contains(&after[1]));
    }

    #[test]
    fn functions_of_javascript_are_kept_as_long_as_a_stack_has_them() {
        let (kept, gone) = (javascript(1, At::Code(5)), javascript(2, At::Code(6)));
        let mut names = Names::default();
        name(&mut names, &kept, &[("kept", "/app.js")]);
        name(&mut names, &gone, &[("gone", "/app.js")]);
        name(&mut names, &native(1), &[("main", "main.cc")]);
        let (mut frames, ledger) = (Frames::default(), Ledger::new(4096));
        let mut path = |frame| frames.path([frame].iter(), &names);
        let [kept, gone, native] = [kept, gone, native(1)].map(&mut path);
        frames.keep_javascript(kept.iter().copied());
        let is_known = |path: Vec<FrameId>| frames.get(path[0], &names, &ledger).is_some();
        assert_eq!([kept, gone, native].map(is_known), [true, false, true]);
    }

    #[test]
    fn native_code_is_known_before_it_has_a_name() {
        let (mut names, mut frames, ledger) = (Names::default(), Frames::default(), Ledger::new(4096));
        let before = frames.path([native(1)].iter(), &names);
        let label = |frames: &Frames, names: &Names| frames.get(before[0], names, &ledger).unwrap().label();
        assert_eq!(label(&frames, &names), "(unknown function)");
        name(&mut names, &native(1), &[("f", "f.c")]);
        assert_eq!(frames.path([native(1)].iter(), &names), before);
        assert_eq!(label(&frames, &names), "f (f.c:1)");
    }
}
