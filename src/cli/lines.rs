//! Lines from the standard input or a file, as they come.

use crate::{Error, ErrorKind, Result};
use std::io::{BufRead, BufReader, Read};

/// The longest line in bytes: room for any document, and an end to what a stream without line ends can take.
const LONGEST: u64 = 16 << 20;

/// A line of the input.
pub(super) struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// The text without the line end, or why it cannot be used.
    pub text: Result<String>,
}

/// Reads lines; ends of line are `\n` and `\r\n`.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// Lines read so far.
    count: usize,
    /// Bytes read so far.
    bytes: u64,
}

impl<R: Read> Lines<R> {
    pub fn new(input: R) -> Self {
        Self { reader: BufReader::with_capacity(1 << 16, input), count: 0, bytes: 0 }
    }

    /// Waits for one line, and takes up to `most` as long as they are there already: who types a line is answered at
    /// once, and who pipes a file is answered in batches. No line at the end of the input.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the input cannot be read.
    pub fn batch(&mut self, most: usize) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        while lines.len() < most && (lines.is_empty() || self.reader.buffer().contains(&b'\n')) {
            match self.next().map_err(|error| Error::io("cannot read the input", error))? {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        Ok(lines)
    }

    /// Lines and bytes read so far.
    pub fn progress(&self) -> (usize, u64) {
        (self.count, self.bytes)
    }

    fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut length = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? as u64;
        if length == 0 {
            return Ok(None);
        }
        let too_long = length == LONGEST && !bytes.ends_with(b"\n");
        if too_long {
            length += self.reader.skip_until(b'\n')? as u64;
        }
        self.count += 1;
        self.bytes += length;
        let text = if too_long { Err(too_long_line()) } else { text(bytes) };
        Ok(Some(Line { number: self.count, text }))
    }
}

fn text(mut bytes: Vec<u8>) -> Result<String> {
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to() + 1;
        let message = format!("not UTF-8 at byte {place}: convert the input, for example with iconv");
        Error::new(ErrorKind::InvalidUtf8, message)
    })
}

fn too_long_line() -> Error {
    Error::new(ErrorKind::InputTooLong, format!("a line of more than {LONGEST} bytes: break it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one part a read, as a terminal does.
    struct Parts(Vec<&'static [u8]>);

    impl Read for Parts {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let part = self.0.remove(0);
            out[..part.len()].copy_from_slice(part);
            Ok(part.len())
        }
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.into_iter().map(|line| line.text.unwrap_or_else(|error| error.to_string())).collect()
    }

    #[test]
    fn takes_what_is_there_and_waits_for_no_more() -> Result<()> {
        let mut lines = Lines::new(Parts(vec![b"a\r\n", b"b\n\nc\nd", b"e\n", b"\xffx\nend"]));
        assert_eq!(texts(lines.batch(10)?), ["a"]);
        assert_eq!(texts(lines.batch(2)?), ["b", ""]);
        assert_eq!(texts(lines.batch(10)?), ["c"]);
        assert_eq!(texts(lines.batch(10)?), ["de"]);
        let wrong = lines.batch(10)?;
        assert_eq!(wrong[0].number, 6);
        assert!(texts(wrong)[0].contains("not UTF-8 at byte 1"));
        assert_eq!(texts(lines.batch(10)?), ["end"]);
        assert!(lines.batch(10)?.is_empty());
        assert_eq!(lines.progress(), (7, 17));
        Ok(())
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_read() -> Result<()> {
        let input = std::io::repeat(b'a').take(LONGEST + 5).chain(&b"\nb\n"[..]);
        let mut lines = Lines::new(input);
        let first = lines.batch(1)?.remove(0);
        assert_eq!(first.text.expect_err("too long").kind(), ErrorKind::InputTooLong);
        assert_eq!(texts(lines.batch(1)?), ["b"]);
        Ok(())
    }
}
