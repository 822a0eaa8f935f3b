//! One message a line, cut out of a stream of bytes.

/// The longest message, in bytes.
pub const MESSAGE_MAX: usize = 4 << 20;

/// A message that is longer than [`MESSAGE_MAX`]. Where it ends is not looked for: the
/// stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {MESSAGE_MAX} bytes")]
pub struct TooLong;

/// The lines of a stream, of which pieces arrive as they come.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    /// How much of `held` has no end of a line.
    searched: usize,
}

impl Lines {
    /// Takes the next piece, and gives each line that is whole to `line`, without its
    /// end. Lines of nothing but spaces are left out.
    ///
    /// # Errors
    /// When what is held is too long for a message.
    pub fn push(&mut self, piece: &[u8], mut line: impl FnMut(&[u8])) -> Result<(), TooLong> {
        self.held.extend_from_slice(piece);
        let mut start = 0;
        while let Some(length) = self.held[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let end = self.searched + length;
            if end - start > MESSAGE_MAX {
                return Err(TooLong);
            }
            let whole = self.held[start..end].trim_ascii();
            if !whole.is_empty() {
                line(whole);
            }
            start = end + 1;
            self.searched = start;
        }
        self.held.drain(..start);
        self.searched = self.held.len();
        if self.held.len() > MESSAGE_MAX {
            self.held = Vec::new();
            self.searched = 0;
            return Err(TooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.push(piece, |line| found.push(line.to_vec()))?;
        }
        Ok(found)
    }

    #[test]
    fn a_line_is_whole_when_its_end_has_come() {
        assert_eq!(
            lines(&[b"{\"a\"", b":1}\r\n\n  \n{}", b"\n["]).unwrap(),
            [&b"{\"a\":1}"[..], b"{}"]
        );
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let piece = vec![b'x'; 1 << 20];
        assert_eq!(lines(&[&piece, &piece, &piece, &piece, b"x"]), Err(TooLong));
        let mut whole = vec![b'x'; MESSAGE_MAX + 1];
        whole.push(b'\n');
        assert_eq!(lines(&[&whole]), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_does_not_matter(text in "[a\\n ]{0,80}", cuts in prop::collection::vec(0_usize..80, 0..6)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(lines(&pieces), lines(&[text.as_bytes()]));
        }
    }
}
