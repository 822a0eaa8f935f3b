//! What a verdict costs: reading a command, and deciding over its effects, with
//! the index and, for comparison, by all rules at once.
//!
//!     cargo bench -p stockade-policy --bench decision

#![expect(
    clippy::unwrap_used,
    reason = "a bench whose policy does not load ends"
)]

use std::{
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use stockade_policy::{Policy, Surroundings, effects_of_text};

/// How often each is measured, in turns.
const ROUNDS: usize = 2_000;

/// Commands of about 200 bytes, as agents write them.
const COMMANDS: [&str; 3] = [
    "cd packages/server && npm run build 2>&1 | tail -20 && node dist/index.js --port 3000 & sleep 2; \
     curl -s http://localhost:3000/health | jq .status; kill %1; echo \"finished with $?\" >> build.log",
    "git add -A && git commit -m \"fix the parser: a heredoc ends at its own line\" && git push --force origin \
     HEAD:main || (git status --short; git log --oneline -5; echo 'could not push' >&2; exit 1)",
    "for f in $(find src -name '*.rs' -newer Cargo.lock); do sed -i 's/unwrap()/expect(\"set\")/g' \"$f\"; \
     cargo fmt -- \"$f\"; done; cargo clippy --all-targets -- -D warnings && cargo test --workspace -- -q",
];

fn median(times: &mut [Duration], share: usize) -> f64 {
    times.sort_unstable();
    times[times.len() * share / 100].as_secs_f64() * 1e6
}

fn main() {
    let policy = Policy::builtin().unwrap();
    let all = policy.all_rules().unwrap();
    let around = Surroundings::inside("/workspace/app");
    let effects: Vec<_> = COMMANDS
        .iter()
        .flat_map(|text| effects_of_text(text, &around))
        .collect();
    let (mut read, mut indexed, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let text = COMMANDS[round % COMMANDS.len()];
        let start = Instant::now();
        black_box(effects_of_text(black_box(text), &around));
        read.push(start.elapsed());

        let effect = &effects[round % effects.len()];
        let one = std::slice::from_ref(effect);
        let start = Instant::now();
        black_box(policy.decide(black_box(one)));
        indexed.push(start.elapsed());

        let start = Instant::now();
        black_box(policy.decide_unindexed(black_box(effect), &all));
        whole.push(start.elapsed());
    }
    let mut out = std::io::stdout().lock();
    for (what, times) in [
        ("text to effects", &mut read),
        ("decision over one effect", &mut indexed),
        ("the same by all rules at once", &mut whole),
    ] {
        let (half, tail) = (median(times, 50), median(times, 99));
        writeln!(out, "{what:<32} p50 {half:>7.1} µs   p99 {tail:>7.1} µs").unwrap();
    }
    let ratio = median(&mut indexed, 50) / median(&mut whole, 50);
    writeln!(
        out,
        "indexed against all rules        {ratio:.2} of the time"
    )
    .unwrap();
}
