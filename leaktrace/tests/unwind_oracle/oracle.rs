//! framehop, asked for the caller of a frame.

use std::{fs, path::Path};

use framehop::{
    ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder,
    aarch64::{CacheAarch64, UnwindRegsAarch64, UnwinderAarch64},
    x86_64::{CacheX86_64, Reg, UnwindRegsX86_64, UnwinderX86_64},
};
use leaktrace::unwind::segment;
use object::{Object, ObjectSection};

use super::{BASE, word};

/// What both unwinders are asked, and the answer: the caller's address, stack pointer and frame pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// The instruction of the call.
    pub(crate) pc: u64,
    pub(crate) stack_pointer: u64,
    pub(crate) frame_pointer: u64,
    pub(crate) second: u64,
    pub(crate) seed: u64,
}

pub(crate) type Answer = Option<(u64, u64, u64)>;

pub(crate) trait Oracle {
    fn ask(&mut self, question: &Question) -> Answer;
}

pub(crate) struct OracleX86_64(UnwinderX86_64<Vec<u8>>, CacheX86_64);

impl OracleX86_64 {
    pub(crate) fn of(path: &Path) -> Self {
        let mut unwinder = UnwinderX86_64::new();
        unwinder.add_module(module(path));
        Self(unwinder, CacheX86_64::new())
    }
}

impl Oracle for OracleX86_64 {
    fn ask(&mut self, question: &Question) -> Answer {
        let mut regs = UnwindRegsX86_64::new(question.pc + 1, question.stack_pointer, question.frame_pointer);
        regs.set(Reg::RBX, question.second);
        let address = FrameAddress::from_return_address(question.pc + 1)?;
        let mut read = |address| Ok(word(question.seed, address));
        let caller = self.0.unwind_frame(address, &mut regs, &mut self.1, &mut read).ok()??;
        Some((caller, regs.sp(), regs.bp()))
    }
}

pub(crate) struct OracleAarch64(UnwinderAarch64<Vec<u8>>, CacheAarch64);

impl OracleAarch64 {
    pub(crate) fn of(path: &Path) -> Self {
        let mut unwinder = UnwinderAarch64::new();
        unwinder.add_module(module(path));
        Self(unwinder, CacheAarch64::new())
    }
}

impl Oracle for OracleAarch64 {
    fn ask(&mut self, question: &Question) -> Answer {
        let mut regs =
            UnwindRegsAarch64::new(question.second, question.stack_pointer, question.frame_pointer);
        let address = FrameAddress::from_return_address(question.pc + 1)?;
        let mut read = |address| Ok(word(question.seed, address));
        let caller = self.0.unwind_frame(address, &mut regs, &mut self.1, &mut read).ok()??;
        Some((caller, regs.sp(), regs.fp()))
    }
}

impl Question {
    /// What the frame-pointer chain says.
    pub(crate) fn guess(&self) -> Answer {
        let read = |address| word(self.seed, address);
        Some((read(self.frame_pointer + 8), self.frame_pointer + 16, read(self.frame_pointer)))
    }
}

/// framehop's module of a file.
fn module(path: &Path) -> Module<Vec<u8>> {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let range = |name| file.section_by_name(name).map(|it| it.address()..it.address() + it.size());
    let bytes = |name| file.section_by_name(name).map(|it| it.uncompressed_data().unwrap().into_owned());
    let end = segment::executable(&file).iter().map(|it| it.address + it.size).max().unwrap();
    Module::new(
        path.display().to_string(),
        BASE..BASE + end,
        BASE,
        ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            text: None,
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: bytes(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: bytes(".eh_frame_hdr"),
            debug_frame: bytes(".debug_frame"),
            ..ExplicitModuleSectionInfo::default()
        },
    )
}
