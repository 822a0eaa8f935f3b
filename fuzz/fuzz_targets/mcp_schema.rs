//! Any schema checks any arguments without an end of the process: a tool on the first
//! line, arguments on the second.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use stockade_mcp::{ArgumentCheck, parse};
use stockade_scan::Formats;

static KEYS: OnceLock<Formats> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (Some(tool), Some(arguments)) = (lines.next(), lines.next()) else {
        return;
    };
    let (Ok(tool), Ok(arguments)) = (parse(tool), parse(arguments)) else {
        return;
    };
    let keys = KEYS.get_or_init(|| Formats::new().expect("formats"));
    let check = ArgumentCheck::new(&tool);
    let first = check.check(&arguments, keys).is_ok();
    assert_eq!(first, check.check(&arguments, keys).is_ok());
    check.fits_output(&arguments);
});
