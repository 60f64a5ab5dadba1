//! Addresses in files and maps, as paths of the process; the author's files as they are shown.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Where a map is that a file names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Absolute; what may be meant, the likeliest first.
    Paths(Vec<String>),
    /// At an address of the network.
    Elsewhere,
}

/// What `address` means in the file at `base`, an absolute path.
pub(super) fn resolve(address: &str, base: &str) -> Address {
    let path = match scheme(address) {
        Some("file") => local(address),
        Some(_) => return Address::Elsewhere,
        None if address.starts_with("//") => return Address::Elsewhere,
        None => address,
    };
    // `app.js.map?v=3` is an address, though a file may be called so.
    let bare = path.split(['?', '#']).next().unwrap_or(path);
    let mut paths = Vec::new();
    for path in [decoded(bare), Cow::Borrowed(bare), Cow::Borrowed(path)] {
        let path = joined(base, &path);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    Address::Paths(paths)
}

/// The author's file as it is shown: an absolute path where the map says so or tells it from its own place, as in
/// `../src/a.ts`. What has a scheme keeps it, and `webpack://shop/./src/a.ts` becomes `webpack://shop/src/a.ts`.
/// None for no file.
pub(super) fn shown(source: &str, root: Option<&str>, map: &str) -> Option<String> {
    if source.is_empty() {
        return None;
    }
    let source = match root.filter(|root| !root.is_empty()) {
        Some(root) if scheme(source).is_none() && !source.starts_with('/') => {
            Cow::Owned(format!("{}/{source}", root.trim_end_matches('/')))
        }
        _ => Cow::Borrowed(source),
    };
    Some(match scheme(&source) {
        Some("file") => normal(&decoded(local(&source))),
        Some(scheme) => match source[scheme.len()..].strip_prefix("://") {
            Some(rest) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                format!("{scheme}://{host}{}", if path.is_empty() { String::new() } else { normal(path) })
            }
            None => source.into_owned(),
        },
        // Made up by the tool: esbuild's `<define:...>`, `(disabled):...`
        None if source.starts_with(['<', '(']) => source.into_owned(),
        None => joined(map, &decoded(&source)),
    })
}

/// `%20` as a space. What is no such escape stays.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

/// `webpack` of `webpack://...`. One letter is a drive.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let is_one = scheme.len() > 1
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char));
    is_one.then_some(scheme)
}

/// The path of a `file:` URL, behind the host.
fn local(url: &str) -> &str {
    let rest = url.strip_prefix("file:").unwrap_or(url);
    rest.strip_prefix("//").map_or(rest, |rest| &rest[rest.find('/').unwrap_or(rest.len())..])
}

/// A path as the file at `base` means it.
fn joined(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        return normal(path);
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    normal(&format!("{folder}/{path}"))
}

/// Without `.`, `..` and empty parts. Nothing leads above the root, as in file systems.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(address: &str) -> String {
        match resolve(address, "/srv/app/dist/app.js") {
            Address::Paths(paths) => paths[0].clone(),
            Address::Elsewhere => "elsewhere".to_owned(),
        }
    }

    #[test]
    fn a_map_is_named_by_a_path_or_an_address() {
        assert_eq!(first("app.js.map"), "/srv/app/dist/app.js.map");
        assert_eq!(first("./maps/app%20one.js.map?v=3"), "/srv/app/dist/maps/app one.js.map");
        assert_eq!(first("/maps/app.map"), "/maps/app.map");
        assert_eq!(first("file:///maps/app.map"), "/maps/app.map");
        assert_eq!(first("../../../../../etc/passwd"), "/etc/passwd", "below the process's root");
        for address in ["http://maps/app.map", "https://maps/app.map", "//maps/app.map"] {
            assert_eq!(first(address), "elsewhere", "{address}");
        }
    }

    #[test]
    fn a_file_that_is_really_called_so_is_tried_too() {
        let Address::Paths(paths) = resolve("100%25.map?", "/a.js") else { unreachable!() };
        assert_eq!(paths, ["/100%.map", "/100%25.map", "/100%25.map?"]);
    }

    #[test]
    fn sources_are_shown_as_the_author_knows_them() {
        let at = |source, root| shown(source, root, "/srv/app/dist/app.js.map").unwrap();
        assert_eq!(at("../src/a.ts", None), "/srv/app/src/a.ts");
        assert_eq!(at("../src/a%20b.ts", None), "/srv/app/src/a b.ts");
        assert_eq!(at("a.ts", Some("../src/")), "/srv/app/src/a.ts");
        assert_eq!(at("a.ts", Some("/home/me/app")), "/home/me/app/a.ts");
        assert_eq!(at("/home/me/a.ts", Some("ignored")), "/home/me/a.ts");
        assert_eq!(at("file:///home/me/a.ts", None), "/home/me/a.ts");
        assert_eq!(at("webpack://shop/./src/a.ts", Some("")), "webpack://shop/src/a.ts");
        assert_eq!(at("webpack:///./src/a.vue?1f2e", None), "webpack:///src/a.vue?1f2e");
        assert_eq!(at("./src/a.ts", Some("webpack://shop")), "webpack://shop/src/a.ts");
        assert_eq!(at("https://cdn/a.ts", None), "https://cdn/a.ts");
        assert_eq!(at("<define:x>", None), "<define:x>");
        assert_eq!(shown("", Some("/root"), "/a.map"), None);
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decoded("100%/a%2"), "100%/a%2");
        assert_eq!(decoded("%ff"), "%ff", "no UTF-8");
    }
}
