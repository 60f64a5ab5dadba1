//! What the threads of the traced processes have in their registers, by a task iterator: nothing is stopped.

use std::{
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{Btf, programs::Iter};
use leaktrace_common::thread::ThreadRegisters;
use zerocopy::FromBytes as _;

use super::{
    load::{Kernel, LoadError},
    tables,
};

const PROGRAM: &str = "thread_registers";

/// Lists registers; of use in any thread, and for as long as it is kept.
#[derive(Debug)]
pub struct Registers {
    link: OwnedFd,
}

impl Kernel {
    /// Makes registers readable. Apart from loading, as few need it.
    ///
    /// # Errors
    /// The kernel refuses the iterator.
    pub fn load_registers(&mut self) -> Result<Registers, LoadError> {
        let refused = |source| LoadError::Program { program: PROGRAM, source };
        let types = Btf::from_sys_fs().map_err(|error| refused(error.into()))?;
        let iterator: &mut Iter = self.program(PROGRAM)?;
        iterator.load("task", &types).map_err(refused)?;
        let program = iterator.fd().map_err(refused)?;
        // aya's own link gives one list and is gone.
        let link = tables::link_iterator(program.as_fd()).map_err(unreadable)?;
        Ok(Registers { link })
    }
}

impl Registers {
    /// Every thread of every traced process, as it was when it last entered the kernel.
    ///
    /// # Errors
    /// The list could not be read.
    pub fn list(&self) -> Result<Vec<ThreadRegisters>, LoadError> {
        let mut file = tables::iterate(self.link.as_fd()).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        let (records, _) = bytes.as_chunks::<{ size_of::<ThreadRegisters>() }>();
        Ok(records.iter().filter_map(|record| ThreadRegisters::read_from_bytes(record).ok()).collect())
    }
}

fn unreadable(source: std::io::Error) -> LoadError {
    LoadError::Table { table: PROGRAM, source }
}
