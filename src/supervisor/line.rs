//! Lines of an answer, a message or a status file, written into memory that is already there: nothing is
//! allocated, and no formatting machinery runs inside the loop.

/// A piece of text of at most `N` bytes. What does not fit is cut off: a message is better short than absent. But
/// the newline that ends it has its place whatever stands before.
pub struct Line<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Line<N> {
    /// An empty line.
    pub fn new() -> Line<N> {
        Line { bytes: [0; N], length: 0 }
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// Adds text.
    pub fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        let room = self.bytes.get_mut(self.length..).unwrap_or(&mut []);
        let fits = text.len().min(room.len());
        if let (Some(room), Some(text)) = (room.get_mut(..fits), text.get(..fits)) {
            room.copy_from_slice(text);
            self.length = self.length.saturating_add(fits);
        }
        if fits < text.len() && text.ends_with(b"\n") {
            self.bytes.last_mut().into_iter().for_each(|end| *end = b'\n');
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// Adds a number with sixteen as its base, in sixteen digits.
    pub fn hex(&mut self, number: u64) -> &mut Self {
        for digit in number.to_be_bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]).map(usize::from) {
            self.text(b"0123456789abcdef".get(digit..=digit).unwrap_or(b"0"));
        }
        self
    }

    /// Adds ` name=`.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.text(" ").text(name).text("=")
    }

    /// Adds text and fills up with blanks to `width`, as printf's `%-15s`.
    pub fn padded(&mut self, text: &[u8], width: usize) -> &mut Self {
        self.text(text);
        for _ in text.len()..width {
            self.text(" ");
        }
        self
    }

    /// Adds text, or `-` where there is none.
    pub fn word(&mut self, text: &[u8]) -> &mut Self {
        self.text(if text.is_empty() { b"-" } else { text })
    }
}
