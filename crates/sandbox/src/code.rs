//! The memory that this program's own code takes.

#![expect(
    unsafe_code,
    reason = "the program's headers are read where the loader put them, and memory is given back"
)]

use std::{ffi::c_void, ops::Range, ptr, slice};

use crate::kernel;

/// Gives back the memory into which this process's code was read, as far as the
/// kernel lets it. What runs from then on is mapped again from the page cache, page
/// by page: worth it where much ran once and will not again.
pub fn give_back() {
    let mut code: Option<Range<usize>> = None;
    // SAFETY: `find` has the type that is asked for, keeps nothing of what it is
    // shown, and writes to `code` alone, which outlives the call
    // (dl_iterate_phdr(3)).
    unsafe { libc::dl_iterate_phdr(Some(find), (&raw mut code).cast()) };
    let here = give_back as *const () as usize;
    let Some(code) = code.filter(|code| code.contains(&here)) else {
        return;
    };
    let start = code.start & !(kernel::page_size() - 1);
    // SAFETY: the range is the segment of the running program that holds this very
    // function. It is mapped from the executable and never written: relocations are
    // in other segments. What is dropped of it is read again when it is needed
    // (madvise(2), MADV_DONTNEED on file mappings).
    unsafe {
        libc::madvise(
            ptr::with_exposed_provenance_mut(start),
            code.end - start,
            libc::MADV_DONTNEED,
        )
    };
}

/// Takes the segment with the code from the first object, which is the program.
unsafe extern "C" fn find(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut c_void,
) -> libc::c_int {
    // SAFETY: the loader shows a valid object for the length of this call.
    let object = unsafe { &*object };
    // SAFETY: it has so many headers at this place.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let code = headers
        .iter()
        .find(|header| header.p_type == libc::PT_LOAD && header.p_flags == libc::PF_R | libc::PF_X);
    let range = code.and_then(|header| {
        let start = usize::try_from(object.dlpi_addr.checked_add(header.p_vaddr)?).ok()?;
        Some(start..start.checked_add(usize::try_from(header.p_memsz).ok()?)?)
    });
    // SAFETY: the only caller passes a pointer to its own `Option<Range<usize>>`.
    unsafe { *found.cast::<Option<Range<usize>>>() = range };
    1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// How much of the mappings of code is in memory, in KiB.
    fn resident() -> u64 {
        let text = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_code = false;
        let mut sum = 0;
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("Rss:") {
                let value = value.trim().trim_end_matches(" kB");
                sum += if is_code {
                    value.parse::<u64>().unwrap()
                } else {
                    0
                };
            } else if line.split(' ').nth(1).is_some_and(|mode| mode.len() == 4) {
                is_code = line.contains(" r-xp ") && line.contains('/');
            }
        }
        sum
    }

    #[test]
    fn code_that_is_given_back_takes_less_memory_and_runs_again() {
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before, "{before} KiB, then {after} KiB");
        assert_eq!((1..=10).sum::<u64>(), 55);
    }
}
