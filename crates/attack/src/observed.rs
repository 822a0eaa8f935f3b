//! One attempt in one target: what its steps came to, and what the host saw.

use std::fmt::Write as _;

use stockade_attempt::{End, Line, Order};

use crate::{
    error::{AttackError, During},
    field::Field,
    probe::{In, Judge, MEMORY_CAP, Orders},
    repository::NAME,
    target::{Facts, Place, Ran, Start, Target},
    terminal,
};

/// The most findings that a reason names.
const NAMED_MAX: usize = 3;

/// What an attempt came to.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Every step.
    pub(crate) lines: Vec<Line>,
    /// Where the lines of the last start begin.
    last: usize,
    /// Whether a later start ran nothing.
    pub(crate) refused_start: bool,
    /// Steps that went through, or, where only the host can tell, that worked.
    pub(crate) went: Vec<String>,
    /// Steps that show an escape by themselves, in words.
    pub(crate) through: Vec<String>,
    /// What the host saw.
    pub(crate) host: Vec<String>,
    /// How the last start ended, in words.
    pub(crate) ended: String,
}

impl Observed {
    pub(crate) fn escaped(&self) -> bool {
        !self.through.is_empty() || !self.host.is_empty()
    }

    /// Why nothing went through, for a control.
    pub(crate) fn why_not(&self) -> String {
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

    /// Steps that went through outside and were not tried here, in words.
    pub(crate) fn untried(&self, control: &Self) -> Vec<String> {
        let untried = |step: &String| match self.end_of(step) {
            None => Some(format!("{step}: {}", self.ended)),
            Some(End::Unable(reason)) => Some(format!("{step}: {reason}")),
            Some(_) => None,
        };
        control.went.iter().filter_map(untried).collect()
    }

    /// A step of a start before the last that worked here, and not there.
    pub(crate) fn prepared_only_here<'a>(&'a self, there: &Self) -> Option<&'a str> {
        let earlier = self.lines.get(..self.last).unwrap_or_default();
        let mut steps = earlier.iter().filter(|line| worked(&line.end));
        let only_here = |line: &&Line| !there.end_of(&line.step).is_some_and(worked);
        steps.find(only_here).map(|line| line.step.as_str())
    }

    fn end_of(&self, step: &str) -> Option<&End> {
        let line = self.lines.iter().find(|line| line.step == step);
        line.map(|line| &line.end)
    }

    /// The steps of the last start.
    pub(crate) fn in_last_start(&self) -> &[Line] {
        self.lines.get(self.last..).unwrap_or_default()
    }

    /// The first step of the last start that did not work, in words.
    pub(crate) fn failed(&self) -> Option<String> {
        let mut lines = self.in_last_start().iter();
        lines.find_map(|line| match &line.end {
            End::Worked | End::Saw(_) => None,
            End::Unable(reason) => Some(format!("{}: {reason}", line.step)),
            End::Refused(number) => Some(format!("{}: {}", line.step, error(*number))),
            End::Killed(signal) => Some(format!("{}: signal {signal}", line.step)),
        })
    }
}

/// Whether a step came to what was ordered; what that shows is another question.
fn worked(end: &End) -> bool {
    matches!(end, End::Worked | End::Saw(_))
}

/// Runs the executable with an order and reads its lines.
pub(crate) fn run(
    target: &mut dyn Target,
    marker: &str,
    order: &Order,
    start: Start<'_>,
) -> Result<(Vec<Line>, Ran), AttackError> {
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
pub(crate) fn observe(
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
    // The field may have another process the next time.
    let process = format!("/proc/{}/", field.process());
    let terminal = terminal::open().during("open a terminal")?;
    if place == In::Lent {
        field.lend().during("open descriptors to lend")?;
    }
    for (number, order) in orders(field, facts).iter().enumerate() {
        let start = match place {
            In::Standing | In::Named => Start::Standing,
            In::Terminal => Start::Terminal(&terminal.1),
            In::Capped => Start::Capped(MEMORY_CAP),
            In::Own | In::Back | In::Lent if number == 0 => Start::New,
            In::Own | In::Back | In::Lent => Start::Again,
        };
        let (mut lines, ran) = run(target, &marker, order, start)?;
        for line in &mut lines {
            line.step = line.step.replace(&process, "/proc/PROCESS/");
        }
        observed.last = observed.lines.len();
        observed.refused_start |= number > 0 && lines.is_empty();
        observed.lines.extend(lines);
        observed.ended = ran.ended;
    }
    if place == In::Lent {
        let findings = field.take_lent().during("look at lent descriptors")?;
        observed.host.extend(findings);
    }
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
    for line in &observed.lines {
        let through = went_through(field, judge, line, control);
        if through {
            observed.through.push(match &line.end {
                End::Refused(number) => format!("{} ({})", line.step, error(*number)),
                _ => line.step.clone(),
            });
        }
        if through || (judge.is_of_host() && worked(&line.end)) {
            observed.went.push(line.step.clone());
        }
    }
    observed
        .host
        .extend(field.look().during("look at the host")?);
    let left = field.left_behind().during("look at processes")?;
    if !matches!(place, In::Standing | In::Named) {
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

pub(crate) fn named(findings: &[String]) -> String {
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
