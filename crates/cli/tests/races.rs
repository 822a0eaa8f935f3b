//! A tree that changes under the verbs of the host.

mod host;

use std::{fs, os::unix::fs::PermissionsExt};

use self::host::{Host, has, skip};

/// Exchanges a folder and a link to one outside, again and again, and says how
/// often. The number of renameat2(2) is 316 on x86-64 and 276 on others; 2
/// exchanges.
const EXCHANGE: &str = "mkdir d && echo own > d/file && ln -s $1 link && \
     perl -e 'my $call = `uname -m` =~ /x86_64/ ? 316 : 276; my ($d, $link, $done) = (qw(d link), 0); \
       for (1 .. 10_001) { $done++ if syscall($call, -100, $d, -100, $link, 2) == 0; select undef, undef, undef, 0.0003 } \
       print qq($done\\n)'";

#[test]
fn g6_no_verb_of_the_host_is_led_outside_by_ten_thousand_exchanges_of_a_folder_and_a_link() {
    if !has("perl") {
        return skip("exchanges", "there is no perl to make them with");
    }
    let host = Host::new();
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    let planted = ["of", "the", "host", "alone"].join("-");
    fs::write(outside.join("file"), &planted).unwrap();
    let before = outside.join("file").metadata().unwrap();

    let script = EXCHANGE.replace("$1", outside.to_str().unwrap());
    let task = host.start_with(&["--name", "work"], &script);
    let mut seen = Vec::new();
    let mut rounds = 0;
    while host.status(&task)["state"]["name"] == "running" {
        let back = host.path(&format!("back-{rounds}"));
        let back = back.to_str().unwrap();
        let given = host.path("given");
        fs::write(&given, "given").unwrap();
        for verb in [
            &["diff", "work"][..],
            &["cp", "work:d/file", back],
            &["cp", given.to_str().unwrap(), "work:d/given"],
            &["review", "work"],
            &["exec", "work", "--", "cat", "d/file"],
        ] {
            // What is a link just then is refused.
            let outcome = host.stockade(verb);
            seen.push(outcome.stdout + &outcome.stderr);
        }
        seen.extend(fs::read_to_string(back));
        rounds += 1;
    }
    assert!(rounds > 1, "the verbs had no time");
    let log = host.stockade(&["logs", "work"]);
    assert_eq!(log.stdout.trim(), "10001", "{log:?}");
    let review = host.stockade(&["review", "work", "--json"]);
    let merge = host.stockade(&["merge", "work", "--yes"]);
    seen.extend([review.stdout, merge.stdout, merge.stderr]);
    let told: Vec<&String> = seen.iter().filter(|seen| seen.contains(&planted)).collect();
    assert!(told.is_empty(), "{told:?}");
    let commits = host.git(&["log", "--all", "--patch"]);
    assert!(!commits.contains(&planted), "{commits}");

    let after = outside.join("file").metadata().unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), planted);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}
