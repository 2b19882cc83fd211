//! What people read: lines on standard error, and text from outside made harmless for a terminal.

use anstyle::{AnsiColor, Style};
use std::fmt::{Arguments, Display};
use std::io::Write;

/// Of what needs somebody's attention.
pub const ALARM: Style = AnsiColor::Red.on_default().bold();
/// Of what may need it.
pub const DOUBT: Style = AnsiColor::Yellow.on_default().bold();

/// Prints a line to standard error. That nobody reads it, or that its disk is full, must not stop the work.
pub fn line(text: Arguments) {
    let _ = writeln!(anstream::stderr(), "{}", plain(text));
}

/// The same for a warning.
pub fn warning(text: Arguments) {
    let _ = writeln!(anstream::stderr(), "ckaad: {DOUBT}warning:{DOUBT:#} {}", plain(text));
}

/// The same for what a run ends with.
pub fn error(text: Arguments) {
    let _ = writeln!(anstream::stderr(), "ckaad: {ALARM}error:{ALARM:#} {}", plain(text));
}

/// Text on one line, as it is but for what would steer a terminal or turn the line around: file names may hold anything. Such
/// characters are spelled as Rust does: `\n`, `\u{1b}`.
pub fn plain(text: impl Display) -> String {
    let steers = |c: char| {
        // Line separators, marks and embeddings of writing directions.
        let turns = ['\u{200e}', '\u{200f}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}'].contains(&c);
        c.is_control() || turns || ('\u{2028}'..='\u{202e}').contains(&c)
    };
    let mut out = String::new();
    for c in text.to_string().chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_steers_is_spelled_out() {
        for (text, expected) in [
            (r#"C:\a "b" é 漢.png"#, r#"C:\a "b" é 漢.png"#),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[31mred\u{9b}0m\0", r"\u{1b}[31mred\u{9b}0m\u{0}"),
            ("a\u{202e}gnp.exe\u{2028}", r"a\u{202e}gnp.exe\u{2028}"),
        ] {
            assert_eq!(super::plain(text), expected);
        }
    }
}
