//! Which addresses of a file lie between functions, in padding.

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use leaktrace::unwind::{
    padding::{Code, Source},
    rule::Machine,
};
use object::{Object, ObjectSection};

/// What lies between functions.
pub(crate) struct Padding<'d> {
    code: Code<'d>,
    /// Starts and ends of functions, sorted.
    functions: Vec<(u64, u64)>,
}

impl<'d> Padding<'d> {
    pub(crate) fn of(file: &object::File<'d>, source: &'d dyn Source, machine: Machine) -> Self {
        let mut functions = Vec::new();
        if let Some(section) = file.section_by_name(".eh_frame") {
            let bases = BaseAddresses::default().set_eh_frame(section.address());
            let eh_frame = EhFrame::new(section.data().unwrap(), LittleEndian);
            let mut entries = eh_frame.entries(&bases);
            while let Some(entry) = entries.next().unwrap() {
                let CieOrFde::Fde(entry) = entry else { continue };
                let entry = entry.parse(EhFrame::cie_from_offset).unwrap();
                functions.push((entry.initial_address(), entry.end_address()));
            }
        }
        functions.sort_unstable();
        Self { code: Code::of(file, source, machine), functions }
    }

    pub(crate) fn is_at(&self, address: u64) -> bool {
        let after = self.functions.partition_point(|(start, _)| *start <= address);
        let Some((end, start)) = after
            .checked_sub(1)
            .and_then(|before| Some((self.functions.get(before)?.1, self.functions.get(after)?.0)))
        else {
            return false;
        };
        (end..start).contains(&address) && self.code.is_padding(end, start)
    }
}
