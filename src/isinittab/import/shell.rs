//! What `exec` in front of a shell line does to it.
//!
//! Both old inits give a process with a shell metacharacter to `/bin/sh -c` with `exec ` in front. The shell is then
//! replaced by the first command: what stands behind its `;`, `&&` or `||` never runs. In a pipeline, or before an
//! `&`, the first command has a shell of its own, and the rest runs as it does without `exec`.

use super::super::Process;
use super::super::lexer::Span;
use super::{Import, Line};

impl Import<'_> {
    /// Here a shell line is run as it is written: is that more than what the old init has run?
    pub(super) fn check_list(&mut self, line: &Line) {
        let field = line.process_at();
        let process = Process::parse(line.process());
        let Some(at) = process.shell.then(|| cut_off(process.text)).flatten() else { return };
        let marks = line.process().len().saturating_sub(process.text.len());
        let at = field.at.saturating_add(marks as u32).saturating_add(at as u32);
        let message = "what stands behind this has never run: the old init puts `exec` before a shell line";
        self.warn(line, Span { at, length: 1 }, message, "all of it runs here; take out what should not");
    }
}

/// Where the first command ends, if there is something behind it that `exec` takes away.
fn cut_off(text: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    let (mut quote, mut depth) = (0u8, 0usize);
    while let Some(byte) = text.get(at).copied() {
        let rest = text.get(at.saturating_add(1)..).unwrap_or(&[]);
        match byte {
            // Between these a backslash is one of the letters.
            b'\'' if quote == b'\'' => quote = 0,
            _ if quote == b'\'' => {}
            b'\\' => at = at.saturating_add(1),
            _ if quote == byte => quote = 0,
            b'\'' | b'"' | b'`' if quote == 0 => quote = byte,
            _ if quote != 0 => {}
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            b';' => return has_words(rest).then_some(at),
            b'|' | b'&' if rest.first() == Some(&byte) => return Some(at),
            b'|' => return None,
            // `2>&1` and `&>file` are no ends.
            b'&' if is_redirection(text, at) => {}
            b'&' => return None,
            _ => {}
        }
        at = at.saturating_add(1);
    }
    None
}

fn is_redirection(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at));
    matches!(before, Some(b'>' | b'<')) || text.get(at.saturating_add(1)) == Some(&b'>')
}

fn has_words(rest: &[u8]) -> bool {
    rest.iter().any(|byte| !matches!(byte, b' ' | b'\t' | b';'))
}

#[cfg(test)]
mod tests {
    use super::cut_off;

    #[test]
    fn only_a_list_loses_what_is_behind_its_first_command() {
        for (text, at) in [("a; b", 1), ("a && b", 2), ("a||b", 1), ("a 2>&1; b", 6), ("a \\; b;c", 6)] {
            assert_eq!(cut_off(text.as_bytes()), Some(at), "{text}");
        }
        let whole =
            ["a", "a >b 2>&1", "a;", "a &", "a & b; c", "a | b; c", "a 'x; y'", "a \"x && y\"", "a $(b; c)"];
        for text in
            whole.iter().chain(&["a `b; c`", "a \\;", "a &>b", "a \"'\" ;", "'\\' x ;", "", "\\", "'"])
        {
            assert_eq!(cut_off(text.as_bytes()), None, "{text}");
        }
    }
}
