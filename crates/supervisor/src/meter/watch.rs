//! What a task's meter watches its agent for.

use std::time::Instant;

use stockade_budget::{
    Breakers, Seen,
    breaker::{Excused, Pace, Progress, Tripped, Velocity},
};
use stockade_gateway::ModelCall;

/// Tells what the workspace holds now: equal for equal; nothing where nobody can
/// tell.
pub(crate) type Look = Box<dyn Fn() -> Option<u64> + Send>;

/// The breakers of one run of a task.
pub(super) struct Watch {
    begun: Instant,
    /// What the last request's agent had done.
    calls: Vec<Seen>,
    excused: Excused,
    requests: Velocity,
    tokens: Velocity,
    pace: Pace,
    progress: Progress,
    look: Look,
}

impl Watch {
    pub(super) fn new(limits: Breakers, look: Look) -> Self {
        Self {
            begun: Instant::now(),
            calls: Vec::new(),
            excused: Excused::default(),
            requests: Velocity::new(limits.requests_a_minute, "model requests"),
            tokens: Velocity::new(limits.tokens_a_minute, "tokens"),
            pace: Pace::new(limits.times_the_average, "tokens"),
            progress: Progress::new(limits.turns_without_progress),
            look,
        }
    }

    /// Why the agent should not go on with `call`, if it should not.
    pub(super) fn judge(&mut self, call: &ModelCall) -> Option<Tripped> {
        let now = self.begun.elapsed();
        self.calls = seen(call);
        let tripped = self
            .excused
            .judge(&self.calls)
            .or_else(|| self.requests.judge(now))
            .or_else(|| self.tokens.judge(now))
            .or_else(|| self.pace.judge(now));
        if tripped.is_some() {
            return tripped;
        }
        self.requests.add(now, 1);
        if call.turn {
            return self.progress.turn(&self.look);
        }
        None
    }

    /// Counts what a request took.
    pub(super) fn took(&mut self, tokens: u64) {
        let now = self.begun.elapsed();
        self.tokens.add(now, tokens);
        self.pace.add(now, tokens);
    }

    /// A person lets the agent go on.
    pub(super) fn reset(&mut self) {
        self.excused.excuse(&self.calls);
        self.requests.reset();
        self.tokens.reset();
        self.pace.reset();
        self.progress.reset();
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
