//! The thread that looks names up: blazesym's caches cannot be shared between threads, and a look-up in a large
//! binary takes a second in which the agent has to keep reading its rings.

use std::{
    collections::HashSet,
    fs::File,
    sync::mpsc::{Receiver, Sender, channel},
};

use leaktrace_common::process::ProcessId;

use super::{
    Named, Names, NoName, SymbolizeError, Symbolizer,
    blaze::{Blaze, size},
};
use crate::attribute::{BinaryId, Place};

enum Request {
    Binary(BinaryId, File, Option<File>),
    PerfMap(ProcessId, File),
    Forget(HashSet<ProcessId>),
    ForgetBinaries(HashSet<BinaryId>),
    Name(Vec<Place>),
}

/// Files of more bytes, their debug information included, are large.
const LARGE: u64 = 32 << 20;

type Answer = Vec<(Place, Named)>;

/// Ends with its handle.
#[derive(Debug)]
pub struct SymbolThread {
    requests: Sender<Request>,
    answers: Receiver<Answer>,
    /// Asked and not answered yet.
    waiting: HashSet<Place>,
    large: HashSet<BinaryId>,
}

impl SymbolThread {
    pub fn start() -> Result<Self, SymbolizeError> {
        let (requests, inbox) = channel();
        let (outbox, answers) = channel();
        std::thread::Builder::new()
            .name("symbols".to_owned())
            .spawn(move || serve(&inbox, &outbox))
            .map_err(SymbolizeError::Start)?;
        Ok(Self { requests, answers, waiting: HashSet::new(), large: HashSet::new() })
    }

    /// The file that holds the code of `binary`, and the one that holds its symbols, where that is another. They are
    /// kept open until they are forgotten, so open them while they are there.
    pub fn add_binary(
        &mut self,
        binary: BinaryId,
        file: File,
        debug: Option<File>,
    ) -> Result<(), SymbolizeError> {
        if size(&file, debug.as_ref()) > LARGE {
            self.large.insert(binary);
        }
        self.send(Request::Binary(binary, file, debug))
    }

    /// The perf map of a process, `/proc/PID/root/tmp/perf-PID.map` with the PID of its own namespace.
    pub fn add_perf_map(&self, process: ProcessId, file: File) -> Result<(), SymbolizeError> {
        self.send(Request::PerfMap(process, file))
    }

    /// Closes the perf maps of these processes.
    pub fn forget(&self, gone: HashSet<ProcessId>) -> Result<(), SymbolizeError> {
        self.send(Request::Forget(gone))
    }

    /// Closes these files.
    pub fn forget_binaries(&mut self, gone: HashSet<BinaryId>) -> Result<(), SymbolizeError> {
        self.large.retain(|id| !gone.contains(id));
        self.send(Request::ForgetBinaries(gone))
    }

    /// Asks for what `names` lacks, and returns at once. Code made at run time should be asked for as soon
    /// as it is seen: its runtime may overwrite it.
    pub fn ask(&mut self, places: &[Place], names: &Names) -> Result<(), SymbolizeError> {
        let is_wanted = |place: &Place| match names.get(*place) {
            Named::Unknown(NoName::NotAsked) => true,
            Named::Unknown(NoName::NoPerfMap) => matches!(place, Place::Jit { .. }),
            _ => false,
        };
        let new: Vec<Place> =
            places.iter().copied().filter(|place| is_wanted(place) && self.waiting.insert(*place)).collect();
        if new.is_empty() { Ok(()) } else { self.send(Request::Name(new)) }
    }

    /// The same but for places in large files that are none of `wanted`.
    pub fn ask_cheap(
        &mut self,
        places: &[Place],
        wanted: &HashSet<BinaryId>,
        names: &Names,
    ) -> Result<(), SymbolizeError> {
        let is_cheap =
            |place: &Place| place.binary().is_none_or(|id| wanted.contains(&id) || !self.large.contains(&id));
        let cheap: Vec<Place> = places.iter().copied().filter(is_cheap).collect();
        self.ask(&cheap, names)
    }

    /// Takes the answers that are there.
    pub fn collect(&mut self, names: &mut Names) {
        while let Ok(answer) = self.answers.try_recv() {
            self.keep(answer, names);
        }
    }

    fn keep(&mut self, answer: Answer, names: &mut Names) {
        for (place, named) in answer {
            self.waiting.remove(&place);
            names.insert(place, named);
        }
    }

    /// Waits for all that was asked.
    pub fn await_all(&mut self, names: &mut Names) -> Result<(), SymbolizeError> {
        while !self.waiting.is_empty() {
            let answer = self.answers.recv().map_err(|_| SymbolizeError::Gone)?;
            self.keep(answer, names);
        }
        Ok(())
    }

    fn send(&self, request: Request) -> Result<(), SymbolizeError> {
        self.requests.send(request).map_err(|_| SymbolizeError::Gone)
    }
}

impl Symbolizer for SymbolThread {
    fn resolve(&mut self, places: &[Place], names: &mut Names) -> Result<(), SymbolizeError> {
        // What was asked before may be answered without a perf map that has come since: it is asked again then.
        for _ in 0..if self.waiting.is_empty() { 1 } else { 2 } {
            self.ask(places, names)?;
            self.await_all(names)?;
        }
        Ok(())
    }
}

fn serve(inbox: &Receiver<Request>, outbox: &Sender<Answer>) {
    let mut blaze = Blaze::new();
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Binary(id, file, debug) => blaze.add_binary(id, file, debug),
            Request::PerfMap(process, file) => blaze.add_perf_map(process, file),
            Request::Forget(gone) => blaze.forget(&gone),
            Request::ForgetBinaries(gone) => blaze.forget_binaries(&gone),
            Request::Name(places) => {
                if outbox.send(blaze.name(&places)).is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    #[test]
    fn generated_code_that_was_asked_for_before_its_perf_map_came_is_named_by_it() {
        let path = std::env::temp_dir().join(format!("leaktrace-late-map-{}", std::process::id()));
        let mut map = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        map.write_all(b"1000 10 made\n").unwrap();
        map.rewind().unwrap();
        let (mut symbols, mut names) = (SymbolThread::start().unwrap(), Names::default());
        let place = Place::Jit { process: ProcessId(1), address: 0x1008 };
        symbols.ask(&[place], &names).unwrap();
        symbols.add_perf_map(ProcessId(1), map).unwrap();
        symbols.resolve(&[place], &mut names).unwrap();
        let Named::Known(found) = names.get(place) else { panic!("no name") };
        assert_eq!(found[0].function, "made");
    }

    #[test]
    fn large_files_are_read_for_what_is_wanted_alone() {
        use crate::attribute::FileOffset;
        let file = |name: &str, bytes| {
            let path = std::env::temp_dir().join(format!("leaktrace-{name}-{}", std::process::id()));
            let file =
                File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            file.set_len(bytes).unwrap();
            file
        };
        let (mut symbols, mut names) = (SymbolThread::start().unwrap(), Names::default());
        let (large, small) = (BinaryId(1), BinaryId(2));
        symbols.add_binary(large, file("large", LARGE + 1), None).unwrap();
        symbols.add_binary(small, file("small", 1), None).unwrap();
        let places = [large, small].map(|binary| Place::Binary { binary, offset: FileOffset(0) });
        let mut asked = |wanted| {
            symbols.ask_cheap(&places, &wanted, &names).unwrap();
            symbols.await_all(&mut names).unwrap();
            places.map(|place| names.contains(place))
        };
        assert_eq!(asked(HashSet::new()), [false, true]);
        assert_eq!(asked(HashSet::from([large])), [true, true]);
    }
}
