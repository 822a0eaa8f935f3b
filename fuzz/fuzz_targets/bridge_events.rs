//! Events of a stream are the same wherever that is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_bridge::Events;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let mut whole = Vec::new();
    let all = Events::default().push(stream, |event| whole.push(event));
    let (mut events, mut cut_up) = (Events::default(), Vec::new());
    let pieces = stream
        .chunks(usize::from(*cut) + 1)
        .try_for_each(|piece| events.push(piece, |event| cut_up.push(event)));
    assert_eq!(all.is_ok(), pieces.is_ok());
    assert_eq!(whole, cut_up);
});
