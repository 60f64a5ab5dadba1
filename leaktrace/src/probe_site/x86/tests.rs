use iced_x86::{IcedError, code_asm::*};

use super::*;

const ENTRY: u64 = 0x1000;

/// `free`-like: the first argument, and null is nothing.
const FREE: Need = Need { arguments: 0b1, in_place: false, unmoved_stack: false, null_is_nothing: true };
/// `malloc`-like: the first argument, and the return address where it was.
const MALLOC: Need = Need { arguments: 0b1, in_place: false, unmoved_stack: true, null_is_nothing: false };

fn assembled(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    write(&mut assembler).unwrap();
    assembler.assemble(ENTRY).unwrap()
}

fn site_of(bytes: &[u8], need: Need) -> AtEntry {
    entry_site(&Body { address: LinkAddress(ENTRY), bytes }, need)
}

fn site(need: Need, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> AtEntry {
    site_of(&assembled(write), need)
}

const fn fast(from_entry: u32) -> AtEntry {
    AtEntry { from_entry, pushed_words: 0, emulated: true, arguments: [0, 1, 2, 3, 4, 5] }
}

const SLOW: AtEntry =
    AtEntry { from_entry: 0, pushed_words: 0, emulated: false, arguments: [0, 1, 2, 3, 4, 5] };

#[test]
fn a_function_that_starts_with_a_push_is_probed_at_its_entry() {
    assert_eq!(site_of(&[0x55, 0xc3], MALLOC), fast(0));
    assert_eq!(site_of(&[0x41, 0x54, 0xc3], MALLOC), fast(0), "push %r12");
}

#[test]
fn endbr64_is_passed_over() {
    let found = site(MALLOC, |a| {
        a.endbr64()?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(found, fast(4));
}

#[test]
fn a_long_nop_is_never_chosen_and_a_short_one_is() {
    let mut bytes = vec![0x0f, 0x1f, 0x44, 0x00, 0x00];
    assert_eq!(site_of(&[bytes.clone(), vec![0xc3]].concat(), MALLOC), SLOW);
    bytes.extend([0x90, 0xc3]);
    assert_eq!(site_of(&bytes, MALLOC), fast(5));
    assert_eq!(site_of(&[0x66, 0x90, 0xc3], MALLOC), fast(0));
    assert_eq!(site_of(&[0x66, 0x66, 0x66, 0x66, 0x90, 0xc3], MALLOC), SLOW, "five bytes long");
}

#[test]
fn each_branch_to_a_relative_address_can_be_a_site() {
    for (bytes, from_entry) in [
        (&[0xeb, 0x40][..], 0),
        (&[0xe9, 0, 0x10, 0, 0], 0),
        (&[0xe8, 0, 0x10, 0, 0], 0),
        (&[0x74, 0x40], 0),
        (&[0x0f, 0x84, 0, 0x10, 0, 0], 0),
        (&[0x48, 0x39, 0xc8, 0x75, 0x40], 3),
    ] {
        assert_eq!(site_of(bytes, MALLOC), fast(from_entry), "{bytes:x?}");
    }
}

#[test]
fn a_branch_with_a_prefix_is_not_emulated_and_ends_the_walk() {
    assert_eq!(site_of(&[0xf2, 0xe9, 0, 0x10, 0, 0, 0x55], MALLOC), SLOW, "bnd jmp");
    assert_eq!(site_of(&[0xff, 0xe0, 0x55], MALLOC), SLOW, "jmp *%rax");
}

#[test]
fn the_walk_ends_where_an_argument_is_overwritten() {
    let clobber = |a: &mut CodeAssembler| {
        a.mov(edi, 1)?;
        a.push(rbx)?;
        a.ret()
    };
    assert_eq!(site(MALLOC, clobber), SLOW, "by its lower half too");
    let only_second = Need { arguments: 0b10, ..MALLOC };
    assert_eq!(site(only_second, clobber), fast(5), "an argument that nobody reads may go");
    // glibc's reallocarray: `mul` writes the third argument without naming it.
    let third = Need { arguments: 0b111, ..MALLOC };
    let multiplied = site(third, |a| {
        a.mov(rax, rsi)?;
        a.mul(rdx)?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(multiplied, SLOW);
}

/// mimalloc's malloc: the size makes room for the heap.
#[test]
fn an_argument_is_followed_into_another_arguments_register() {
    let code = |a: &mut CodeAssembler| {
        a.mov(rsi, rdi)?;
        a.mov(rdi, qword_ptr(rax))?;
        a.push(rbx)?;
        a.ret()
    };
    let followed = site(MALLOC, code);
    assert_eq!((followed.from_entry, followed.emulated, followed.arguments[0]), (6, true, 1));
    assert_eq!(site(Need { in_place: true, ..MALLOC }, code), SLOW, "unless it is read by position");
    let half = site(MALLOC, |a| {
        a.mov(esi, edi)?;
        a.mov(rdi, qword_ptr(rax))?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(half, SLOW, "half of it is not it");
    let lost_again = site(MALLOC, |a| {
        a.mov(rsi, rdi)?;
        a.xor(edi, edi)?;
        a.mov(rsi, rdi)?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(lost_again, SLOW);
}

#[test]
fn a_system_call_ends_the_walk() {
    let found = site(MALLOC, |a| {
        a.mov(eax, 11)?;
        a.syscall()?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(found, SLOW);
}

#[test]
fn a_moved_stack_ends_the_walk_only_where_a_return_probe_follows() {
    let code = |a: &mut CodeAssembler| {
        a.push(5)?;
        a.sub(rsp, 0x18)?;
        a.push(rbx)?;
        a.ret()
    };
    assert_eq!(site(MALLOC, code), SLOW);
    assert_eq!(
        site(FREE, code),
        AtEntry { from_entry: 6, pushed_words: 4, emulated: true, arguments: [0, 1, 2, 3, 4, 5] }
    );
    let aligned = site(FREE, |a| {
        a.and(rsp, -32)?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(aligned, SLOW, "by how much is not known");
}

#[test]
fn nothing_is_probed_behind_control_flow() {
    let found = site(MALLOC, |a| {
        a.ret()?;
        a.push(rbx)?;
        a.ret()
    });
    assert_eq!(found, SLOW);
}

/// Debian's free: `test %rdi,%rdi; je; push %rbp`.
fn null_checked(checked: AsmRegister64, then_push: bool) -> Vec<u8> {
    assembled(|a| {
        let mut null = a.create_label();
        a.test(checked, checked)?;
        a.je(null)?;
        if then_push {
            a.push(rbp)?;
        }
        a.mov(rax, qword_ptr(rdi))?;
        a.set_label(&mut null)?;
        a.ret()
    })
}

#[test]
fn frees_null_check_is_passed_so_that_null_costs_nothing() {
    assert_eq!(site_of(&null_checked(rdi, true), FREE), fast(5));
    assert_eq!(site_of(&null_checked(rdi, false), FREE), fast(3), "the je itself, if nothing cheap follows");
    assert_eq!(site_of(&null_checked(rsi, true), FREE), fast(3), "another argument may be null");
    assert_eq!(site_of(&null_checked(rdi, true), MALLOC), fast(3), "malloc(0) is a call");
}

#[test]
fn a_place_that_a_loop_comes_back_to_is_refused() {
    let looping = site(FREE, |a| {
        let mut again = a.create_label();
        a.mov(rax, rdi)?;
        a.set_label(&mut again)?;
        a.nop()?;
        a.dec(rax)?;
        a.jne(again)?;
        a.ret()
    });
    assert_eq!(looping, SLOW);
    let tail_recursive = site(FREE, |a| {
        let mut entry = a.create_label();
        a.set_label(&mut entry)?;
        a.mov(rax, rdi)?;
        a.push(rbx)?;
        a.pop(rbx)?;
        a.jmp(entry)
    });
    assert_eq!(tail_recursive, fast(3), "through its entry it is a new call");
}

#[test]
fn a_loop_back_to_behind_the_null_check_leaves_the_check_itself() {
    let found = site(FREE, |a| {
        let (mut null, mut again) = (a.create_label(), a.create_label());
        a.test(rdi, rdi)?;
        a.je(null)?;
        a.set_label(&mut again)?;
        a.nop()?;
        a.dec(rax)?;
        a.jne(again)?;
        a.set_label(&mut null)?;
        a.ret()
    });
    assert_eq!(found, fast(3));
}

#[test]
fn bytes_that_are_no_code_leave_the_entry() {
    assert_eq!(site_of(&[], MALLOC), SLOW);
    assert_eq!(site_of(&[0x06, 0x55], MALLOC), SLOW);
}
