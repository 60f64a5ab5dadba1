use leaktrace::kernel::{Kernel, Options, attach::*, mapped::*};
use leaktrace_common::{hook::*, process::ProcessId};
fn main() {
    let pid: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut k = match Kernel::load(Options { min_size: 0, max_size: u64::MAX, max_live: 1 << 20, max_stacks: 1 << 16 }) {
        Ok(k) => k,
        Err(e) => { println!("{e}"); let mut s: Option<&dyn std::error::Error> = Some(&e); while let Some(x) = s { println!("{x}"); s = x.source(); } return }
    };
    let mut m = MappedEvents::open().unwrap();
    let libc = std::path::Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    let c = |shape: Shape, size, hook| Cookie { shape: shape as u8, size_arg: size, count_arg: 0, pointer_arg: 0, hook, pushed_words: 0 }.pack();
    let p = std::num::NonZeroU32::new(pid);
    let t = std::time::Instant::now();
    let mut at = |program, offset, cookie| { k.attach(&Place { program, file: libc, offset, cookie, pid: p }).unwrap(); };
    at(Program::FreeEnter, 0x98ef9, c(Shape::Free, 0, 0));
    at(Program::CallEnter, 0x98930, c(Shape::Alloc, 0, 1));
    at(Program::CallReturn, 0x98930, c(Shape::Alloc, 0, 1));
    at(Program::CallEnter, 0x99130, c(Shape::Realloc, 1, 2));
    at(Program::CallReturn, 0x99130, c(Shape::Realloc, 1, 2));
    println!("attached {:?}", t.elapsed());
    k.trace(pid, ProcessId(1), 0).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    k.untrace(pid).unwrap();
    let mut out = vec![]; k.drain(&mut out);
    let mut ms = vec![]; m.drain(&mut ms);
    let t = std::time::Instant::now();
    let s = k.snapshot().unwrap();
    println!("snapshot {:?}: {} stacks {} blocks counters {:?} events {} mapped {}", t.elapsed(), s.stacks.len(), s.blocks.len(), s.counters, out.len(), ms.len());
    println!("{:?} {:?}", out.first(), ms.first());
    for (i, e) in s.stacks.iter().take(5) { println!("{i:?} {e:?}"); }
}
