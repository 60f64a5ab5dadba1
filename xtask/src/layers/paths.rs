//! Every path that a source file writes, `use` trees multiplied out.

use std::{iter::Peekable, str::FromStr};

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream::IntoIter};

/// `a::b::c` and where it stands.
#[derive(Debug)]
pub(super) struct Written {
    pub segments: Vec<String>,
    pub line: usize,
}

pub(super) fn of(source: &str) -> Result<Vec<Written>> {
    let tokens = TokenStream::from_str(source).map_err(|error| anyhow!("{error}"))?;
    let mut found = Vec::new();
    walk(tokens, &[], &mut found);
    Ok(found)
}

/// `prefix` is what stands before the braces of a `use` tree.
fn walk(tokens: TokenStream, prefix: &[String], found: &mut Vec<Written>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                if is_cfg_test(&mut tokens) {
                    skip_item(&mut tokens);
                }
            }
            TokenTree::Ident(first) => {
                let line = first.span().start().line;
                let mut segments = prefix.to_vec();
                segments.push(first.to_string());
                if let Some(tree) = follow(&mut tokens, &mut segments) {
                    walk(tree.stream(), &segments, found);
                } else {
                    found.push(Written { segments, line });
                }
            }
            // The star of `use a::{b, *}`.
            TokenTree::Punct(punct) if punct.as_char() == '*' && !prefix.is_empty() => {
                let mut segments = prefix.to_vec();
                segments.push("*".to_owned());
                found.push(Written { segments, line: punct.span().start().line });
            }
            TokenTree::Group(group) => walk(group.stream(), &[], found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Takes the rest of a path; gives back the braces that end it, if they do.
fn follow(tokens: &mut Peekable<IntoIter>, segments: &mut Vec<String>) -> Option<Group> {
    loop {
        // A copy looks ahead, since the second colon may start something else.
        let mut ahead = tokens.clone();
        let colons = [ahead.next(), ahead.next()];
        if !colons.iter().all(|token| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == ':')) {
            return None;
        }
        match ahead.next() {
            Some(TokenTree::Ident(next)) => segments.push(next.to_string()),
            Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => segments.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                *tokens = ahead;
                return Some(group);
            }
            // A turbofish: what is between its brackets is read as paths of their own.
            _ => return None,
        }
        *tokens = ahead;
    }
}

fn is_cfg_test(tokens: &mut Peekable<IntoIter>) -> bool {
    let Some(TokenTree::Group(attribute)) = tokens.peek() else { return false };
    let is_test = attribute.stream().to_string().replace(' ', "") == "cfg(test)";
    if is_test {
        tokens.next();
    }
    is_test
}

/// To the end of the item: its braces or its semicolon.
fn skip_item(tokens: &mut Peekable<IntoIter>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        of(source)
            .unwrap()
            .into_iter()
            .map(|path| path.segments.join("::"))
            .filter(|p| p.contains("::"))
            .collect()
    }

    #[test]
    fn use_trees_are_multiplied_out() {
        assert_eq!(paths("use a::{b, c::{d, *}};"), ["a::b", "a::c::d", "a::c::*"]);
    }

    #[test]
    fn paths_inside_macros_and_turbofish_are_seen() {
        assert_eq!(paths("fn f() { m!(x::y(Vec::<a::b>::new())) }"), ["x::y", "a::b"]);
    }

    #[test]
    fn comments_and_strings_hold_no_paths() {
        assert!(paths("// a::b\nconst S: &str = \"c::d\";").is_empty());
    }
}
