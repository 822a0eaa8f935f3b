//! The table of probes, by what they reach for. Numbers up to 199 are those of
//! the project's list of attacks; those above are more of the same classes.

mod calls;
mod elsewhere;
mod files;
mod git;
mod limits;
mod network;
mod own;
mod process;
mod workspace;

use crate::probe::Probe;

/// Every probe, by class and number.
pub(crate) fn all() -> Vec<&'static Probe> {
    let tables: [&'static [Probe]; 9] = [
        git::PROBES,
        workspace::PROBES,
        files::PROBES,
        process::PROBES,
        calls::PROBES,
        network::PROBES,
        limits::PROBES,
        own::PROBES,
        elsewhere::PROBES,
    ];
    let mut all: Vec<&Probe> = tables.into_iter().flatten().collect();
    all.sort_by_key(|probe| (probe.class, probe.id));
    all
}

/// Words as an order takes them.
fn strings<T: AsRef<str>>(words: &[T]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    /// The numbers of the list of attacks, up to 199.
    const LIST: [u16; 107] = [
        1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 18, 19, 21, 22, 23, 25, 26, 27, 29, 31, 32,
        34, 35, 36, 37, 39, 41, 42, 43, 44, 46, 48, 49, 50, 52, 54, 55, 56, 57, 58, 60, 61, 62, 64,
        65, 66, 67, 69, 71, 72, 73, 75, 76, 77, 79, 80, 81, 83, 84, 85, 87, 88, 89, 90, 92, 93, 95,
        96, 97, 99, 101, 102, 104, 105, 106, 108, 109, 110, 112, 113, 115, 116, 117, 119, 121, 122,
        123, 124, 126, 127, 129, 131, 132, 134, 135, 136, 138, 139, 141, 142, 144, 145, 147, 149,
    ];

    #[test]
    fn every_attack_of_the_list_has_its_probe_and_no_number_is_used_twice() {
        let numbers: Vec<u16> = all().iter().map(|probe| probe.id).collect();
        let unique: BTreeSet<u16> = numbers.iter().copied().collect();
        assert_eq!(unique.len(), numbers.len());
        let missing: Vec<u16> = LIST
            .into_iter()
            .chain(151..=160)
            .filter(|id| !unique.contains(id))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
