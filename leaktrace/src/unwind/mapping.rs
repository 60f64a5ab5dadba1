//! Where a process has code.

/// A mapping with code, as `/proc/PID/maps` says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeMapping {
    pub start: u64,
    pub end: u64,
    /// Where it starts in its file, in bytes.
    pub offset: u64,
    pub code: Code,
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A file, by the device and inode that the kernel shows; the path may be gone or of another root.
    File { device: u64, inode: u64 },
    /// The kernel's own functions for user space, the same in every process.
    Vdso,
    /// Made by the process itself, thus by a JIT.
    Anonymous,
}

/// Neighbours without a file made one: a JIT has thousands.
#[must_use]
pub fn joined(mappings: impl IntoIterator<Item = CodeMapping>) -> Vec<CodeMapping> {
    let mut all: Vec<CodeMapping> = Vec::new();
    for mapping in mappings {
        match all.last_mut() {
            Some(last)
                if last.code == Code::Anonymous
                    && mapping.code == Code::Anonymous
                    && last.end == mapping.start =>
            {
                last.end = mapping.end;
            }
            _ => all.push(mapping),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_a_jit_are_one_and_parts_of_a_file_are_not() {
        let mapping = |start, end, code| CodeMapping { start, end, offset: 0, code };
        let file = Code::File { device: 1, inode: 42 };
        assert_eq!(
            joined([
                mapping(0x1000, 0x2000, file),
                mapping(0x2000, 0x3000, file),
                mapping(0x3000, 0x4000, Code::Anonymous),
                mapping(0x4000, 0x5000, Code::Anonymous),
                mapping(0x6000, 0x7000, Code::Anonymous),
            ]),
            [
                mapping(0x1000, 0x2000, file),
                mapping(0x2000, 0x3000, file),
                mapping(0x3000, 0x5000, Code::Anonymous),
                mapping(0x6000, 0x7000, Code::Anonymous),
            ]
        );
    }
}
