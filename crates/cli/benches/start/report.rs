//! A run as a whole: the machine, and every figure.

use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::figure::{Figure, Goal};

/// What a run found, and where.
#[derive(Debug)]
pub(crate) struct Report {
    about: String,
    begun: u64,
    load_before: String,
    load_after: String,
    took: Duration,
    figures: Vec<Figure>,
}

impl Report {
    /// A run that begins now, and what it is made with.
    pub(crate) fn begin(about: String) -> Self {
        let begun = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            about,
            begun: begun.as_secs(),
            load_before: load(),
            load_after: String::new(),
            took: Duration::ZERO,
            figures: Vec::new(),
        }
    }

    /// Adds what was measured.
    pub(crate) fn end(&mut self, figures: Vec<Figure>, took: Duration) {
        self.figures = figures;
        self.took = took;
        self.load_after = load();
    }

    /// Writes it as a table or as JSON.
    pub(crate) fn write(&self, to: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            let text = serde_json::to_string_pretty(&self.to_json())?;
            return writeln!(to, "{text}");
        }
        writeln!(
            to,
            "{}, load {} → {}",
            machine(),
            self.load_before,
            self.load_after
        )?;
        writeln!(
            to,
            "{}, {:.0} s in all\n",
            self.about,
            self.took.as_secs_f64()
        )?;
        for figure in &self.figures {
            write_figure(to, figure)?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        json!({
            "machine": machine(),
            "uid": rustix::process::geteuid().as_raw(),
            "begun": self.begun,
            "seconds": self.took.as_secs(),
            "load_before": self.load_before,
            "load_after": self.load_after,
            "about": self.about,
            "figures": figures,
        })
    }
}

fn write_figure(to: &mut impl Write, figure: &Figure) -> io::Result<()> {
    writeln!(to, "{}", figure.work)?;
    if let Some(reason) = &figure.skipped {
        return writeln!(to, "    SKIP: {reason}");
    }
    let unit = figure.unit.name();
    let mut row = |name: &str, samples: &crate::figure::Samples| {
        writeln!(
            to,
            "    {name:44} {:9.2} min {:9.2} p10 {:9.2} median {:9.2} p90 {unit}, {} samples",
            samples.percentile(0),
            samples.percentile(10),
            samples.median(),
            samples.percentile(90),
            samples.count(),
        )
    };
    row("stockade", &figure.samples)?;
    if let Some(peer) = &figure.peer {
        row(peer.name, &peer.samples)?;
    }
    if let (Some(median), Some(p10)) = (figure.ratio(), figure.ratio_at(10)) {
        writeln!(
            to,
            "    ratio of medians {median:.3}, of tenth percentiles {p10:.3}"
        )?;
    }
    for goal in &figure.goals {
        let (what, most) = match goal {
            Goal::Value(most) => ("median".to_owned(), format!("{most} {unit}")),
            Goal::Ratio(most) => ("ratio".to_owned(), most.to_string()),
            Goal::Added(percent, most) => {
                let added = figure.added_at(*percent).unwrap_or_default();
                let what = format!("added to p{percent}, {added:.3}");
                (what, format!("{most} {unit}"))
            }
        };
        let met = match figure.meets(*goal) {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not judged",
        };
        writeln!(to, "    goal: {what} ≤ {most}: {met}")?;
    }
    Ok(())
}

fn machine() -> String {
    let system = rustix::system::uname();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} {}, {cores} cores, uid {}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        rustix::process::geteuid().as_raw()
    )
}

/// The load of the last minute, as the kernel prints it.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
