//! Why places stay those of the file that was made. Each is counted in files and shown once, with the first file.

use std::collections::BTreeMap;

use super::decode::Undecodable;
use crate::symbolize::OF_SOURCE_MAPS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loss {
    NoProcess,
    /// The script that V8 has cannot be opened as a file.
    NoFile,
    NoMap,
    Elsewhere,
    Unreadable,
    TooLarge,
    TooMany,
    Broken,
    Changed,
}

impl Loss {
    const fn describe(self) -> &'static str {
        match self {
            Self::NoProcess => "the files of a process are out of reach",
            Self::NoFile => "the file that was compiled cannot be opened any more",
            Self::NoMap => "the map that a file names is not there; ship the .map files beside the .js",
            Self::Elsewhere => {
                "a map is at an address of the network, which is not fetched; put it beside the file"
            }
            Self::Unreadable => "a map cannot be read",
            Self::TooLarge => "a file or map of more than 256 MiB, or 16,777,216 entries, is not read",
            Self::TooMany => "the maps before it fill 1 GiB already",
            Self::Broken => "a map is broken",
            Self::Changed => {
                "file or map changed after the process started, so lines and names may be another version's; restart it"
            }
        }
    }
}

impl From<Undecodable> for Loss {
    fn from(why: Undecodable) -> Self {
        match why {
            Undecodable::TooMany => Self::TooLarge,
            Undecodable::Broken => Self::Broken,
        }
    }
}

/// What was lost so far.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// How many files, and the first.
    by_cause: BTreeMap<Loss, (u64, String)>,
    /// Files with a map, and without.
    pub(super) mapped: u64,
    pub(super) plain: u64,
}

impl Losses {
    pub(super) fn add(&mut self, loss: Loss, file: &str) {
        self.by_cause.entry(loss).or_insert_with(|| (0, file.to_owned())).0 += 1;
    }

    /// In words. That most files have no map is usual, that none has is not what was asked for.
    pub(super) fn described(&self) -> impl Iterator<Item = (String, u64)> {
        let none = (self.mapped == 0 && self.plain > 0 && self.by_cause.is_empty())
            .then(|| (format!("{OF_SOURCE_MAPS}no file names one or has one beside it"), self.plain));
        let lost = self.by_cause.iter();
        lost.map(|(loss, (files, first))| {
            (format!("{OF_SOURCE_MAPS}{} (first: {first})", loss.describe()), *files)
        })
        .chain(none)
    }
}
