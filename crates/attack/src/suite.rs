//! Runs probes: the control, the attempt, the look at the host, the verdict.

use std::fmt::Write as _;

use stockade_attempt::{End, Line, Order};

use crate::{
    error::{AttackError, During},
    field::Field,
    probe::{In, Judge, Orders, Probe, Way},
    repository::NAME,
    target::{Facts, Place, Start, Target},
    verdict::{Outcome, Report, Verdict, Witness},
    wrapper::Wrapper,
};

/// The most findings that a reason names.
const NAMED_MAX: usize = 3;

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

/// What an attempt came to.
#[derive(Debug, Default)]
struct Observed {
    /// Every step.
    lines: Vec<Line>,
    /// Steps that went through, in words.
    through: Vec<String>,
    /// What the host saw.
    host: Vec<String>,
    /// How the last start ended, in words.
    ended: String,
}

impl Observed {
    fn escaped(&self) -> bool {
        !self.through.is_empty() || !self.host.is_empty()
    }

    /// Why nothing went through, for a control.
    fn why_not(&self) -> String {
        let unable = self.lines.iter().find_map(|line| match &line.end {
            End::Unable(reason) => Some(format!("{}: {reason}", line.step)),
            _ => None,
        });
        let refused = self.lines.iter().find_map(|line| match line.end {
            End::Refused(number) => Some(format!("{}: {}", line.step, error(number))),
            End::Killed(signal) => Some(format!("{}: signal {signal}", line.step)),
            _ => None,
        });
        unable.or(refused).unwrap_or_else(|| self.ended.clone())
    }
}

impl<'a> Suite<'a> {
    /// A suite; the target must run the executable at all.
    pub fn new(field: &'a mut Field, target: &'a mut dyn Target) -> Result<Self, AttackError> {
        let control = Wrapper::none(field.ground())?;
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

    fn judge(&mut self, probe: &Probe) -> Result<(Outcome, String, Option<Witness>), AttackError> {
        match probe.way {
            Way::Unbuilt(reason) => Ok((Outcome::Skipped, reason.to_owned(), None)),
            Way::Need(orders) => self.need(orders),
            Way::Attempt {
                place,
                judge,
                orders,
            } => self.attempt(place, judge, orders),
        }
    }

    /// Something that programs need: it works outside, and must inside.
    fn need(&mut self, orders: Orders) -> Result<(Outcome, String, Option<Witness>), AttackError> {
        let facts = self.target.facts();
        let control = observe(
            self.field,
            &mut self.control,
            &facts,
            (In::Own, Judge::Host),
            orders,
            None,
        )?;
        let failed = |observed: &Observed| {
            let line = observed
                .lines
                .iter()
                .find(|line| !matches!(line.end, End::Worked | End::Saw(_)))?;
            Some(match &line.end {
                End::Unable(reason) => format!("{}: {reason}", line.step),
                End::Refused(number) => format!("{}: {}", line.step, error(*number)),
                other => format!("{}: {other:?}", line.step),
            })
        };
        if let Some(reason) = failed(&control) {
            let reason = format!("it does not work outside either: {reason}");
            return Ok((Outcome::Skipped, reason, None));
        }
        let inside = observe(
            self.field,
            self.target,
            &facts,
            (In::Own, Judge::Host),
            orders,
            None,
        )?;
        Ok(match failed(&inside) {
            Some(reason) => (
                Outcome::Escaped,
                format!("it does not work inside: {reason}"),
                Some(Witness::Inside),
            ),
            None if inside.lines.len() < control.lines.len() => (
                Outcome::Escaped,
                format!("it does not come to its end inside: {}", inside.ended),
                Some(Witness::Inside),
            ),
            None => (Outcome::Held, "it works inside".to_owned(), None),
        })
    }

    fn attempt(
        &mut self,
        place: In,
        judge: Judge,
        orders: Orders,
    ) -> Result<(Outcome, String, Option<Witness>), AttackError> {
        let facts = self.target.facts();
        if matches!(judge, Judge::Marked(_)) && !facts.reviews {
            let reason = "the target has no review that could remark on it";
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
        Ok(verdict(&control, &inside))
    }
}

/// What is said of an attempt whose control succeeded.
fn verdict(control: &Observed, inside: &Observed) -> (Outcome, String, Option<Witness>) {
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
    let unable = inside
        .lines
        .iter()
        .all(|line| matches!(line.end, End::Unable(_)));
    if unable {
        let reason = format!("it cannot be tried inside: {}", inside.why_not());
        return (Outcome::Skipped, reason, None);
    }
    let reason = if control.host.is_empty() {
        format!(
            "{} of {} steps went through outside, none inside",
            control.through.len(),
            control.lines.len()
        )
    } else {
        format!("outside: {}; inside: nothing", named(&control.host))
    };
    (Outcome::Held, reason, None)
}

/// Runs the executable with an order and reads its lines.
fn run(
    target: &mut dyn Target,
    marker: &str,
    order: &Order,
    start: Start<'_>,
) -> Result<(Vec<Line>, crate::target::Ran), AttackError> {
    let order = serde_json::to_string(order).during("write an order")?;
    let words = [format!("./{NAME}"), marker.to_owned(), order];
    let ran = target
        .run(&words, start)
        .map_err(|source| AttackError::Target {
            target: target.name().to_owned(),
            source,
        })?;
    let lines = String::from_utf8_lossy(&ran.output)
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line.trim()).ok())
        .filter(|line| line.marker == marker)
        .collect();
    Ok((lines, ran))
}

/// One attempt in one target, and the look at the host after it.
fn observe(
    field: &mut Field,
    target: &mut dyn Target,
    facts: &Facts,
    (place, judge): (In, Judge),
    orders: Orders,
    control: Option<&[Line]>,
) -> Result<Observed, AttackError> {
    let failed = |source, target: &dyn Target| AttackError::Target {
        target: target.name().to_owned(),
        source,
    };
    let mut observed = Observed::default();
    let marker = field.ground().marker().to_owned();
    let terminal = crate::terminal::open().during("open a terminal")?;
    let lent = if place == In::Lent {
        field.lend().during("open descriptors to lend")?
    } else {
        Vec::new()
    };
    for (number, order) in orders(field, facts).iter().enumerate() {
        let start = match place {
            In::Standing => Start::Standing,
            In::Terminal => Start::Terminal(&terminal.1),
            In::Own | In::Back | In::Lent if number == 0 => Start::New,
            In::Own | In::Back | In::Lent => Start::Again,
        };
        let (lines, ran) = run(target, &marker, order, start)?;
        observed.lines.extend(lines);
        observed.ended = ran.ended;
    }
    drop(lent);
    if place == In::Back {
        target
            .take_back()
            .map_err(|source| failed(source, target))?;
    }
    if let Judge::HeldBack(paths) | Judge::Marked(paths) = judge {
        for path in paths {
            let found = target
                .place(path)
                .map_err(|source| failed(source, target))?;
            let passes = match found {
                Place::Nowhere | Place::HeldBack(_) => false,
                Place::Marked(_) => matches!(judge, Judge::HeldBack(_)),
                Place::Host | Place::Proposed => true,
            };
            if passes {
                observed
                    .host
                    .push(format!("{path} is there, and nothing was said of it"));
            }
        }
    }
    observed.through = observed
        .lines
        .iter()
        .filter(|line| went_through(field, judge, line, control))
        .map(|line| match &line.end {
            End::Refused(number) => format!("{} ({})", line.step, error(*number)),
            _ => line.step.clone(),
        })
        .collect();
    observed
        .host
        .extend(field.look().during("look at the host")?);
    let left = field.left_behind().during("look at processes")?;
    if place != In::Standing {
        observed.host.extend(left);
    }
    Ok(observed)
}

fn went_through(field: &Field, judge: Judge, line: &Line, control: Option<&[Line]>) -> bool {
    match (judge, &line.end) {
        (Judge::Worked | Judge::Called, End::Worked) => true,
        (Judge::Called, End::Refused(number)) => !is_refusal(*number),
        (Judge::Secret | Judge::Worked, End::Saw(text)) => field.secret_in(text).is_some(),
        (Judge::Same, End::Saw(text)) => match control {
            // The control itself: it saw something.
            None => !text.is_empty(),
            Some(lines) => lines.iter().any(|outside| {
                outside.step == line.step
                    && matches!(&outside.end, End::Saw(seen) if shares(seen, text))
            }),
        },
        _ => false,
    }
}

/// Whether a line of one text is also in the other.
fn shares(one: &str, other: &str) -> bool {
    one.lines()
        .any(|line| other.lines().any(|seen| seen == line))
}

/// Whether an error says that the call itself is not allowed, whatever its
/// arguments.
fn is_refusal(number: i32) -> bool {
    matches!(number, libc::EPERM | libc::EACCES | libc::ENOSYS)
}

fn named(findings: &[String]) -> String {
    let mut text = findings
        .iter()
        .take(NAMED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if findings.len() > NAMED_MAX {
        let _ = write!(text, "; and {} more", findings.len() - NAMED_MAX);
    }
    text
}

fn error(number: i32) -> String {
    std::io::Error::from_raw_os_error(number).to_string()
}
