//! Lines of a stream are the same wherever that is cut, and a message that is read is
//! written as one that reads the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_mcp::{Lines, Message};

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let mut whole = Vec::new();
    let all = Lines::default().push(stream, |line| whole.push(line.to_vec()));
    let (mut lines, mut cut_up) = (Lines::default(), Vec::new());
    let size = usize::from(*cut) + 1;
    let pieces = stream
        .chunks(size)
        .try_for_each(|piece| lines.push(piece, |line| cut_up.push(line.to_vec())));
    assert_eq!(all.is_ok(), pieces.is_ok());
    assert_eq!(whole, cut_up);
    for line in whole {
        if let Ok(message) = Message::parse(&line) {
            let written = message.to_line();
            assert_eq!(written.last(), Some(&b'\n'));
            assert!(!written[..written.len() - 1].contains(&b'\n'));
            let again = Message::parse(written.trim_ascii()).expect("it was a message");
            assert_eq!(again.to_line(), written);
        }
    }
});
