//! Files of processes and their maps: each is read once, when a frame in it is first named.
//!
//! Everything is opened below the process's root, so that containers' own files are used and no link leads out.

use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use super::{
    Mapped, comment,
    decode::Mappings,
    loss::{Loss, Losses},
    paths::{self, Address},
    text::Text,
};
use crate::{
    process::{self, Root},
    runtime::v8::JsFrame,
};

/// Larger than bundles and maps are; what is above it is not worth the memory.
const LARGEST: u64 = 256 << 20;
/// Of all maps together.
const MAX_KEPT: usize = 1 << 30;
/// A process's start is known to the second.
const SLACK: Duration = Duration::from_secs(2);

/// The maps of all processes. Those that run the same files share them.
#[derive(Debug, Default)]
pub struct SourceMaps {
    kept: HashMap<FileKey, Kept>,
    losses: Losses,
}

/// One process's view of its files, held open: names are made after it has ended, too.
#[derive(Debug)]
pub struct ProcessFiles {
    root: Root,
    started: Option<SystemTime>,
    known: HashMap<String, Option<Arc<Mapped>>>,
}

/// A file as it was when it was read. The path counts too, as maps are named by where the file is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FileKey {
    root: (u64, u64),
    path: String,
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// Maps go with the last process that has them.
#[derive(Debug)]
enum Kept {
    Mapped(Weak<Mapped>, SystemTime),
    None,
}

impl ProcessFiles {
    pub(super) fn below(root: &Path, started: Option<SystemTime>) -> io::Result<Self> {
        Ok(Self { root: Root::at(root)?, started, known: HashMap::new() })
    }
}

impl SourceMaps {
    /// A process's files; none where it is gone.
    pub fn process(&mut self, pid: u32) -> Option<ProcessFiles> {
        let files = ProcessFiles::below(&Root::of(pid), process::started(pid));
        files.inspect_err(|_| self.losses.add(Loss::NoProcess, &format!("pid {pid}"))).ok()
    }

    /// Puts the author's place and name into a frame, as far as they are known.
    pub fn translate(&mut self, files: &mut ProcessFiles, frame: &mut JsFrame) {
        // Others are node's own, evaluated, or without a name.
        if !frame.file.starts_with('/') {
            return;
        }
        if !files.known.contains_key(&frame.file) {
            let mapped = self.find(files, &frame.file);
            files.known.insert(frame.file.clone(), mapped);
        }
        if let Some(Some(mapped)) = files.known.get(&frame.file) {
            mapped.translate(frame);
        }
    }

    /// What could not be translated, by cause: files.
    pub fn losses(&self) -> impl Iterator<Item = (String, u64)> {
        self.losses.described()
    }

    fn find(&mut self, files: &ProcessFiles, path: &str) -> Option<Arc<Mapped>> {
        // Modules are named by address, others by path.
        let decoded = paths::decoded(path);
        let opened = [path, &decoded].into_iter().find_map(|path| {
            let file = files.root.open(Path::new(path)).ok()?;
            let (key, changed) = key(files, &file, path).ok()?;
            Some((file, path, key, changed))
        });
        let Some((file, path, key, changed)) = opened else {
            self.losses.add(Loss::NoFile, path);
            return None;
        };
        let (mapped, changed) = match self.kept.get(&key) {
            Some(Kept::None) => return None,
            Some(Kept::Mapped(mapped, changed)) if mapped.strong_count() > 0 => (mapped.upgrade()?, *changed),
            _ => self.read(files, file, path, key, changed)?,
        };
        if files.started.is_some_and(|started| changed > started + SLACK) {
            self.losses.add(Loss::Changed, path);
        }
        Some(mapped)
    }

    fn read(
        &mut self,
        files: &ProcessFiles,
        file: File,
        path: &str,
        key: FileKey,
        changed: SystemTime,
    ) -> Option<(Arc<Mapped>, SystemTime)> {
        let full = self.kept_bytes() > MAX_KEPT;
        let (kept, found) = match mapped(&files.root, file, path) {
            Ok(Some(_)) if full => {
                self.losses.add(Loss::TooMany, path);
                (Kept::None, None)
            }
            Ok(Some((mapped, of_map))) => {
                self.losses.mapped += 1;
                let (mapped, changed) = (Arc::new(mapped), changed.max(of_map));
                (Kept::Mapped(Arc::downgrade(&mapped), changed), Some((mapped, changed)))
            }
            Ok(None) => {
                self.losses.plain += 1;
                (Kept::None, None)
            }
            Err(loss) => {
                self.losses.add(loss, path);
                (Kept::None, None)
            }
        };
        self.kept.insert(key, kept);
        found
    }

    fn kept_bytes(&self) -> usize {
        let alive = self.kept.values().filter_map(|kept| match kept {
            Kept::Mapped(mapped, _) => mapped.upgrade(),
            Kept::None => None,
        });
        alive.map(|mapped| mapped.text.bytes() + mapped.mappings.bytes()).sum()
    }
}

/// A file's text and its map, with when the map was changed; none for a file that has no map.
fn mapped(root: &Root, file: File, path: &str) -> Result<Option<(Mapped, SystemTime)>, Loss> {
    let bytes = contents(file).map_err(|why| if why == Loss::Unreadable { Loss::NoFile } else { why })?;
    let address = comment::address(&bytes);
    if let Some(address) = address.filter(|address| address.starts_with("data:")) {
        let mappings = Mappings::of_data(address, path)?;
        return Ok(Some((Mapped { text: Text::new(&bytes), mappings }, SystemTime::UNIX_EPOCH)));
    }
    let (named, absent) = match address.map(|address| paths::resolve(address, path)) {
        Some(Address::Paths(paths)) => (paths, Some(Loss::NoMap)),
        Some(Address::Elsewhere) => (Vec::new(), Some(Loss::Elsewhere)),
        None => (Vec::new(), None),
    };
    for map in named.into_iter().chain([format!("{path}.map")]) {
        let file = match root.open(Path::new(&map)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => return Err(Loss::Unreadable),
        };
        let changed = file.metadata().map_or(SystemTime::UNIX_EPOCH, |metadata| changed(&metadata));
        let mappings = Mappings::of_bytes(&contents(file)?, &map)?;
        return Ok(Some((Mapped { text: Text::new(&bytes), mappings }, changed)));
    }
    absent.map_or(Ok(None), Err)
}

fn contents(file: File) -> Result<Vec<u8>, Loss> {
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|_| Loss::Unreadable)?;
    if bytes.len() as u64 > LARGEST { Err(Loss::TooLarge) } else { Ok(bytes) }
}

fn key(files: &ProcessFiles, file: &File, path: &str) -> io::Result<(FileKey, SystemTime)> {
    let metadata = file.metadata()?;
    let key = FileKey {
        root: files.root.id()?,
        path: path.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((key, changed(&metadata)))
}

/// When the file was last written or put there. Not the time that packers and `cp -p` keep.
fn changed(metadata: &Metadata) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0))
}
