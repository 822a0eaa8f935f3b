//! Pieces of what a command printed that was too long for its result.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use super::clean;
use crate::state::TaskDirectory;

/// A piece of a long text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text; no control character but tab and end of line.
    pub text: String,
    /// Where the piece after it begins, in bytes.
    pub next: u64,
    /// How many bytes there are in all.
    pub total: u64,
}

impl TaskDirectory {
    /// At most `length` bytes of what command `exec` printed, from byte
    /// `offset` on, up to the last whole character. Fails with
    /// [`io::ErrorKind::NotFound`] if nothing of it was kept.
    pub fn exec_piece(&self, exec: u32, offset: u64, length: u64) -> io::Result<Piece> {
        let mut file = File::open(self.exec_output(exec))?;
        let total = file.metadata()?.len();
        let offset = offset.min(total);
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        let mut end = offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if end < total {
            let begun = clean::unfinished(&bytes);
            if begun < bytes.len() {
                bytes.truncate(bytes.len() - begun);
                end -= u64::try_from(begun).unwrap_or(0);
            }
        }
        Ok(Piece {
            text: clean::text(&bytes),
            next: end,
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use stockade_types::TaskId;

    use super::*;
    use crate::state::StateDirectory;

    #[test]
    fn pieces_end_at_whole_characters_and_together_are_the_text() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(Some(root.path().join("s")), None, None).unwrap();
        let task = state.task(&TaskId::from_random(7));
        let path = task.exec_output(3);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "grün ✓ 𝄞\u{202e}\n").unwrap();
        for length in 4..20 {
            let (mut whole, mut at) = (String::new(), 0);
            loop {
                let piece = task.exec_piece(3, at, length).unwrap();
                whole.push_str(&piece.text);
                at = piece.next;
                if at == piece.total {
                    break;
                }
            }
            assert_eq!(whole, "grün ✓ 𝄞\n", "{length}");
        }
        assert_eq!(task.exec_piece(3, 1_000, 5).unwrap().text, "");
        let missing = task.exec_piece(4, 0, 5).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
