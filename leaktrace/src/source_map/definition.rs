//! Where the name of a function stands that begins at some place.
//!
//! V8 tells a function's first place, which is its parameters' bracket (`function a(` and methods), its first word
//! (`async x=>`) or, of a class without a constructor of its own, the class's. Names stand a few characters before that, or right
//! behind `class`. What does not look so has no name here, and keeps the one by V8.

use super::text::Text;

/// Between a name and its function stand few words: `a = async function* (`, `static async a(`.
const MAX_STEPS: usize = 12;
/// A constructor may stand behind many methods of its class.
const MAX_CLASS: usize = 1 << 16;
/// Classes within a class's fields before its constructor.
const MAX_CLASSES: usize = 8;

/// Line and column, from 1, of `name` in the definition of the function that begins at `start`.
pub(super) fn name(text: &Text, start: (u32, u32), name: &str) -> Option<(u32, u32)> {
    let start = text.offset(start)?;
    let at = if text.is(start, "class") {
        of_class(text, start, name)
    } else {
        match before(text, start, name) {
            Before::Name(at) => Some(at),
            Before::Constructor(at) => constructed(text, at, name),
            Before::Other => None,
        }
    };
    at.map(|at| text.place(at))
}

enum Before {
    Name(usize),
    /// Where the word stands.
    Constructor(usize),
    Other,
}

fn before(text: &Text, start: usize, name: &str) -> Before {
    let mut end = start;
    for _ in 0..MAX_STEPS {
        end = without_space(text, end);
        let word = word_start(text, end);
        if word == end {
            // `a = (`, `a: (`, `a = (function`, `"a"() {}`
            let is_between = end > 0 && "=:(*\"'".encode_utf16().any(|unit| text.unit(end - 1) == unit);
            if !is_between {
                return Before::Other;
            }
            end -= 1;
            continue;
        }
        let is = |wanted: &str| wanted.encode_utf16().count() == end - word && text.is(word, wanted);
        if is(name) {
            return Before::Name(word);
        }
        if is("constructor") {
            return Before::Constructor(word);
        }
        if !["function", "async", "get", "set"].iter().any(|wanted| is(wanted)) {
            return Before::Other;
        }
        end = word;
    }
    Before::Other
}

/// The name of the class whose constructor stands at `at`: of the nearest class before it that is called so.
fn constructed(text: &Text, at: usize, name: &str) -> Option<usize> {
    let classes = (at.saturating_sub(MAX_CLASS)..at).rev().filter(|at| is_word(text, *at, "class"));
    classes.take(MAX_CLASSES).find_map(|class| of_class(text, class, name))
}

/// `class a`, else `a = class`.
fn of_class(text: &Text, class: usize, name: &str) -> Option<usize> {
    let mut behind = class + "class".len();
    while is_space(text.unit(behind)) {
        behind += 1;
    }
    if is_word(text, behind, name) {
        return Some(behind);
    }
    match before(text, class, name) {
        Before::Name(at) => Some(at),
        Before::Constructor(_) | Before::Other => None,
    }
}

fn is_word(text: &Text, at: usize, word: &str) -> bool {
    let behind = at + word.encode_utf16().count();
    let is_whole = !is_of_word(text.unit(behind)) && (at == 0 || !is_of_word(text.unit(at - 1)));
    is_whole && text.is(at, word)
}

fn without_space(text: &Text, mut end: usize) -> usize {
    while end > 0 && is_space(text.unit(end - 1)) {
        end -= 1;
    }
    end
}

fn word_start(text: &Text, mut at: usize) -> usize {
    while at > 0 && is_of_word(text.unit(at - 1)) {
        at -= 1;
    }
    at
}

fn is_space(unit: u16) -> bool {
    matches!(unit, 0x20 | 0x09..=0x0d | 0xa0 | 0x2028 | 0x2029)
}

/// Of a name, `#` of a private one. What is beyond ASCII and no space is taken for a letter.
fn is_of_word(unit: u16) -> bool {
    match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#'),
        _ => !is_space(unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The column of the name, where `^` in the text is where the function begins.
    fn column(marked: &str, wanted: &str) -> Option<u32> {
        let at = marked.find('^').unwrap();
        let text = Text::new(marked.replace('^', "").as_bytes());
        name(&text, (1, at as u32 + 1), wanted).map(|(_, column)| column)
    }

    #[test]
    fn the_name_of_each_form_of_function_is_found() {
        for (text, name, expected) in [
            ("function a^(b){}", "a", 10),
            ("async function * a ^(b){}", "a", 18),
            ("var a=^(b)=>b", "a", 5),
            ("var a=^b=>b", "a", 5),
            ("var a=^async b=>b", "a", 5),
            ("var a=async function^(b){}", "a", 5),
            ("x={a:function^(){}}", "a", 4),
            ("x={\"a\":^()=>1}", "a", 5),
            ("x={get a^(){}}", "a", 8),
            ("x={get^(){}}", "get", 4),
            ("e.a=function^(){}", "a", 3),
            ("class a{constructor^(){}}", "a", 7),
            ("class a extends b{c=class{};d(){}constructor^(){}}", "a", 7),
            ("var a=class{constructor^(){}}", "a", 5),
            ("var a=^class{}", "a", 5),
            ("^class a{}", "a", 7),
            ("class b{#a^(){}}", "#a", 9),
        ] {
            assert_eq!(column(text, name), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_called_otherwise_where_it_is_defined_has_no_name() {
        for text in
            ["function b^(){}", "f(^()=>1)", "x=[^()=>1]", "class b{constructor^(){}}", "^()=>1", "a+^()=>1"]
        {
            assert_eq!(column(text, "a"), None, "{text}");
        }
        assert_eq!(name(&Text::new(b"short"), (9, 9), "a"), None);
    }
}
