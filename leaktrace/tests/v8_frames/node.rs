//! A node that waits for its input, and its stack as the kernel side would see it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use leaktrace::{
    process::{Mappings, Memory, ReadUser},
    runtime::v8::{At, Builtins, FunctionSeen},
};
use leaktrace_common::v8::FunctionKey;

use crate::layout::Binary;

/// Deeper stacks than the test programs have.
const MAX_FRAMES: usize = 400;

/// What is put under target/node, and the one that is installed.
pub(crate) fn found() -> Vec<PathBuf> {
    // From the test program in target/debug/deps.
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap().join("node");
    let mut nodes: Vec<PathBuf> = fs::read_dir(target)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/node"))
        .collect();
    nodes.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    nodes.extend(std::env::split_paths(&path).map(|folder| folder.join("node")).find(|node| node.is_file()));
    nodes.retain(|node| node.is_file());
    nodes
}

pub(crate) struct Node {
    child: Child,
    _output: BufReader<ChildStdout>,
    pub(crate) memory: Memory,
    /// What it says of its own stack, innermost first.
    pub(crate) said: Vec<serde_json::Value>,
    stack: (u64, u64),
    pub(crate) builtins: Builtins,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// None if it has not what the arguments ask for.
    pub(crate) fn start(node: &Path, binary: &Binary, arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new(node)
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/v8_frames"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        // A program that wants Maglev of a node built without.
        if line.starts_with("Maglev is not enabled") {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        if line.is_empty() {
            let ended = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(text.contains("bad option"), "{} {arguments:?}: {text}", node.display());
            return None;
        }
        let said = serde_json::from_str(&line).unwrap();
        let pid = child.id();
        // Until it is in read(2) of its input.
        let sp = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            let text = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
            let words: Vec<&str> = text.split_whitespace().collect();
            let sp = u64::from_str_radix(words.get(7)?.strip_prefix("0x")?, 16).ok()?;
            (words[0] == "0" && words[1] == "0x0").then_some(sp)
        });
        let sp = sp.expect("node waits for its input");
        let mappings = Mappings::read(pid).unwrap();
        let stack = mappings.iter().find(|mapping| mapping.contains(sp)).unwrap();
        let memory = Memory::open(pid).unwrap();
        let copy = copied_builtins(&memory, &mappings, binary);
        let builtins = Builtins { text: binary.builtins.clone(), copy };
        Some(Self { stack: (sp, stack.end), child, _output: output, memory, said, builtins })
    }

    /// JavaScript's frames, innermost first.
    pub(crate) fn frames(&self, binary: &Binary) -> Vec<(FunctionSeen, At)> {
        let (sp, end) = self.stack;
        let chains = (sp..end).step_by(8).map(|fp| self.chain(binary, fp));
        // Leftovers of earlier calls lead into the middle of the chain.
        let chain = chains.take(4096).max_by_key(Vec::len);
        chain.unwrap_or_default()
    }

    fn chain(&self, binary: &Binary, mut fp: u64) -> Vec<(FunctionSeen, At)> {
        let mut frames = Vec::new();
        let mut pc = 0;
        for _ in 0..MAX_FRAMES {
            if !fp.is_multiple_of(8) || !(self.stack.0..self.stack.1).contains(&fp) {
                break;
            }
            frames.extend(self.frame(binary, fp, pc));
            let (Some(next), Some(ret)) = (self.word(fp), self.word(fp + 8)) else { break };
            if next <= fp {
                break;
            }
            (fp, pc) = (next, ret);
        }
        frames
    }

    /// As the kernel side is to do it.
    fn frame(&self, binary: &Binary, fp: u64, pc: u64) -> Option<(FunctionSeen, At)> {
        let layout = &binary.layout;
        let context = self.word(fp - 8)?;
        let function = self.word(fp - 16)?;
        let kind = self.instance_type(binary, function)?;
        if context & 3 != 1 || !(layout.types.first_function..=layout.types.last_function).contains(&kind) {
            return None;
        }
        let field = |object: u64, offset: u32| self.word(object - 1 + u64::from(offset));
        let shared = field(function, layout.function.shared)?;
        let literal = field(shared, layout.shared.literal)? as u32;
        let script = field(shared, layout.shared.script)?;
        let id = match self.instance_type(binary, script) {
            Some(kind) if kind == layout.types.script => field(script, layout.script.id)? >> 32,
            _ => 0,
        };
        let (array, offset) = (self.word(fp - 32)?, self.word(fp - 40)?);
        let is_bytecode = self.instance_type(binary, array) == Some(layout.types.bytecode_array);
        let in_builtins = self.builtins.text.contains(&pc) || self.builtins.copy.contains(&pc);
        let at = match () {
            () if in_builtins && is_bytecode && offset & 1 == 0 => At::Bytecode((offset >> 32) as u32),
            () if in_builtins => At::Builtin,
            () => At::Code(pc),
        };
        let literal = if id == 0 { shared as u32 } else { literal };
        let key = FunctionKey::new(id as u32, literal);
        let bytecode = if matches!(at, At::Bytecode(_)) { array } else { 0 };
        Some((FunctionSeen { key, function, shared, bytecode }, at))
    }

    fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.memory.read(address, &mut word).then_some(u64::from_le_bytes(word))
    }

    fn instance_type(&self, binary: &Binary, object: u64) -> Option<u16> {
        let map = (object & 3 == 1).then(|| self.word(object - 1))??;
        let at = u64::from(binary.layout.map.instance_type);
        (map & 3 == 1).then(|| Some(self.word(map - 1 + at)? as u16))?
    }
}

fn copied_builtins(memory: &Memory, mappings: &Mappings, binary: &Binary) -> std::ops::Range<u64> {
    let length = binary.builtins.end - binary.builtins.start;
    for mapping in mappings.iter().filter(|mapping| mapping.executable && mapping.start > binary.builtins.end)
    {
        if mapping.end - mapping.start < length {
            continue;
        }
        let mut start = vec![0; 0x4_0000];
        if memory.read(mapping.start, &mut start)
            && let Some(at) = start.windows(64).position(|window| window == binary.signature)
        {
            let begin = mapping.start + at as u64;
            return begin..begin + length;
        }
    }
    0..0
}
