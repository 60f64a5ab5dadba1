//! Strings, each in the recording once: names of functions, of types, of reasons.

use std::{collections::HashMap, io};

use super::moment::append;

/// Those that are written, and those that are to be.
#[derive(Debug, Default)]
pub(super) struct Strings {
    ids: HashMap<Box<str>, u32>,
    new: Vec<String>,
}

impl Strings {
    /// Its place in the recording's list, from now on.
    pub(super) fn id(&mut self, string: &str) -> u32 {
        if let Some(id) = self.ids.get(string) {
            return *id;
        }
        let id = self.ids.len() as u32;
        self.ids.insert(string.into(), id);
        self.new.push(string.to_owned());
        id
    }

    /// What is to be written before anything that names it.
    pub(super) fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.new.drain(..).try_for_each(|string| append(&mut bytes, &string))?;
        Ok(bytes)
    }
}
