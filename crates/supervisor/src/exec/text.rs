//! Output that is reported in full if it is short, and by its head, its tail
//! and its errors if it is long. Memory is bounded by what is reported.

use std::{collections::VecDeque, fmt::Write as _, fs::File, io::Write as _, path::PathBuf};

use super::{clean, result::ExecText};

/// The most bytes and lines of one text.
pub(super) const BYTES_MAX: usize = 64 * 1024;
const LINES_MAX: usize = 1_000;
/// How many lines that tell of errors are kept between head and tail, and how
/// many bytes of each.
const ERRORS_MAX: usize = 40;
const ERROR_BYTES: usize = 400;
/// The most that is kept of one command's output on disk, in bytes.
pub(super) const LOG_MAX: u64 = 16 << 20;

/// What a line that tells of an error holds, in lower case.
const ERROR_WORDS: [&str; 8] = [
    "error",
    "fail",
    "fatal",
    "panic",
    "exception",
    "traceback",
    "denied",
    "refused",
];

/// One text as it is being printed.
#[derive(Debug, Default)]
pub(super) struct Text {
    head: Vec<u8>,
    head_lines: usize,
    head_full: bool,
    tail: VecDeque<u8>,
    /// The line being printed, beyond the head: its number and its start.
    line: Vec<u8>,
    errors: VecDeque<(u64, Vec<u8>)>,
    errors_more: u64,
    bytes: u64,
    lines: u64,
    open_line: bool,
}

impl Text {
    /// Takes more of it, cleaned.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes += length(bytes);
        let rest = self.fill_head(bytes);
        for piece in rest.split_inclusive(|byte| *byte == b'\n') {
            let room = ERROR_BYTES.saturating_sub(self.line.len());
            let end = piece.strip_suffix(b"\n");
            let words = end.unwrap_or(piece);
            self.line
                .extend_from_slice(words.get(..room.min(words.len())).unwrap_or_default());
            self.open_line = end.is_none();
            if end.is_some() {
                self.end_line();
            }
        }
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(BYTES_MAX / 2);
        self.tail.drain(..surplus);
    }

    /// Fills the head; returns what does not belong there.
    fn fill_head<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.head_full {
            return bytes;
        }
        let mut taken = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = BYTES_MAX / 2 - self.head.len();
            let fits = piece.len().min(room);
            self.head
                .extend_from_slice(piece.get(..fits).unwrap_or_default());
            taken += fits;
            let ended = fits == piece.len() && piece.ends_with(b"\n");
            self.open_line = !ended;
            if ended {
                self.lines += 1;
                self.head_lines += 1;
            }
            if fits < piece.len() || self.head_lines >= LINES_MAX / 2 {
                self.head_full = true;
                break;
            }
        }
        bytes.get(taken..).unwrap_or_default()
    }

    fn end_line(&mut self) {
        self.lines += 1;
        let line = std::mem::take(&mut self.line);
        let words = String::from_utf8_lossy(&line).to_lowercase();
        if ERROR_WORDS.iter().any(|word| words.contains(word)) {
            if self.errors.len() == ERRORS_MAX {
                // The first error is often the cause; the latest are kept too.
                self.errors.remove(ERRORS_MAX / 2);
                self.errors_more += 1;
            }
            self.errors.push_back((self.lines, line));
        }
    }

    /// Whether not all of it will be reported.
    pub(super) fn is_cut(&self) -> bool {
        self.bytes > length(&self.head) + u64::try_from(self.tail.len()).unwrap_or(u64::MAX)
            || self
                .lines
                .saturating_sub(u64::try_from(self.head_lines).unwrap_or(0))
                > u64::try_from(LINES_MAX / 2).unwrap_or(u64::MAX)
    }

    /// What is reported, now that there is no more.
    pub(super) fn finish(mut self, whole: &str) -> ExecText {
        let truncated = self.is_cut();
        let lines = self.lines + u64::from(self.open_line);
        let mut text = clean::text(&self.head);
        let tail = self.tail.make_contiguous();
        if truncated {
            let tail = last_lines(tail, LINES_MAX / 2);
            let left_out = self.bytes - length(&self.head) - length(tail);
            if !text.ends_with('\n') {
                text.push('\n');
            }
            let _ = writeln!(
                text,
                "[{left_out} of {} bytes are left out here; {whole}]",
                self.bytes
            );
            let first_of_tail = lines.saturating_sub(count_lines(tail)) + 1;
            let between = self.errors.iter().filter(|(line, _)| *line < first_of_tail);
            for (line, words) in between {
                let _ = writeln!(text, "[line {line}] {}", clean::text(words));
            }
            if self.errors_more > 0 {
                let _ = writeln!(text, "[{} more lines tell of errors]", self.errors_more);
            }
            text.push_str("[its end]\n");
            text.push_str(&clean::text(tail));
        } else {
            text.push_str(&clean::text(tail));
        }
        ExecText {
            text,
            bytes: self.bytes,
            lines,
            truncated,
        }
    }
}

/// The last `count` lines, and not the part of one before.
fn last_lines(bytes: &[u8], count: usize) -> &[u8] {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut breaks = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    let start = breaks.nth(count - 1).or_else(|| {
        // Fewer lines: the first is a part, unless it is the only one.
        body.iter().enumerate().find(|(_, byte)| **byte == b'\n')
    });
    start.map_or(bytes, |(at, _)| bytes.get(at + 1..).unwrap_or_default())
}

fn count_lines(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.split_inclusive(|byte| *byte == b'\n').count()).unwrap_or(u64::MAX)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The whole of what a command printed, on disk once it is more than is
/// reported.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// What was printed while it was not yet too long.
    short: Vec<u8>,
    file: Option<File>,
    kept: u64,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            short: Vec::new(),
            file: None,
            kept: 0,
        }
    }

    /// Takes more; it is written once `cut`.
    pub(super) fn push(&mut self, bytes: &[u8], cut: bool) {
        if self.file.is_none() {
            self.short.extend_from_slice(bytes);
            if !cut || self.kept > 0 {
                // A disk that was full once is not tried again.
                self.short.truncate(4 * BYTES_MAX);
                return;
            }
            let folder = self.path.parent().map(std::fs::create_dir_all);
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&self.path);
            let (Some(Ok(())), Ok(file)) = (folder, file) else {
                self.kept = LOG_MAX;
                return;
            };
            self.file = Some(file);
            let short = std::mem::take(&mut self.short);
            return self.write(&short);
        }
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = usize::try_from(LOG_MAX.saturating_sub(self.kept)).unwrap_or(usize::MAX);
        let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        if let Some(file) = &mut self.file
            && file.write_all(kept).is_ok()
        {
            self.kept += length(kept);
        }
    }

    /// Whether it is on disk.
    pub(super) fn is_kept(&self) -> bool {
        self.file.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: impl IntoIterator<Item = Vec<u8>>) -> ExecText {
        let mut text = Text::default();
        for piece in pieces {
            text.push(&piece);
        }
        text.finish("whole: elsewhere")
    }

    #[test]
    fn a_short_text_is_reported_as_it_is() {
        for words in ["", "one", "one\n", "one\ntwo", "\n\n"] {
            let text = of(words.bytes().map(|byte| vec![byte]));
            assert_eq!((text.text.as_str(), text.truncated), (words, false));
            assert_eq!(text.bytes, words.len() as u64);
            assert_eq!(
                text.lines,
                words.split_inclusive('\n').count() as u64,
                "{words:?}"
            );
        }
        let just = "x".repeat(BYTES_MAX);
        assert_eq!(of([just.clone().into_bytes()]).text, just);
    }

    #[test]
    fn of_a_long_text_head_tail_errors_and_the_totals_are_told() {
        let lines = (1..=100_000).map(|number| match number {
            50_000 => b"src/a.rs:7: error: no such thing\n".to_vec(),
            _ => format!("line {number}\n").into_bytes(),
        });
        let text = of(lines);
        assert!(text.truncated);
        assert_eq!(text.lines, 100_000);
        assert!(text.text.starts_with("line 1\nline 2\n"));
        assert!(text.text.ends_with("line 99999\nline 100000\n"));
        assert!(
            text.text
                .contains("\n[line 50000] src/a.rs:7: error: no such thing\n")
        );
        assert!(text.text.contains(&format!(
            "of {} bytes are left out here; whole: elsewhere]",
            text.bytes
        )));
        assert!(text.text.lines().count() < LINES_MAX + 10);
    }

    #[test]
    fn whatever_is_printed_the_report_stays_small() {
        for piece in ["y\n".repeat(512), "x".repeat(1024), "error\n".repeat(200)] {
            let text = of((0..1_000).map(|_| piece.clone().into_bytes()));
            assert!(text.truncated);
            assert_eq!(text.bytes, 1_000 * piece.len() as u64);
            assert!(text.text.len() <= BYTES_MAX + ERRORS_MAX * (ERROR_BYTES + 20) + 500);
        }
    }

    #[test]
    fn the_log_begins_at_the_beginning_once_the_text_is_cut_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec/1.log");
        let mut log = Log::new(path.clone());
        log.push(b"first\n", false);
        assert!(!path.exists() && !log.is_kept());
        log.push(b"second\n", true);
        log.push(b"third\n", true);
        assert!(log.is_kept());
        assert_eq!(std::fs::read(&path).unwrap(), b"first\nsecond\nthird\n");
    }
}
