//! Looks at the lines of a request's head as they arrive, for two things that hyper accepts, as RFC 9112 lets it, and does
//! not show.
//!
//! First, hyper takes a single line feed for the end of a line (§2.2). A proxy that takes it for a part of a value sees
//! fewer headers than we do: where it overlooks a length, we would take the next client's request for a body. Second, hyper
//! drops a `Content-Length` beside a `Transfer-Encoding` (§6.1), by which a proxy may have gone.

use memchr::memchr_iter;

const LENGTH: &[u8] = b"content-length:";

/// The head that is being read.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// True if the request line has arrived.
    has_begun: bool,
    /// True if the empty line that ends the head has arrived: a body follows, or another request of a client that did not
    /// wait for its answer.
    has_ended: bool,
    /// True if the line that is being read has anything in it.
    has_text: bool,
    /// True if the last byte was no carriage return, so that no line feed may follow. False before the first byte: the
    /// carriage return may have arrived with the request before, of a client that did not wait for its answer.
    lacks_return: bool,
    /// The part of [`LENGTH`] that the line that is being read begins with.
    of_length: LengthPrefix,
    /// True if a line ended in a single line feed.
    pub(crate) has_bare_feed: bool,
    /// True if a line was a `Content-Length`.
    pub(crate) has_length: bool,
}

#[derive(Debug, Clone, Copy)]
enum LengthPrefix {
    /// The line so far equals this many first bytes of [`LENGTH`].
    Bytes(usize),
    Differs,
}

impl Default for LengthPrefix {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

impl Lines {
    /// Looks at bytes that were read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for feed in memchr_iter(b'\n', bytes) {
            if self.has_ended {
                break;
            }
            self.part(&bytes[start..feed]);
            self.has_bare_feed |= self.lacks_return;
            self.has_ended = self.has_begun && !self.has_text;
            self.has_begun |= self.has_text;
            (self.has_text, self.lacks_return) = (false, true);
            self.of_length = LengthPrefix::default();
            start = feed + 1;
        }
        if !self.has_ended {
            self.part(&bytes[start..]);
        }
    }

    fn part(&mut self, line: &[u8]) {
        if let Some(last) = line.last() {
            self.lacks_return = *last != b'\r';
            self.has_text |= line.len() > 1 || self.lacks_return;
        }
        for byte in line {
            let LengthPrefix::Bytes(count) = self.of_length else {
                return;
            };
            self.of_length = match LENGTH.get(count) {
                Some(next) if byte.eq_ignore_ascii_case(next) => LengthPrefix::Bytes(count + 1),
                _ => LengthPrefix::Differs,
            };
            self.has_length |=
                count + 1 == LENGTH.len() && matches!(self.of_length, LengthPrefix::Bytes(_));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether a single line feed and a length are seen in a head that arrives in these parts.
    fn seen(parts: &[&str]) -> (bool, bool) {
        let mut lines = Lines::default();
        parts.iter().for_each(|part| lines.read(part.as_bytes()));
        (lines.has_bare_feed, lines.has_length)
    }

    #[test]
    fn a_head_is_looked_at_however_it_arrives() {
        for (head, bare, length) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, false),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", false, false),
            (
                "POST / HTTP/1.1\r\nHost: x\r\n\r\n{\n}\nContent-Length:",
                false,
                false,
            ),
            ("GET / HTTP/1.1\nHost: x\r\n\r\n", true, false),
            ("GET / HTTP/1.1\r\nHost: x\nY: z\r\n\r\n", true, false),
            ("GET / HTTP/1.1\r\nHost: x\r\n\n", true, false),
            ("\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", true, false),
            ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", false, false),
            (
                "GET / HTTP/1.1\r\nX: a\ncontent-length: 1\r\n\r\n",
                true,
                true,
            ),
            (
                "POST / HTTP/1.1\r\nCONTENT-Length: 1\r\nHost: x\r\n\r\n",
                false,
                true,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Lengths: 1\r\n\r\n",
                false,
                false,
            ),
            (
                "POST / HTTP/1.1\r\nX-Content-Length: 1\r\n\r\n",
                false,
                false,
            ),
        ] {
            assert_eq!(seen(&[head]), (bare, length), "{head:?}");
            for split in 1..head.len() {
                let (one, other) = head.split_at(split);
                assert_eq!(seen(&[one, other]), (bare, length), "{one:?} {other:?}");
            }
        }
    }
}
