//! The line by which a file names its map: `//# sourceMappingURL=app.js.map`, formerly `//@`.

const KEY: &[u8] = b"sourceMappingURL=";

/// The last such address in the file. What looks like one and is not a line's rest, as within a string, is none.
pub(super) fn address(file: &[u8]) -> Option<&str> {
    memchr::memmem::rfind_iter(file, KEY).find_map(|at| {
        let before = file[..at].trim_ascii_end();
        if !(before.ends_with(b"//#") || before.ends_with(b"//@")) || before.len() == at {
            return None;
        }
        let line = &file[at + KEY.len()..];
        let end = memchr::memchr2(b'\n', b'\r', line).unwrap_or(line.len());
        let address = line[..end].trim_ascii();
        let is_one = !address.iter().any(|byte| byte.is_ascii_whitespace() || b"\"'`".contains(byte));
        std::str::from_utf8(address).ok().filter(|address| is_one && !address.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_comment_counts_in_both_forms() {
        assert_eq!(
            address(b"a()\n//# sourceMappingURL=a.map\nb()\n//@ sourceMappingURL=b.map \r\n\n"),
            Some("b.map")
        );
        assert_eq!(
            address(b"a();//# sourceMappingURL=data:application/json;base64,e30="),
            Some("data:application/json;base64,e30=")
        );
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        assert_eq!(address(b"a()"), None);
        assert_eq!(address(b"const found = '//# sourceMappingURL=';\n"), None);
        assert_eq!(address(b"const found = `//# sourceMappingURL=${name}`;\n"), None);
        assert_eq!(address(b"x = 'sourceMappingURL=a.map"), None);
        assert_eq!(
            address(b"//# sourceMappingURL=a.map\nx = /\\/\\/# sourceMappingURL=(.*)/;\n"),
            Some("a.map")
        );
        assert_eq!(address(b"//# sourceMappingURL=\n"), None);
    }
}
