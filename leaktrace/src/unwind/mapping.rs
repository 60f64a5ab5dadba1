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

/// The mappings with code of a text as `/proc/PID/maps` has it, sorted by address; neighbours without a file are
/// one. Lines that cannot be read are left out.
#[must_use]
pub fn parse(maps: &str) -> Vec<CodeMapping> {
    let mut mappings: Vec<CodeMapping> = Vec::new();
    for mapping in maps.lines().filter_map(line) {
        match mappings.last_mut() {
            Some(last)
                if last.code == Code::Anonymous
                    && mapping.code == Code::Anonymous
                    && last.end == mapping.start =>
            {
                last.end = mapping.end;
            }
            _ => mappings.push(mapping),
        }
    }
    mappings.sort_by_key(|mapping| mapping.start);
    mappings
}

fn line(line: &str) -> Option<CodeMapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = hex(fields.next()?)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = hex(major)? << 32 | hex(minor)?;
    let inode = fields.next()?.parse().ok()?;
    let code = match fields.next().unwrap_or("").trim_start() {
        "[vdso]" => Code::Vdso,
        // Of the kernel, and never on a stack that a probe sees.
        "[vsyscall]" | "[uprobes]" => return None,
        _ if inode != 0 => Code::File { device, inode },
        _ => Code::Anonymous,
    };
    Some(CodeMapping { start: hex(start)?, end: hex(end)?, offset, code })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_kept_and_neighbours_of_a_jit_are_one() {
        let maps = "\
55d0c0a00000-55d0c0a01000 r--p 00000000 fe:01 42                         /usr/bin/x y
55d0c0a01000-55d0c0a02000 r-xp 00001000 fe:01 42                         /usr/bin/x y
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7f0000001000-7f0000002000 r-xp 00000000 00:00 0 [anon: v8]
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
nonsense
";
        let mapping = |start, end, offset, code| CodeMapping { start, end, offset, code };
        assert_eq!(
            parse(maps),
            [
                mapping(
                    0x55d0_c0a0_1000,
                    0x55d0_c0a0_2000,
                    0x1000,
                    Code::File { device: 0xfe << 32 | 1, inode: 42 }
                ),
                mapping(0x7f00_0000_0000, 0x7f00_0000_2000, 0, Code::Anonymous),
                mapping(0x7ffd_0000_0000, 0x7ffd_0000_2000, 0, Code::Vdso),
            ]
        );
    }
}
