//! Assembled as compilers wrote them in node's official builds.

use iced_x86::{IcedError, code_asm::*};

use super::*;

const PAGE_START: i32 = -0x40000;

fn assembled(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<Instruction> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    write(&mut assembler).unwrap();
    assembler.take_instructions()
}

#[test]
fn node_18_has_the_bitmap_in_the_page() {
    let code = assembled(|a| {
        a.mov(rcx, qword_ptr(rsi))?;
        a.mov(rsi, rcx)?;
        a.and(rsi, PAGE_START)?;
        a.sub(ecx, esi)?;
        a.mov(eax, ecx)?;
        a.shr(eax, 8)?;
        a.test(dword_ptr(rsi + rax * 4 + 0x128), edx)
    });
    assert_eq!(marks_in(code.into_iter()), Some(Marks { bitmap: 0x128, metadata: None }));
}

#[test]
fn node_22_has_it_behind_a_pointer_in_the_page() {
    let code = assembled(|a| {
        a.mov(rcx, qword_ptr(rsi))?;
        a.mov(rdx, rcx)?;
        a.and(rdx, PAGE_START)?;
        a.mov(rsi, qword_ptr(rdx))?;
        a.and(ecx, 0x3ffff)?;
        a.mov(rdx, qword_ptr(rdx + 8))?;
        a.mov(esi, ecx)?;
        a.shr(esi, 9)?;
        a.and(rax, qword_ptr(rdx + rsi * 8 + 0x140))
    });
    assert_eq!(marks_in(code.into_iter()), Some(Marks { bitmap: 0x140, metadata: Some(8) }));
}

#[test]
fn clang_s_node_25_reads_another_field_of_the_metadata_before() {
    let code = assembled(|a| {
        a.mov(rax, qword_ptr(rsi))?;
        a.mov(rcx, rax)?;
        a.and(rcx, PAGE_START)?;
        a.mov(rdx, qword_ptr(rcx))?;
        a.mov(rcx, qword_ptr(rcx + 8))?;
        a.mov(rdx, qword_ptr(rcx + 0x50))?;
        a.shr(eax, 6)?;
        a.and(eax, 0xff8)?;
        a.mov(rax, qword_ptr(rcx + rax + 0x150))
    });
    assert_eq!(marks_in(code.into_iter()), Some(Marks { bitmap: 0x150, metadata: Some(8) }));
}

#[test]
fn a_pointer_of_unknown_origin_is_no_page() {
    let code = assembled(|a| {
        a.mov(rdx, qword_ptr(rdi + 0x8))?;
        a.mov(rax, qword_ptr(rdx + rsi * 8 + 0x140))
    });
    assert_eq!(marks_in(code.into_iter()), None);
}

#[test]
fn flags_are_tested_in_place_or_loaded_first() {
    let in_place = assembled(|a| {
        a.mov(rax, qword_ptr(rsi))?;
        a.test(al, 1)?;
        a.and(rax, PAGE_START)?;
        a.test(byte_ptr(rax + 8), 0x18)
    });
    assert_eq!(young_pages_in(in_place.into_iter()), Some(YoungPages { flags: 8, young: 0x18 }));
    let loaded = assembled(|a| {
        a.mov(rax, qword_ptr(rsi))?;
        a.test(al, 1)?;
        a.and(rax, PAGE_START)?;
        a.mov(rax, qword_ptr(rax))?;
        a.test(al, 0x18)
    });
    assert_eq!(young_pages_in(loaded.into_iter()), Some(YoungPages { flags: 0, young: 0x18 }));
}
