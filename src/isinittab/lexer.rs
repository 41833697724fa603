//! Bytes to fields, each with its place.
//!
//! A table is bytes, not text: any byte but NUL and newline may stand in a process. A line is an entry, a
//! setting, a comment or blank. A backslash before the newline continues an entry, so the bytes of a field need
//! not stand together in the file; the lexer copies them into the table's text, where they do, and remembers
//! for each entry where its physical lines begin, so that a diagnostic can point at what the person has typed.

/// A piece of the table's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub at: u32,
    /// How many bytes it has.
    pub length: u32,
}

impl Span {
    /// The bytes.
    pub fn of(self, text: &[u8]) -> &[u8] {
        let at = self.at as usize;
        text.get(at..at.saturating_add(self.length as usize)).unwrap_or(&[])
    }

    fn end(self) -> u32 {
        self.at.saturating_add(self.length)
    }

    /// The piece without the blanks around it.
    pub fn trimmed(self, text: &[u8]) -> Span {
        let bytes = self.of(text);
        let mut trimmed = self;
        let mut inner = bytes;
        while let [first, rest @ ..] = inner
            && is_blank(*first)
        {
            inner = rest;
            trimmed.at = trimmed.at.saturating_add(1);
        }
        while let [rest @ .., last] = inner
            && is_blank(*last)
        {
            inner = rest;
        }
        Span { length: inner.len() as u32, ..trimmed }
    }
}

/// One logical line.
#[derive(Clone, Copy, Debug)]
pub struct Logical {
    /// Its bytes in the table's text, without line ends and continuations.
    pub span: Span,
    /// Its first physical line, from 1.
    pub line: u32,
    /// Where its first physical line begins in the source.
    pub source: usize,
    /// Is it continued on further lines?
    pub continued: bool,
}

/// Goes through a source line by line, and copies what is not a comment into the table's text.
pub struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
    line: u32,
}

impl<'s> Lexer<'s> {
    /// Begins at the first line.
    pub fn new(source: &'s [u8]) -> Lexer<'s> {
        Lexer { source, at: 0, line: 0 }
    }

    /// The next line that says something.
    pub fn next(&mut self, text: &mut Vec<u8>) -> Option<Logical> {
        loop {
            let (start, physical) = self.physical()?;
            let first = physical.iter().find(|byte| !is_blank(**byte));
            if first.is_none() || first == Some(&b'#') {
                continue;
            }
            return Some(self.logical(start, physical, text));
        }
    }

    fn logical(&mut self, source: usize, first: &[u8], text: &mut Vec<u8>) -> Logical {
        let (at, line) = (text.len(), self.line);
        let mut piece = first;
        let mut continued = false;
        while let Some((b'\\', front)) = piece.split_last() {
            text.extend_from_slice(front);
            match self.physical() {
                Some((_, next)) => piece = next,
                None => piece = b"",
            }
            continued = true;
        }
        text.extend_from_slice(piece);
        let length = text.len().saturating_sub(at) as u32;
        // Of no field, but so the text is a table again: the one that an earlier life has left.
        text.push(b'\n');
        Logical { span: Span { at: at as u32, length }, line, source, continued }
    }

    /// The next physical line without its end, LF or CRLF, and where it begins.
    fn physical(&mut self) -> Option<(usize, &'s [u8])> {
        let start = self.at;
        let rest = self.source.get(start..).filter(|rest| !rest.is_empty())?;
        let length = find(rest, b'\n').unwrap_or(rest.len());
        self.at = start.saturating_add(length).saturating_add(1);
        self.line = self.line.saturating_add(1);
        let line = rest.get(..length).unwrap_or(rest);
        Some((start, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

/// Where a byte of a logical line stands in the source: its physical line, its column, and that line's bytes.
pub fn locate<'s>(source: &'s [u8], logical: &Logical, at: u32) -> (usize, usize, &'s [u8]) {
    let mut lexer = Lexer { source, at: logical.source, line: logical.line.saturating_sub(1) };
    let mut offset = at.saturating_sub(logical.span.at) as usize;
    // A backslash at the end of the source continues the line with nothing: then that is where it ends.
    let mut end = (lexer.line as usize, 1, &b""[..]);
    loop {
        let Some((_, physical)) = lexer.physical() else { return end };
        let last = !logical.continued || !physical.ends_with(b"\\");
        let length = if last { physical.len() } else { physical.len().saturating_sub(1) };
        if last || offset < length {
            return (lexer.line as usize, offset.saturating_add(1), physical);
        }
        end = (lexer.line as usize, length.saturating_add(1), physical);
        offset = offset.saturating_sub(length);
    }
}

/// The fields of an entry: four that end with a colon, and the rest. Blanks around them are dropped. Fewer than
/// five if there are fewer colons.
pub fn fields(line: Span, text: &[u8]) -> ([Span; 5], usize) {
    let mut fields = [Span { at: line.end(), length: 0 }; 5];
    let mut rest = line;
    let mut count = 0usize;
    for field in &mut fields {
        // The last one is the process, which is not searched: it may hold colons.
        let searched = if count < 4 { rest.of(text) } else { &[] };
        let colon = find(searched, b':');
        let length = colon.map_or(rest.length, |colon| colon as u32);
        *field = Span { at: rest.at, length }.trimmed(text);
        count = count.saturating_add(1);
        let Some(_) = colon else { break };
        let at = rest.at.saturating_add(length).saturating_add(1);
        rest = Span { at, length: line.end().saturating_sub(at) };
    }
    (fields, count)
}

/// The pieces of a field between its commas.
pub fn pieces(field: Span, text: &[u8]) -> impl Iterator<Item = Span> + '_ {
    let mut rest = Some(field);
    std::iter::from_fn(move || {
        let current = rest?;
        let comma = find(current.of(text), b',');
        let length = comma.map_or(current.length, |comma| comma as u32);
        rest = comma.map(|_| {
            let at = current.at.saturating_add(length).saturating_add(1);
            Span { at, length: current.end().saturating_sub(at) }
        });
        Some(Span { at: current.at, length }.trimmed(text))
    })
}

/// Where a byte stands first. Eight bytes are looked at in one step: a table is gone through byte by byte nowhere else, and
/// one of a hundred thousand lines is read between two turns of process 1.
pub fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let pattern = ONES.wrapping_mul(u64::from(wanted));
    let mut at = 0_usize;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        // Zero where the byte is the wanted one; the lowest high bit that is left stands at the first of them.
        let differs = u64::from_le_bytes(*word) ^ pattern;
        let found = differs.wrapping_sub(ONES) & !differs & HIGHS;
        if found != 0 {
            return Some(at.saturating_add(found.trailing_zeros() as usize / 8));
        }
        at = at.saturating_add(8);
    }
    for (n, byte) in bytes.iter().enumerate().skip(at) {
        if *byte == wanted {
            return Some(n);
        }
    }
    None
}

/// A blank between words: space or tab.
pub fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_byte_is_found_where_it_stands_first() {
        // What lies around it differs from it by one, by its high bit, or not at all.
        for around in [b'\0', b'9', b';', b':' | 0x80, 0xff] {
            for length in 0..40 {
                let mut bytes = vec![around; length];
                assert_eq!(find(&bytes, b':'), None);
                for at in (0..length).rev() {
                    bytes[at] = b':';
                    assert_eq!(find(&bytes, b':'), Some(at), "{bytes:?}");
                }
            }
        }
        assert_eq!((find(b"a\0", 0), find(&[1; 9], 0), find(b"\xff\xfe", 0xfe)), (Some(1), None, Some(1)));
    }
}
