//! What a task's model requests cost: the gateway asks before each, and the
//! ledger that all tasks share has the last word.

mod watch;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use stockade_budget::{
    Amount, Api, BudgetError, Call, Caps, Exhausted, Ledger, Prices, Purse, Quote, Reservation,
    ReserveError, Scope, Spender, Unit, Warning, breaker::Tripped,
};
use stockade_gateway::{Bill, ModelApi, ModelCall, Settlement, Spent, Unpaid};
use stockade_types::TaskId;

use self::watch::{Look, Watch};
use crate::{
    caps, disk,
    error::SupervisorError,
    state::TaskDirectory,
    task::{PLAN, Plan, STATUS, TaskStatus},
};

/// How often what is not needed is given back to other tasks.
const REST: Duration = Duration::from_secs(1);

/// One task's meter; its clones are the same one.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Mutex<State>>);

struct State {
    folder: PathBuf,
    spender: Spender,
    caps: Caps,
    own_prices: Option<String>,
    /// Made when the first request asks: many commands make none.
    open: Option<Open>,
    watch: Watch,
    /// Why the last request was not sent, unless a later one was.
    stopped: Option<Unpaid>,
    ended: bool,
}

struct Open {
    prices: Prices,
    purse: Purse,
    under_way: HashMap<u64, (Reservation, Quote)>,
    next: u64,
}

impl Meter {
    pub(crate) fn new(task: &TaskDirectory, plan: &Plan, status: &TaskStatus) -> Self {
        let agent = status.agent.map(|agent| agent.to_string());
        let state = State {
            folder: task.ledger(),
            spender: Spender {
                task: plan.task.clone(),
                agent: agent.unwrap_or_else(|| "command".to_owned()),
                repository: plan.repository.clone(),
            },
            caps: plan.caps,
            own_prices: plan.own_prices.clone(),
            open: None,
            watch: Watch::new(plan.caps.breakers, look(task, plan)),
            stopped: None,
            ended: false,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Reserves for a request, or says why not and who can change that.
    pub(crate) fn reserve(&self, call: &ModelCall) -> Result<u64, Unpaid> {
        let mut state = self.lock();
        let reserved = state.reserve(call);
        state.stopped = reserved.as_ref().err().cloned();
        reserved
    }

    /// Lets an agent go on that a breaker has stopped.
    pub(crate) fn reset(&self) {
        self.lock().watch.reset();
    }

    /// Why the agent could not go on, if its last request was not sent.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.lock().stopped.as_ref().map(ToString::to_string)
    }

    /// Raises the task's cap on `unit`, from the next request on; tells the new
    /// one.
    pub(crate) fn raise(&self, unit: Unit, more: u64) -> Result<u64, SupervisorError> {
        let mut state = self.lock();
        // The first who opens the ledger puts the plan's caps into it.
        state.open()?;
        let task = state.spender.task.clone();
        let mut ledger = Ledger::open(&state.folder)?;
        let raised = ledger.raise(Scope::Task, task.as_str(), unit, more)?;
        raised.and_then(|balance| balance.cap).ok_or_else(|| {
            SupervisorError::Refused(format!(
                "task {task} has no cap on {} that could be raised",
                unit.name()
            ))
        })
    }

    /// Settles a request.
    pub(crate) fn settle(&self, reservation: u64, ended: Settlement) -> Option<Bill> {
        self.lock().settle(reservation, ended)
    }

    /// Gives back, every second and as long as `told` wants to know of caps
    /// that are used up to a good part, what no request needs.
    pub(crate) fn rest_now_and_then(&self, mut told: impl FnMut(Value) -> bool + Send + 'static) {
        let state = Arc::downgrade(&self.0);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(REST);
                let Some(meter) = state.upgrade().map(Meter) else {
                    return;
                };
                let warnings = meter.lock().rest();
                if !warnings.iter().map(describe).all(&mut told) {
                    return;
                }
            }
        });
    }

    /// Ends it; what is under way counts in full.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.ended = true;
        if let Some(open) = state.open.take() {
            // What could not be booked is held, and settled by the next who
            // opens the ledger.
            let _ = open.purse.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self) -> Result<&mut Open, BudgetError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open {
                prices: prices(self.own_prices.as_deref())?,
                purse: Purse::open(&self.folder, self.spender.clone(), self.caps)?,
                under_way: HashMap::new(),
                next: 0,
            },
        };
        Ok(self.open.insert(open))
    }

    fn reserve(&mut self, call: &ModelCall) -> Result<u64, Unpaid> {
        let task = self.spender.task.clone();
        if self.ended {
            return Err(Unpaid::new(format!("task {task} is ending.")));
        }
        if let Some(tripped) = self.watch.judge(call) {
            return Err(broken(&task, tripped));
        }
        let open = self
            .open()
            .map_err(|error| Unpaid::new(format!("{error}.")))?;
        let quote = open.prices.quote(&Call {
            api: api(call.api),
            model: &call.model,
            input_bytes: call.input_bytes,
            whole_context: call.whole_context,
            hour_cache: call.hour_cache,
            output_limit: call.output_limit,
            answers: call.answers,
            tiers: &call.tiers,
            turn: call.turn,
        });
        let reservation = open.purse.reserve(quote.reserve()).map_err(|error| {
            let unknown = if quote.is_known() {
                String::new()
            } else {
                format!(
                    " The price of {} is not known, so that of the dearest is taken.",
                    call.model
                )
            };
            match error {
                ReserveError::Exhausted(exhausted) => {
                    unpaid(&task, &exhausted, &format!("{exhausted}.{unknown}"))
                }
                ReserveError::Ledger(error) => Unpaid::new(format!("{error}.")),
            }
        })?;
        open.next += 1;
        open.under_way.insert(open.next, (reservation, quote));
        Ok(open.next)
    }

    fn settle(&mut self, reservation: u64, ended: Settlement) -> Option<Bill> {
        let open = self.open.as_mut()?;
        let (reservation, quote) = open.under_way.remove(&reservation)?;
        let mut charge = match ended.spent {
            Spent::Nothing => quote.free(),
            Spent::Reported(usage) => quote.reported(&usage),
            Spent::Unknown => quote.unreported(),
        };
        let asked = Amount::NONE
            .with(Unit::Commands, ended.asked.commands)
            .with(Unit::Subagents, ended.asked.subagents);
        charge.amount = charge.amount.plus(&asked);
        self.watch.took(charge.amount.get(Unit::Tokens));
        let bill = Bill {
            cost: charge.amount.cost(),
            estimated: charge.estimated,
        };
        // What could not be booked now is kept, and booked with the next.
        let _ = open.purse.settle(reservation, charge);
        Some(bill)
    }

    fn rest(&mut self) -> Vec<Warning> {
        let Some(open) = &mut self.open else {
            return Vec::new();
        };
        // Tried again a second later.
        let _ = open.purse.rest();
        open.purse.take_warnings()
    }
}

/// The price table: our own, and `own` before it.
pub(crate) fn prices(own: Option<&str>) -> Result<Prices, BudgetError> {
    let prices = Prices::built_in()?;
    match own {
        Some(text) => prices.with_own(text, "prices.toml"),
        None => Ok(prices),
    }
}

/// Raises the cap of a task that does not run; tells the new one.
pub fn raise(task: &TaskDirectory, unit: Unit, more: u64) -> Result<u64, SupervisorError> {
    let plan: Plan = task.read(PLAN)?;
    let status: TaskStatus = task.read(STATUS)?;
    let meter = Meter::new(task, &plan, &status);
    let raised = meter.raise(unit, more);
    meter.close();
    raised
}

/// What the record says of a raised cap.
pub fn raised(unit: Unit, more: u64, peer: Option<u32>) -> Value {
    json!({ "raised": unit, "by": unit.show(more), "by_uid": peer })
}

fn api(api: ModelApi) -> Api {
    match api {
        ModelApi::Anthropic => Api::Anthropic,
        ModelApi::OpenAi => Api::OpenAi,
        ModelApi::Gemini => Api::Gemini,
        ModelApi::Bedrock => Api::Bedrock,
    }
}

/// How a task's workspace is looked at.
fn look(task: &TaskDirectory, plan: &Plan) -> Look {
    let filled = disk::filled(task, plan.own_disk);
    Box::new(move || caps::content(&filled))
}

/// That a breaker has stopped an agent, and how a person lets it go on.
fn broken(task: &TaskId, tripped: Tripped) -> Unpaid {
    let what = match tripped {
        Tripped::Velocity(..) | Tripped::Sudden(..) => "is too fast",
        Tripped::NoProgress(_) => "gets nowhere",
        _ => "goes in circles",
    };
    let reason = format!(
        "task {task} {what}: {tripped}. As long as it runs, a person can let it go on with: \
         stockade budget reset {task}."
    );
    Unpaid::new(reason).with_allow(format!("stockade resume {task} --prompt \"…\""))
}

/// That a cap is used up, and how a person can allow more.
fn unpaid(task: &TaskId, exhausted: &Exhausted, reason: &str) -> Unpaid {
    let unit = exhausted.unit;
    match (exhausted.scope, unit) {
        (Scope::Task, Unit::Cost) => {
            Unpaid::new(reason).with_allow(format!("stockade budget raise {task} '$1'"))
        }
        (Scope::Task, _) => Unpaid::new(reason)
            .with_allow(format!("stockade budget raise {task} --{} N", unit.name())),
        (scope, _) => Unpaid::new(format!(
            "{reason} A person can allow more by `{}` under [budget.{}] in Stockade's config.toml.",
            unit.name(),
            scope.name()
        )),
    }
}

fn describe(warning: &Warning) -> Value {
    json!({
        "scope": warning.scope, "unit": warning.unit, "per_cent": warning.passed,
        "spent": warning.unit.show(warning.spent), "cap": warning.unit.show(warning.cap),
    })
}

#[cfg(test)]
mod tests {
    use stockade_budget::{Breakers, Cap, Group};
    use stockade_gateway::{Asked, ToolCall};
    use stockade_types::Usage;

    use super::*;

    fn meter(folder: &std::path::Path, cap: Cap) -> Meter {
        let caps = Caps {
            task: cap,
            ..Caps::default()
        };
        with_caps(folder, &caps)
    }

    fn with_caps(folder: &std::path::Path, caps: &Caps) -> Meter {
        let state = State {
            folder: folder.to_owned(),
            spender: Spender {
                task: TaskId::from_random(1),
                agent: "claude".to_owned(),
                repository: "here".to_owned(),
            },
            caps: *caps,
            own_prices: None,
            open: None,
            watch: Watch::new(caps.breakers, Box::new(|| Some(1))),
            stopped: None,
            ended: false,
        };
        Meter(Arc::new(Mutex::new(state)))
    }

    fn cost(cost: &str) -> Cap {
        Cap {
            cost: Some(cost.parse().unwrap()),
            ..Cap::default()
        }
    }

    /// It can cost $3 at most: 100,000 × $5 … and 100,000 × $25, of a million.
    fn call() -> ModelCall {
        ModelCall {
            api: ModelApi::Anthropic,
            model: "claude-opus-5".to_owned(),
            input_bytes: 80_000,
            whole_context: false,
            hour_cache: false,
            output_limit: Some(100_000),
            answers: 1,
            tiers: Vec::new(),
            turn: true,
            calls: Vec::new(),
        }
    }

    #[test]
    fn g7_at_the_cap_the_sentence_names_what_was_spent_the_cap_and_the_command_that_helps() {
        let folder = tempfile::tempdir().unwrap();
        let meter = meter(folder.path(), cost("$4"));
        let first = meter.reserve(&call()).unwrap();
        let usage = Usage {
            input: 100_000,
            output: 60_000,
            ..Usage::default()
        };
        let reported = Spent::Reported(usage).into();
        let bill = meter.settle(first, reported).unwrap();
        assert_eq!(bill.cost, "$2".parse().unwrap());
        let sentence = meter.reserve(&call()).unwrap_err().to_string();
        for part in [
            "used $2.0000 of $4.0000",
            "up to $3.0000",
            "stockade budget raise t-",
        ] {
            assert!(sentence.contains(part), "{part} not in {sentence}");
        }
        let dollar = "$1".parse::<stockade_types::Money>().unwrap().picos();
        assert_eq!(meter.raise(Unit::Cost, dollar).unwrap(), 5 * dollar);
        let second = meter.reserve(&call()).unwrap();
        meter.settle(second, Spent::Nothing.into());
        assert!(meter.raise(Unit::Tokens, 1).is_err(), "it has no such cap");
        meter.close();
        assert!(meter.reserve(&call()).is_err());
        let ledger = Ledger::open(folder.path()).unwrap();
        let lines = ledger.report(Group::Model, None).unwrap();
        assert_eq!((lines[0].requests, lines[0].cost), (2, bill.cost));
    }

    #[test]
    fn g7_a_model_without_a_price_is_said_to_cost_what_the_dearest_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut unknown = call();
        unknown.model = "brand-new".to_owned();
        let refused = meter(folder.path(), cost("$4")).reserve(&unknown);
        let sentence = refused.unwrap_err().to_string();
        assert!(sentence.contains("brand-new is not known"), "{sentence}");
    }

    #[test]
    fn g7_an_agent_that_repeats_itself_is_stopped_without_a_request() {
        let folder = tempfile::tempdir().unwrap();
        let meter = meter(folder.path(), Cap::default());
        let mut looping = call();
        let same = ToolCall {
            tool: 1,
            call: 2,
            result: 3,
            failed: false,
        };
        looping.calls = vec![same; 5];
        meter.reserve(&looping).unwrap();
        looping.calls.push(same);
        let sentence = meter.reserve(&looping).unwrap_err().to_string();
        assert!(sentence.contains("stockade resume t-"), "{sentence}");
        assert_eq!(meter.stopped(), Some(sentence));
        meter.reset();
        meter.reserve(&looping).unwrap();
        assert_eq!(meter.stopped(), None);
    }

    #[test]
    fn g7_each_cap_on_what_an_agent_does_stops_it_with_its_own_reason_until_it_is_raised() {
        let cap = |unit| {
            let two = |own| (unit == own).then_some(2);
            Cap {
                turns: two(Unit::Turns),
                commands: two(Unit::Commands),
                subagents: two(Unit::Subagents),
                ..Cap::default()
            }
        };
        for (unit, done) in [
            (Unit::Turns, 2),
            // What passes these is known when it has been asked for.
            (Unit::Commands, 3),
            (Unit::Subagents, 3),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let meter = meter(folder.path(), cap(unit));
            let ended = Settlement {
                spent: Spent::Reported(Usage::default()),
                asked: Asked {
                    commands: 1,
                    subagents: 1,
                },
            };
            let turn = || {
                let reserved = meter.reserve(&call());
                reserved.map(|number| meter.settle(number, ended))
            };
            for _ in 0..done {
                turn().unwrap();
            }
            let sentence = turn().unwrap_err().to_string();
            let name = unit.name();
            let way = format!("--{name} N");
            assert!(
                sentence.contains(&format!("used {done} of 2 {name}")) && sentence.contains(&way),
                "{sentence}"
            );
            assert_eq!(meter.raise(unit, 5).unwrap(), 7);
            turn().unwrap();
            meter.close();
            let lines = Ledger::open(folder.path())
                .unwrap()
                .report(Group::Task, None)
                .unwrap();
            let done = done + 1;
            assert_eq!(
                (lines[0].turns, lines[0].commands, lines[0].subagents),
                (done, done, done)
            );
        }
    }

    #[test]
    fn g7_side_requests_are_no_turns() {
        let folder = tempfile::tempdir().unwrap();
        let none = Cap {
            turns: Some(0),
            ..Cap::default()
        };
        let meter = meter(folder.path(), none);
        let mut side = call();
        side.turn = false;
        meter.reserve(&side).unwrap();
        assert!(meter.reserve(&call()).is_err());
    }

    #[test]
    fn g7_an_agent_that_is_too_fast_or_gets_nowhere_is_stopped_until_a_person_lets_it_go_on() {
        let breakers = |requests_a_minute, tokens_a_minute, turns_without_progress| Caps {
            breakers: Breakers {
                tokens_a_minute,
                times_the_average: 0,
                requests_a_minute,
                turns_without_progress,
            },
            ..Caps::default()
        };
        let usage = Usage {
            input: 10,
            ..Usage::default()
        };
        for (caps, words) in [
            (breakers(3, 0, 0), "too fast: it took 4 model requests"),
            (breakers(0, 30, 0), "too fast: it took 40 tokens"),
            (breakers(0, 0, 4), "gets nowhere: no file of its workspace"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let meter = with_caps(folder.path(), &caps);
            let turn = || {
                let reserved = meter.reserve(&call());
                reserved.map(|number| meter.settle(number, Spent::Reported(usage).into()))
            };
            for _ in 0..4 {
                turn().unwrap();
            }
            let sentence = turn().unwrap_err().to_string();
            assert!(sentence.contains(words), "{sentence}");
            assert!(sentence.contains("stockade budget reset t-"), "{sentence}");
            meter.reset();
            turn().unwrap();
        }
    }
}
