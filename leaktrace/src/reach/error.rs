//! Why a process's memory could not be searched.

use std::io;

use thiserror::Error;

use crate::process::ProcessError;

#[derive(Debug, Error)]
pub enum ReachError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended, or runs another program: a new [`super::Prover`] is needed for that.
    #[error("the memory of process {pid} is gone")]
    Gone { pid: u32, source: io::Error },
    #[error("the registers of process {pid}'s threads cannot be listed")]
    Registers { pid: u32, source: Box<dyn std::error::Error + Send + Sync> },
}
