//! Stacks that a user has judged: `--suppress FILE`, in the format of LeakSanitizer's suppressions.
//!
//! A line is `leak:PATTERN`, empty, or a comment that begins with `#`. A stack is suppressed if the pattern is found in
//! any frame's function, file or module: `*` stands for any text, `^` at the start and `$` at the end hold it to the
//! start and end of the name. Source: <https://clang.llvm.org/docs/AddressSanitizer.html#suppressing-memory-leaks> and
//! TemplateMatch in compiler-rt's sanitizer_suppressions.cpp.

use thiserror::Error;

/// What a stack's frame is known by; what is not known is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Named<'a> {
    pub function: Option<&'a str>,
    pub file: Option<&'a str>,
    pub module: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As it was written.
    pub text: String,
    /// From 1.
    pub line: usize,
    starts: bool,
    ends: bool,
    parts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    #[error(
        "{file}:{line}: `{written}` does not say what it suppresses\n\
         write leak:{written} to suppress every stack with `{written}` in it, or begin the line with # for a comment"
    )]
    NoKind { file: String, line: usize, written: String },
    #[error(
        "{file}:{line}: `{kind}:` is for another tool; leaktrace knows leaks only\n\
         write leak:{pattern}, or remove the line"
    )]
    OtherKind { file: String, line: usize, kind: String, pattern: String },
    #[error(
        "{file}:{line}: the pattern is empty or all wildcards and would suppress every leak\n\
         write a part of a function's, file's or module's name after leak:"
    )]
    Everything { file: String, line: usize },
}

impl Suppressions {
    /// `file` is what errors call the text.
    pub fn parse(file: &str, text: &str) -> Result<Self, Unreadable> {
        let mut patterns = Vec::new();
        for (line, written) in (1..).zip(text.lines()) {
            let written = written.trim();
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            let file = || file.to_owned();
            let Some((kind, pattern)) = written.split_once(':') else {
                return Err(Unreadable::NoKind { file: file(), line, written: written.to_owned() });
            };
            let (kind, pattern) = (kind.trim(), pattern.trim());
            if kind != "leak" {
                // A name of C++ has colons too, and was meant whole.
                return Err(if pattern.starts_with(':') || kind.contains(char::is_whitespace) {
                    Unreadable::NoKind { file: file(), line, written: written.to_owned() }
                } else {
                    let (kind, pattern) = (kind.to_owned(), pattern.to_owned());
                    Unreadable::OtherKind { file: file(), line, kind, pattern }
                });
            }
            let pattern = Pattern::new(pattern, line);
            if pattern.parts.is_empty() {
                return Err(Unreadable::Everything { file: file(), line });
            }
            patterns.push(pattern);
        }
        Ok(Self { patterns })
    }

    /// The first pattern that a stack is suppressed by.
    pub fn find<'a>(&self, frames: impl IntoIterator<Item = Named<'a>>) -> Option<&Pattern> {
        let frames: Vec<Named<'a>> = frames.into_iter().collect();
        self.patterns.iter().find(|pattern| frames.iter().any(|frame| pattern.is_of(*frame)))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl Pattern {
    fn new(text: &str, line: usize) -> Self {
        let (starts, rest) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
        let (ends, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
        let parts = rest.split('*').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        // A star at an end takes back what holds the pattern there.
        let (starts, ends) = (starts && !rest.starts_with('*'), ends && !rest.ends_with('*'));
        Self { text: text.to_owned(), line, starts, ends, parts }
    }

    fn is_of(&self, frame: Named<'_>) -> bool {
        let Named { function, file, module } = frame;
        [function, file, module].into_iter().flatten().any(|name| self.is_in(name))
    }

    fn is_in(&self, name: &str) -> bool {
        let Some((last, others)) = self.parts.split_last() else { return false };
        let mut rest = name;
        for (at, part) in others.iter().enumerate() {
            let held = self.starts && at == 0;
            let Some(found) = rest.find(part.as_str()).filter(|found| !held || *found == 0) else {
                return false;
            };
            rest = &rest[found + part.len()..];
        }
        match (self.starts && others.is_empty(), self.ends) {
            (true, true) => rest == last,
            (true, false) => rest.starts_with(last),
            (false, true) => rest.ends_with(last),
            (false, false) => rest.contains(last),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn suppressed(text: &str, function: &str) -> bool {
        let list = Suppressions::parse("known.supp", text).expect("readable");
        list.find([Named::default(), Named { function: Some(function), ..Named::default() }]).is_some()
    }

    #[test]
    fn a_pattern_is_found_anywhere_unless_it_is_held() {
        for (pattern, name, is) in [
            ("leak:parse", "do_parse_request", true),
            ("leak:^parse", "do_parse", false),
            ("leak:^do_*_request$", "do_parse_request", true),
            ("leak:^do_*_request$", "do_parse_requests", false),
            ("leak:req*parse", "do_parse_request", false),
            ("leak:ab*b", "ab", false),
            ("leak:^ab$", "ab", true),
            ("leak:^ab*b$", "abb", true),
            ("leak:^*b$", "ab", true),
            ("leak: libfoo.so ", "/usr/lib/libfoo.so", true),
            ("leak:std::vector", "std::vector<int>::push_back", true),
        ] {
            assert_eq!(suppressed(pattern, name), is, "{pattern} in {name}");
        }
    }

    #[test]
    fn file_and_module_count_like_the_function() {
        let list = Suppressions::parse("f", "# known\n\nleak:cache.js\nleak:libx").expect("readable");
        let file = Named { file: Some("/srv/cache.js"), ..Named::default() };
        let module = Named { module: Some("/usr/lib/libx.so.1"), ..Named::default() };
        assert_eq!(list.find([file]).map(|pattern| (pattern.line, &*pattern.text)), Some((3, "cache.js")));
        assert_eq!(list.find([module]).map(|pattern| pattern.line), Some(4));
        assert!(list.find([Named::default()]).is_none() && !list.is_empty());
    }

    #[test]
    fn an_error_says_where_and_what_to_type() {
        let told = |text| Suppressions::parse("known.supp", text).expect_err("an error").to_string();
        assert!(told("leak:a\nparse_request").starts_with("known.supp:2: `parse_request` does not say"));
        assert!(told("parse_request").contains("write leak:parse_request"));
        assert!(told("std::vector").contains("write leak:std::vector"));
        assert!(told("race:foo").contains("`race:` is for another tool"));
        assert!(told("leak:*").contains("every leak"));
        assert!(told("leak:").contains("every leak"));
    }

    proptest! {
        #[test]
        fn a_name_is_found_by_itself_and_by_its_ends(name in "[a-z_:]{2,12}", cut in 1usize..12) {
            let cut = cut.min(name.len() - 1);
            let whole = format!("leak:^{name}$");
            prop_assert!(suppressed(&whole, &name));
            let (start, end) = name.split_at(cut);
            let pattern = format!("leak:^{start}*{end}$");
            prop_assert!(suppressed(&pattern, &name));
            let between = format!("{start}xyz{end}");
            prop_assert!(suppressed(&pattern, &between));
        }
    }
}
