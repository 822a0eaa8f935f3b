//! Reads what is in another process's memory. Every size is capped, and
//! nothing of it is taken for more than bytes.

#![expect(unsafe_code, reason = "process_vm_readv has no safe binding")]

use std::{fs, path::PathBuf};

/// The longest path that the kernel takes (`PATH_MAX`).
const PATH_MAX: usize = 4096;
/// The most words that are kept of one call.
const WORDS_MAX: usize = 128;
/// The most bytes that are kept of all its words.
const BYTES_MAX: usize = 8 * 1024;
/// How much is read at once: most words are short.
const PIECE: usize = 256;
/// The smallest page: memory ends only at a multiple of it.
const PAGE: u64 = 4096;
const POINTER: usize = size_of::<u64>();

/// What a process asked the kernel to execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The path; empty when a descriptor stands for it.
    pub path: Vec<u8>,
    /// The arguments, the program's name first.
    pub argv: Vec<Vec<u8>>,
    /// Whether there was more than is kept, or a part could not be read.
    pub cut: bool,
}

impl Words {
    /// Reads them out of the memory of `thread`.
    pub(super) fn read(thread: i32, path: u64, argv: u64) -> Self {
        let memory = &Memory(thread);
        let mut words = Self::default();
        words.path = words.string(memory, path, PATH_MAX);
        let mut left = BYTES_MAX;
        for index in 0.. {
            let at = argv.wrapping_add((index * POINTER) as u64);
            match memory.pointer(at) {
                // No list of arguments counts as an empty one (execve(2)).
                _ if argv == 0 => break,
                Some(0) => break,
                Some(word) if index < WORDS_MAX && left > 0 => {
                    let word = words.string(memory, word, left);
                    left -= word.len();
                    words.argv.push(word);
                }
                Some(_) | None => {
                    words.cut = true;
                    break;
                }
            }
        }
        words
    }

    /// The string at `address`, of which at most `limit` bytes are kept.
    fn string(&mut self, memory: &Memory, address: u64, limit: usize) -> Vec<u8> {
        let mut string = Vec::new();
        while string.len() < limit {
            let at = address.wrapping_add(string.len() as u64);
            let piece = memory.piece(at, (limit - string.len()).min(PIECE));
            if let Some(end) = piece.iter().position(|byte| *byte == 0) {
                string.extend_from_slice(piece.get(..end).unwrap_or_default());
                return string;
            }
            if piece.is_empty() {
                break;
            }
            string.extend_from_slice(&piece);
        }
        self.cut = true;
        string
    }
}

/// The memory of a process or thread, by number. `/proc/N/mem` would not do:
/// that of process 1 is root's (proc_pid_mem(5)), and commands start in its
/// memory.
struct Memory(i32);

impl Memory {
    /// Up to `length` bytes at `address`, none of another page.
    fn piece(&self, address: u64, length: usize) -> Vec<u8> {
        let page = usize::try_from(PAGE - address % PAGE).unwrap_or(PIECE);
        let mut piece = vec![0; length.min(page)];
        let read = self.read(&mut piece, address);
        piece.truncate(read);
        piece
    }

    /// Reads what there is at `address`; returns how many bytes.
    fn read(&self, into: &mut [u8], address: u64) -> usize {
        let Ok(address) = usize::try_from(address) else {
            return 0;
        };
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        let remote = libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(address),
            iov_len: into.len(),
        };
        // SAFETY: the local buffer is live and as long as it says; the remote
        // address is used in the other process only, and checked by the kernel
        // (process_vm_readv(2)).
        let read =
            unsafe { libc::process_vm_readv(self.0, &raw const local, 1, &raw const remote, 1, 0) };
        usize::try_from(read).unwrap_or(0)
    }

    fn pointer(&self, address: u64) -> Option<u64> {
        let mut pointer = [0; POINTER];
        let whole = self.read(&mut pointer, address) == POINTER;
        whole.then(|| u64::from_ne_bytes(pointer))
    }
}

/// The process that `thread` belongs to, whose number stays the process's
/// whichever of its threads executes a program (execve(2)).
pub(super) fn leader(thread: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let mut lines = status.lines();
    lines
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|number| number.trim().parse().ok())
}

/// A program in the memory of a process. Executing another, or the same again,
/// makes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// As the process's own root names it.
    pub(super) executable: PathBuf,
    /// Where code, stack, data, arguments and environment lie: somewhere else
    /// each time, by chance.
    layout: Vec<String>,
}

impl Image {
    /// What `process` runs; `None` once it is ending.
    pub(super) fn of(process: i32) -> Option<Self> {
        // In this order: with a new layout comes the new executable.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let executable = fs::read_link(format!("/proc/{process}/exe")).ok()?;
        // The name, in parentheses, may hold anything; after it, the state is
        // the third field (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(") ")?;
        let number = fields.split(' ').zip(3..);
        let layout = number.filter(|(_, number)| matches!(number, 26..=28 | 45..=51));
        Some(Self {
            executable,
            layout: layout.map(|(field, _)| field.to_owned()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads out of this very process.
    fn read(path: &[u8], argv: &[*const u8]) -> Words {
        let this = std::process::id().cast_signed();
        Words::read(this, path.as_ptr() as u64, argv.as_ptr() as u64)
    }

    #[test]
    fn a_call_is_read_as_it_stands_in_memory() {
        let words = read(
            c"/bin/ls".to_bytes_with_nul(),
            &[
                c"ls".as_ptr().cast(),
                c"-l".as_ptr().cast(),
                c"".as_ptr().cast(),
                std::ptr::null(),
            ],
        );
        let expected = Words {
            path: b"/bin/ls".to_vec(),
            argv: vec![b"ls".to_vec(), b"-l".to_vec(), Vec::new()],
            cut: false,
        };
        assert_eq!(words, expected);
    }

    #[test]
    fn no_list_of_arguments_is_an_empty_one() {
        let this = std::process::id().cast_signed();
        let words = Words::read(this, c"x".as_ptr() as u64, 0);
        assert_eq!((words.argv.len(), words.cut), (0, false));
    }

    #[test]
    fn what_is_too_long_too_many_or_nowhere_is_cut_and_says_so() {
        let long = vec![b'a'; 100_000];
        let words = read(&long, &[std::ptr::null()]);
        assert_eq!((words.path.len(), words.cut), (PATH_MAX, true));

        let words = read(
            c"x".to_bytes_with_nul(),
            &[long.as_ptr(), c"next".as_ptr().cast(), std::ptr::null()],
        );
        let lengths: Vec<_> = words.argv.iter().map(Vec::len).collect();
        assert_eq!((lengths, words.cut), (vec![BYTES_MAX], true));

        let many = vec![c"w".as_ptr().cast(); 1000];
        let words = read(c"x".to_bytes_with_nul(), &many);
        assert_eq!((words.argv.len(), words.cut), (WORDS_MAX, true));

        for nowhere in [8, u64::MAX, u64::MAX - 7, 1 << 63] {
            let this = std::process::id().cast_signed();
            let words = Words::read(this, nowhere, nowhere);
            let nothing = Words {
                cut: true,
                ..Words::default()
            };
            assert_eq!(words, nothing, "{nowhere:#x}");
        }
    }
}
