//! Spends on one task's account until a cap is reached or it is killed:
//! `spend FOLDER TASK-NUMBER SEED STEPS`. It says each step before it takes it;
//! `cost N` is what a provider would have charged by then, in pico-dollars. With
//! as many requests under way as it may have, it waits for the end of its
//! standard input.

use std::{
    error::Error,
    io::{Read, Write},
    path::Path,
};

use stockade_budget::{Amount, Cap, Caps, Charge, Purse, Reservation, ReserveError, Spender, Unit};
use stockade_types::TaskId;

/// The largest request, in pico-dollars: 500 of them are a dollar.
const LARGEST: u64 = 2_000_000_000;
/// Requests under way at once.
const OUTSTANDING_MAX: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, task, seed, steps] = arguments.as_slice() else {
        return Err("usage: spend FOLDER TASK-NUMBER SEED STEPS".into());
    };
    let mut random = Random(seed.parse()?);
    let spender = Spender {
        task: TaskId::from_random(task.parse()?),
        agent: "spend".to_owned(),
        repository: "here".to_owned(),
    };
    let caps = Caps {
        user: Cap {
            cost: Some("$1".parse()?),
            ..Cap::default()
        },
        ..Caps::default()
    };
    say("open")?;
    let mut purse = Purse::open(Path::new(folder), spender, caps)?;
    let mut under_way = Vec::new();
    while under_way.len() < OUTSTANDING_MAX {
        match purse.reserve(cost(LARGEST)) {
            Ok(reservation) => under_way.push(reservation),
            Err(ReserveError::Exhausted(_)) => break,
            Err(ReserveError::Ledger(error)) => return Err(error.into()),
        }
    }
    say(&format!("held {}", under_way.len()))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for _ in 0..steps.parse::<u64>()? {
        match random.below(20) {
            0 => {
                say("rest")?;
                purse.rest()?;
            }
            1..=11 if under_way.len() < OUTSTANDING_MAX => {
                say("reserve")?;
                match purse.reserve(cost(1 + random.below(LARGEST))) {
                    Ok(reservation) => under_way.push(reservation),
                    Err(ReserveError::Exhausted(_)) if under_way.is_empty() => break,
                    Err(ReserveError::Exhausted(_)) => {
                        settle(&mut purse, &mut under_way, &mut random)?;
                    }
                    Err(ReserveError::Ledger(error)) => return Err(error.into()),
                }
            }
            _ => settle(&mut purse, &mut under_way, &mut random)?,
        }
    }
    say("close")?;
    purse.close()?;
    say("closed")?;
    Ok(())
}

fn cost(picos: u64) -> Amount {
    Amount::NONE.with(Unit::Cost, picos).with(Unit::Requests, 1)
}

fn settle(
    purse: &mut Purse,
    under_way: &mut Vec<Reservation>,
    random: &mut Random,
) -> Result<(), Box<dyn Error>> {
    let Some(last) = under_way.len().checked_sub(1) else {
        return Ok(());
    };
    let index = usize::try_from(random.below(last as u64 + 1))?;
    let reservation = under_way.swap_remove(index);
    let picos = random.below(reservation.amount().get(Unit::Cost) + 1);
    say(&format!("cost {picos}"))?;
    purse.settle(
        reservation,
        Charge {
            amount: cost(picos),
            ..Charge::default()
        },
    )?;
    Ok(())
}

fn say(step: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{step}")?;
    stdout.flush()
}

/// Steele and Vigna's splitmix64: the same steps for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
