//! Probes that are placed, taken back and placed again together.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc};

use super::probes::KnownBinary;
use crate::{
    event::BinaryId,
    kernel::{
        Kernel,
        attach::{AttachError, Place, Probe},
    },
};

/// Of one process, or of every one that maps the file.
type Scope = Option<NonZeroU32>;

#[derive(Default)]
pub(super) struct Placed {
    /// They go when this does.
    standing: Vec<(BinaryId, Probe)>,
    /// They were taken back.
    are_lifted: bool,
    /// Where they are placed again.
    places: Vec<(BinaryId, Scope, Vec<Place>)>,
}

impl Placed {
    /// Places these too: with the others, if those are to be placed again.
    pub(super) fn add(
        &mut self,
        kernel: &mut Kernel,
        (id, known): (BinaryId, &KnownBinary),
        scope: Scope,
        places: Vec<Place>,
    ) -> Result<(), AttachError> {
        if places.is_empty() {
            return Ok(());
        }
        if self.are_lifted {
            kernel.prepare(&places)?;
        } else {
            self.stand(id, kernel.attach(&known.file.probe_path(), scope, &places)?);
            self.in_order();
        }
        self.places.push((id, scope, places));
        Ok(())
    }

    /// None stands yet: they are placed together, when they are placed again.
    pub(super) const fn hold_back(&mut self) {
        self.are_lifted = true;
    }

    fn stand(&mut self, id: BinaryId, probes: Vec<Probe>) {
        self.standing.extend(probes.into_iter().map(|probe| (id, probe)));
    }

    /// In the order in which they go, also at the end.
    fn in_order(&mut self) {
        self.standing.sort_by_key(|(_, probe)| probe.turn());
    }

    /// Takes them back, all at once: the kernel removes those of a link and then waits, which need hold up neither the next ones
    /// nor anybody else. Those with links of their own it takes one after another in any case. `until` is kept until they are gone.
    pub(super) fn lift<T: Send + Sync + 'static>(&mut self, until: &Arc<T>) {
        self.are_lifted = true;
        let standing = self.standing.drain(..).map(|(_, probe)| probe);
        let (alone, others): (Vec<_>, Vec<_>) = standing.partition(|probe| probe.turn().is_some());
        let others = others.into_iter().map(|probe| vec![probe]);
        others.chain([alone]).for_each(|probes| take_back(probes, until));
    }

    /// Those in this file are not placed again; the ones that stand are handed over, as they were placed.
    pub(super) fn forget(&mut self, gone: BinaryId) -> Vec<Probe> {
        self.places.retain(|(id, ..)| *id != gone);
        self.standing.extract_if(.., |(id, _)| *id == gone).map(|(_, probe)| probe).collect()
    }

    /// Places those again that were taken back, wherever there is still a process.
    pub(super) fn place_again(
        &mut self,
        kernel: &mut Kernel,
        binaries: &HashMap<BinaryId, KnownBinary>,
    ) -> Result<(), AttachError> {
        if !std::mem::take(&mut self.are_lifted) {
            return Ok(());
        }
        let (mut placed, mut gone) = (Vec::new(), Vec::new());
        for (at, (id, scope, places)) in self.places.iter().enumerate() {
            let Some(known) = binaries.get(id) else { continue };
            match kernel.attach(&known.file.probe_path(), *scope, places) {
                Ok(probes) => placed.push((*id, probes)),
                Err(error) if error.target_gone() => gone.push(at),
                Err(error) => return Err(error),
            }
        }
        placed.into_iter().for_each(|(id, probes)| self.stand(id, probes));
        self.in_order();
        gone.into_iter().rev().for_each(|at| drop(self.places.swap_remove(at)));
        Ok(())
    }

    /// The files that they are in.
    pub(super) fn files(&self) -> impl Iterator<Item = BinaryId> {
        self.places.iter().map(|(id, ..)| *id)
    }
}

/// One after another. `until` is kept until they are gone.
pub(super) fn take_back<T: Send + Sync + 'static>(probes: Vec<Probe>, until: &Arc<T>) {
    if probes.is_empty() {
        return;
    }
    let until = Arc::clone(until);
    // Where there can be no thread they are dropped here and now.
    let _ = std::thread::Builder::new().spawn(move || {
        drop(probes);
        drop(until);
    });
}
