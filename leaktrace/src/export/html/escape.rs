//! Text in HTML: names come from the traced program, and must stay text.

use std::fmt::{self, Display, Formatter, Write as _};

/// Written with its special characters escaped, in elements and in quoted attributes.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaper(out), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut Formatter<'b>);

impl fmt::Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // Of these HTML has none, but for white space.
                char if char.is_control() && !char.is_ascii_whitespace() => self.0.write_char('\u{fffd}')?,
                char => self.0.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        let name = r#"</title><script>alert('1')</script>" onload="&amp;"#;
        let escaped = Escaped(name).to_string();
        assert!(!escaped.contains(['<', '>', '"', '\'']), "{escaped}");
        assert!(escaped.contains("&amp;amp;"), "{escaped}");
        assert_eq!(Escaped("\u{1b}[2J").to_string(), "\u{fffd}[2J");
    }
}
