//! What a task's model requests cost: the gateway asks before each, and the
//! ledger that all tasks share has the last word.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use stockade_budget::{
    Api, BudgetError, Call, Caps, Exhausted, Ledger, Prices, Purse, Quote, Reservation,
    ReserveError, Scope, Seen, Spender, Unit, Warning, breaker,
};
use stockade_gateway::{Bill, ModelApi, ModelCall, Spent, Unpaid};
use stockade_types::TaskId;

use crate::{
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
            ended: false,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Reserves for a request, or says why not and who can change that.
    pub(crate) fn reserve(&self, call: &ModelCall) -> Result<u64, Unpaid> {
        self.lock().reserve(call)
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
    pub(crate) fn settle(&self, reservation: u64, spent: Spent) -> Option<Bill> {
        self.lock().settle(reservation, spent)
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
        if let Some(tripped) = breaker::judge(&seen(call)) {
            let reason = format!("task {task} goes in circles: {tripped}.");
            let command = format!("stockade resume {task} --prompt \"…\"");
            return Err(Unpaid::new(reason).with_allow(command));
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

    fn settle(&mut self, reservation: u64, spent: Spent) -> Option<Bill> {
        let open = self.open.as_mut()?;
        let (reservation, quote) = open.under_way.remove(&reservation)?;
        let charge = match spent {
            Spent::Nothing => quote.free(),
            Spent::Reported(usage) => quote.reported(&usage),
            Spent::Unknown => quote.unreported(),
        };
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
    }
}

fn seen(call: &ModelCall) -> Vec<Seen> {
    let seen = |call: &stockade_gateway::ToolCall| Seen {
        tool: call.tool,
        call: call.call,
        result: call.result,
        failed: call.failed,
    };
    call.calls.iter().map(seen).collect()
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
    use stockade_budget::{Cap, Group};
    use stockade_gateway::ToolCall;
    use stockade_types::Usage;

    use super::*;

    fn meter(folder: &std::path::Path, cap: Cap) -> Meter {
        let state = State {
            folder: folder.to_owned(),
            spender: Spender {
                task: TaskId::from_random(1),
                agent: "claude".to_owned(),
                repository: "here".to_owned(),
            },
            caps: Caps {
                task: cap,
                ..Caps::default()
            },
            own_prices: None,
            open: None,
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
        let bill = meter.settle(first, Spent::Reported(usage)).unwrap();
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
        meter.settle(second, Spent::Nothing);
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
    }
}
