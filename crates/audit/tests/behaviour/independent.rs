//! Logs and proofs are checked by a second implementation, in another language
//! and from the specifications alone.

use std::{fs, io::Write, process::Command};

use stockade_audit::prove;

use crate::fixture::Place;

/// Checks a log's folder and a proof with a public key; ends with 0 if all fits.
const CHECKER: &str = include_str!("independent.py");

#[test]
fn logs_and_proofs_pass_an_independent_implementation_and_changed_ones_do_not() {
    let place = Place::new();
    place.write(0..600);
    let script = place.host.join("check.py");
    fs::write(&script, CHECKER).unwrap();
    let proof = place.host.join("proof");
    let check = || {
        #[expect(clippy::disallowed_methods, reason = "the other implementation")]
        let mut python = Command::new("python3");
        python
            .arg(&script)
            .args([&place.log, &place.host.join("key.pub"), &proof]);
        python.output()
    };
    for number in [0, 255, 256, 599] {
        fs::write(&proof, prove(&place.log, number).unwrap()).unwrap();
        let Ok(output) = check() else {
            let why = "there is no python3";
            let _ = writeln!(
                std::io::stderr(),
                "SKIP an independent implementation: {why}"
            );
            return;
        };
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        let text = fs::read_to_string(&proof).unwrap();
        let line = text.lines().nth(3).unwrap();
        let turned: String = line.chars().rev().collect();
        fs::write(&proof, text.replace(line, &turned)).unwrap();
        assert!(!check().unwrap().status.success(), "a changed proof");
        fs::write(&proof, text).unwrap();
    }
    place.edit("tile/entries/001", "\"number\":300}", "\"number\":301}");
    assert!(!check().unwrap().status.success(), "a changed record");
    place.edit(
        "tile/entries/001",
        "\"number\":301},\"kind\":\"network-request\",\"seq\":300",
        "\"number\":300},\"kind\":\"network-request\",\"seq\":300",
    );
    assert!(check().unwrap().status.success());
    place.edit("checkpoint", "\n600\n", "\n599\n");
    assert!(!check().unwrap().status.success(), "a changed checkpoint");
}
