//! Takes out of what a sandbox prints whatever would act on the terminal
//! rather than show something: operating system commands (titles, the
//! clipboard by OSC 52, links), device control strings, and requests whose
//! answer the terminal would type.

/// Where the filter is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    /// Plain text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence (ESC `[`).
    Control,
    /// In a string that is dropped up to its end.
    Dropped,
    /// In such a string, after ESC.
    DroppedEscape,
}

/// A filter with its memory of a stream cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    state: State,
    sequence: Vec<u8>,
}

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;
/// The longest control sequence that is passed on.
const SEQUENCE_MAX: usize = 64;

impl Filter {
    /// What of `bytes` may be shown.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.step(byte, &mut shown);
        }
        shown
    }

    fn step(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match self.state {
            State::Text if byte == ESCAPE => self.state = State::Escape,
            State::Text => shown.push(byte),
            State::Escape => match byte {
                b'[' => {
                    self.state = State::Control;
                    self.sequence = vec![ESCAPE, b'['];
                }
                // OSC, DCS, SOS, PM, APC (ECMA-48).
                b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Dropped,
                // A request for identification (DECID), and a full reset.
                b'Z' | b'c' => self.state = State::Text,
                ESCAPE => {}
                _ => {
                    shown.extend([ESCAPE, byte]);
                    self.state = State::Text;
                }
            },
            State::Control => self.control(byte, shown),
            State::Dropped => match byte {
                BELL => self.state = State::Text,
                ESCAPE => self.state = State::DroppedEscape,
                _ => {}
            },
            State::DroppedEscape => {
                self.state = match byte {
                    b'\\' => State::Text,
                    ESCAPE => State::DroppedEscape,
                    _ => State::Dropped,
                }
            }
        }
    }

    fn control(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match byte {
            0x20..=0x3f if self.sequence.len() < SEQUENCE_MAX => self.sequence.push(byte),
            0x40..=0x7e => {
                self.sequence.push(byte);
                if !is_request(&self.sequence) {
                    shown.extend_from_slice(&self.sequence);
                }
                self.state = State::Text;
            }
            ESCAPE => self.state = State::Escape,
            // Too long or malformed: not shown.
            _ => self.state = State::Text,
        }
    }
}

/// Whether a terminal answers the sequence with typed input: device
/// attributes (`c`), status reports (`n`), window reports (`t`), mode and
/// checksum requests (`$p`, `*y`).
fn is_request(sequence: &[u8]) -> bool {
    let intermediate = sequence.iter().rev().nth(1).copied();
    match sequence.last() {
        Some(b'c' | b'n' | b't' | b'x') => true,
        Some(b'p') => intermediate == Some(b'$'),
        Some(b'y') => intermediate == Some(b'*'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(text: &str) -> String {
        String::from_utf8(Filter::default().pass(text.as_bytes())).unwrap()
    }

    #[test]
    fn colours_and_cursor_movements_are_shown() {
        let text = "\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J\u{1b}[10;5H\u{1b}[?25l\u{1b}7ok";
        assert_eq!(pass(text), text);
    }

    #[test]
    fn titles_clipboard_and_device_strings_are_dropped() {
        assert_eq!(pass("a\u{1b}]0;title\u{7}b"), "ab");
        assert_eq!(pass("a\u{1b}]52;c;ZGVjb3k=\u{1b}\\b"), "ab");
        assert_eq!(pass("a\u{1b}P+q544e\u{1b}\\b\u{1b}_apc\u{1b}\\c"), "abc");
    }

    #[test]
    fn requests_that_make_a_terminal_type_are_dropped() {
        assert_eq!(
            pass("a\u{1b}[6nb\u{1b}[cc\u{1b}[21td\u{1b}Ze\u{1b}[?2026$pf"),
            "abcdef"
        );
    }

    #[test]
    fn a_stream_cut_anywhere_is_filtered_alike() {
        let text = "x\u{1b}]52;c;ZGVjb3k=\u{7}y\u{1b}[6nz\u{1b}[31mred".as_bytes();
        let whole = Filter::default().pass(text);
        for cut in 0..text.len() {
            let mut filter = Filter::default();
            let mut parts = filter.pass(&text[..cut]);
            parts.extend(filter.pass(&text[cut..]));
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }
}
