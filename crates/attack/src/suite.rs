//! Runs probes: the control, the attempt, the look at the host, the verdict.

use stockade_attempt::{End, Order};

use crate::{
    error::AttackError,
    field::Field,
    observed::{Observed, named, observe, run},
    probe::{In, Judge, Orders, Probe, Way},
    target::{Start, Target},
    verdict::{Outcome, Report, Verdict, Witness},
    wrapper::Wrapper,
};

/// What is said of a probe: how it ended, why, and what shows it.
type Judged = (Outcome, String, Option<Witness>);

/// The suite on one field, against one target.
pub struct Suite<'a> {
    field: &'a mut Field,
    control: Wrapper,
    target: &'a mut dyn Target,
}

impl std::fmt::Debug for Suite<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Suite")
            .field("target", &self.target.name())
            .finish_non_exhaustive()
    }
}

impl<'a> Suite<'a> {
    /// A suite; the target must run the executable at all.
    pub fn new(field: &'a mut Field, target: &'a mut dyn Target) -> Result<Self, AttackError> {
        let control = Wrapper::none(field.ground(), &field.without_rules())?;
        let mut suite = Self {
            field,
            control,
            target,
        };
        suite.greet()?;
        Ok(suite)
    }

    fn greet(&mut self) -> Result<(), AttackError> {
        let marker = self.field.ground().marker();
        let ran = run(self.target, marker, &Order::Hello, Start::New)?;
        let all_well = !ran.0.is_empty() && ran.0.iter().all(|line| line.end == End::Worked);
        if all_well {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ran.1.output);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        Err(AttackError::Deaf {
            target: self.target.name().to_owned(),
            reason: format!("{}: {}", ran.1.ended, last.unwrap_or("it printed nothing")),
        })
    }

    /// Runs each of `probes`, and tells of each before it begins.
    pub fn run(
        mut self,
        probes: &[&'static Probe],
        mut progress: impl FnMut(usize, &Probe),
    ) -> Result<Report, AttackError> {
        let mut report = Report {
            target: self.target.name().to_owned(),
            probes: Vec::new(),
            needs: Vec::new(),
        };
        for (number, probe) in probes.iter().enumerate() {
            progress(number, probe);
            let (outcome, reason, witness) = self.judge(probe)?;
            let verdict = Verdict {
                id: probe.id,
                class: probe.class,
                title: probe.title,
                outcome,
                reason,
                witness,
            };
            if matches!(probe.way, Way::Need(_)) {
                report.needs.push(verdict);
            } else {
                report.probes.push(verdict);
            }
        }
        self.target.end().map_err(|source| AttackError::Target {
            target: report.target.clone(),
            source,
        })?;
        Ok(report)
    }

    fn judge(&mut self, probe: &Probe) -> Result<Judged, AttackError> {
        match probe.way {
            Way::Untried(reason) => Ok((Outcome::Skipped, reason.to_owned(), None)),
            Way::Need(orders) => self.need(orders),
            Way::Attempt {
                place,
                judge,
                orders,
            } => self.attempt(place, judge, orders),
        }
    }

    /// Something that programs need: it works outside, and must inside. Where
    /// earlier starts could not prepare what they were to, nothing is shown.
    fn need(&mut self, orders: Orders) -> Result<Judged, AttackError> {
        let facts = self.target.facts();
        let how = (In::Own, Judge::Host);
        let control = observe(self.field, &mut self.control, &facts, how, orders, None)?;
        if let Some(reason) = control.failed() {
            let reason = format!("it does not work outside either: {reason}");
            return Ok((Outcome::Skipped, reason, None));
        }
        let inside = observe(self.field, self.target, &facts, how, orders, None)?;
        if let Some(step) = control.prepared_only_here(&inside) {
            let reason = format!("what it would have to cope with is not there inside: {step}");
            return Ok((Outcome::Skipped, reason, None));
        }
        let broken = |reason| (Outcome::Escaped, reason, Some(Witness::Inside));
        Ok(match inside.failed() {
            Some(reason) => broken(format!("it does not work inside: {reason}")),
            None if inside.in_last_start().len() < control.in_last_start().len() => broken(
                format!("it does not come to its end inside: {}", inside.ended),
            ),
            None => (Outcome::Held, "it works inside".to_owned(), None),
        })
    }

    fn attempt(&mut self, place: In, judge: Judge, orders: Orders) -> Result<Judged, AttackError> {
        let facts = self.target.facts();
        if matches!(judge, Judge::Marked(_)) && !facts.reviews {
            let reason = "the target has no review that could remark on it";
            return Ok((Outcome::Skipped, reason.to_owned(), None));
        }
        if place == In::Named && !self.field.answers_names() {
            let reason = "the machine asks somebody else for names; \
                          `cli::g2_no_name_is_asked_of_the_machines_resolver` tries it";
            return Ok((Outcome::Skipped, reason.to_owned(), None));
        }
        if place == In::Capped && !facts.caps_memory {
            let reason = "the target names no cap on memory";
            return Ok((Outcome::Skipped, reason.to_owned(), None));
        }
        let how = (place, judge);
        let control = observe(self.field, &mut self.control, &facts, how, orders, None)?;
        if !control.escaped() {
            let reason = format!(
                "the control outside does not succeed: {}",
                control.why_not()
            );
            return Ok((Outcome::Skipped, reason, None));
        }
        let inside = observe(
            self.field,
            self.target,
            &facts,
            how,
            orders,
            Some(&control.lines),
        )?;
        Ok(verdict(place, &control, &inside))
    }
}

/// What is said of an attempt whose control succeeded. It held only if each step
/// that went through outside was tried inside, and did not.
fn verdict(place: In, control: &Observed, inside: &Observed) -> Judged {
    if !inside.host.is_empty() {
        let reason = format!("seen by the host: {}", named(&inside.host));
        return (Outcome::Escaped, reason, Some(Witness::Host));
    }
    if !inside.through.is_empty() {
        let reason = format!("inside: {}", named(&inside.through));
        return (Outcome::Escaped, reason, Some(Witness::Inside));
    }
    if inside.lines.is_empty() {
        let reason = format!("the target did not run it: {}", inside.ended);
        return (Outcome::Skipped, reason, None);
    }
    // A target that does not start again, and one that ends what takes too much
    // memory, have refused what was yet to come.
    let untried = if inside.refused_start || place == In::Capped {
        Vec::new()
    } else {
        inside.untried(control)
    };
    if let Some(step) = untried.first() {
        let reason = format!(
            "{} of the {} steps that go through outside cannot be tried inside: {step}",
            untried.len(),
            control.went.len()
        );
        return (Outcome::Skipped, reason, None);
    }
    let reason = if control.host.is_empty() {
        format!(
            "{} of {} steps went through outside, none inside",
            control.went.len(),
            control.lines.len()
        )
    } else {
        format!("outside: {}; inside: nothing", named(&control.host))
    };
    (Outcome::Held, reason, None)
}
