//! What a table cannot say of a package manager's words.

use stockade_types::{
    EffectKind::{ExecRun, PkgInstall, PkgPublish},
    Mark,
};

use crate::{
    commands::Line,
    programs::{Sink, find},
    text::{Word, is_unknown},
};

/// Whether a package is named by a place.
fn is_place(name: &str) -> bool {
    name.contains("://")
        || name.starts_with("git+")
        || name.starts_with("git@")
        || name.starts_with("github:")
        || name.starts_with("file:")
        || [".tgz", ".tar.gz"].iter().any(|end| name.ends_with(end))
}

/// A folder of the project or a file in it.
fn is_local(name: &str) -> bool {
    name.starts_with(['.', '/']) && !is_unknown(name)
}

pub(super) fn node(line: &Line, sink: &mut Sink<'_, '_>) {
    let verb = line.operand(0);
    let adds = match verb {
        "install" | "i" | "add" | "in" | "ins" | "inst" | "isntall" => true,
        // `yarn` alone installs; its globals have a verb of their own.
        "global" => line.operand(1) == "add",
        _ => false,
    };
    if verb.is_empty() && line.program == "yarn" {
        return sink.effect(line, PkgInstall, "", &[]);
    }
    if matches!(verb, "dlx" | "exec" | "x") {
        // What the others fetch and run is told by the tables.
        if verb == "exec" && line.program != "npm" {
            sink.start(line.operands.get(1..).unwrap_or_default());
        }
        return;
    }
    if !adds {
        return;
    }
    let mut marks = Vec::new();
    if line.has("-g") && !line.has("--ignore-scripts") || line.has("--global") || verb == "global" {
        marks.push(Mark::Global);
    }
    if line.value(&["--registry"]).is_some() {
        marks.push(Mark::Index);
    }
    let names = line
        .operands
        .get(if verb == "global" { 2 } else { 1 }..)
        .unwrap_or_default();
    if names.is_empty() {
        sink.effect(line, PkgInstall, "", &marks);
    }
    for name in names {
        install(line, sink, &name.text, &marks);
    }
}

/// Notes that the package `name` is installed, and where it comes from.
fn install(line: &Line, sink: &mut Sink<'_, '_>, name: &str, marks: &[Mark]) {
    let mut marks = marks.to_vec();
    if is_place(name) {
        marks.push(Mark::Url);
    } else if !is_local(name) {
        marks.push(Mark::Added);
    }
    sink.effect(line, PkgInstall, name, &marks);
}

/// Tools that a project has, by the names that everybody knows.
const PROJECT_TOOLS: &[&str] = &[
    "tsc",
    "eslint",
    "prettier",
    "jest",
    "vitest",
    "mocha",
    "vite",
    "webpack",
    "rollup",
    "next",
    "playwright",
    "cypress",
    "tsx",
    "ts-node",
    "esbuild",
    "babel",
    "nyc",
    "c8",
    "stylelint",
    "turbo",
    "nx",
    "prisma",
    "drizzle-kit",
    "storybook",
    "biome",
    "knip",
    "husky",
    "lint-staged",
    "concurrently",
];

pub(super) fn runs_project_tools(line: &Line, sink: &mut Sink<'_, '_>) {
    let name = line.operand(0);
    let installs = !line.has("--no-install") && !PROJECT_TOOLS.contains(&name);
    if installs && !name.is_empty() {
        sink.effect(line, PkgInstall, name, &[Mark::Unpinned]);
    }
    started_after(line, sink);
}

/// What was fetched is then run; its verbs count.
pub(super) fn started_after(line: &Line, sink: &mut Sink<'_, '_>) {
    let Some(place) = line
        .words
        .iter()
        .position(|word| Some(word) == line.operands.first())
    else {
        return;
    };
    let mut words = line.words[place..].to_vec();
    if let Some((name, _)) = words[0]
        .text
        .clone()
        .rsplit_once('@')
        .filter(|(name, _)| !name.is_empty())
    {
        words[0] = Word::literal(name);
    }
    if find(&words[0].text).is_some() {
        sink.start(&words);
    }
}

pub(super) fn python(line: &Line, sink: &mut Sink<'_, '_>) {
    let verb = line.operand(usize::from(line.operand(0) == "pip"));
    if verb == "run" && line.program != "pipx" {
        let place = line
            .words
            .iter()
            .position(|word| word.text == "run")
            .unwrap_or_default();
        let words = line.words.get(place + 1..).unwrap_or_default();
        let words: Vec<_> = words
            .iter()
            .skip_while(|word| word.text.starts_with('-'))
            .cloned()
            .collect();
        return sink.start(&words);
    }
    if !matches!(verb, "install" | "add" | "create" | "inject") {
        return;
    }
    let mut marks = Vec::new();
    if line
        .value(&[
            "-i",
            "--index-url",
            "--extra-index-url",
            "-f",
            "--find-links",
            "--index",
            "--trusted-host",
        ])
        .is_some()
    {
        marks.push(Mark::Index);
    }
    if line.program == "pipx" || line.has("--break-system-packages") {
        marks.push(Mark::Global);
    }
    let skip = if line.operand(0) == "pip" { 2 } else { 1 };
    let mut listed = false;
    for name in line.operands.iter().skip(skip) {
        listed = true;
        install(line, sink, &name.text, &marks);
    }
    for file in line.values(&["-r", "--requirement", "-e", "--editable"]) {
        listed = true;
        let mut marks = marks.clone();
        if is_place(&file.text) {
            marks.push(Mark::Url);
        }
        sink.effect(line, PkgInstall, &file.text, &marks);
    }
    if !listed {
        sink.effect(line, PkgInstall, "", &marks);
    }
}

/// Settings on the command line can name programs that cargo runs.
pub(super) fn cargo(line: &Line, sink: &mut Sink<'_, '_>) {
    for setting in line.values(&["--config"]) {
        let names_program = [
            "runner",
            "rustc-wrapper",
            "linker",
            "credential-provider",
            "registr",
            "source.",
        ];
        if names_program.iter().any(|name| setting.text.contains(name)) {
            sink.opaque("cargo");
        }
    }
    if line.operand(0) == "run" || line.operand(0) == "xtask" {
        sink.effect(line, ExecRun, line.operand(0), &[]);
    }
}

pub(super) fn go(line: &Line, sink: &mut Sink<'_, '_>) {
    let remote = line.operand(0) == "run"
        && line.operand(1).contains('.')
        && line.operand(1).contains('/')
        && line.operand(1).contains('@');
    if remote {
        sink.effect(line, PkgInstall, line.operand(1), &[Mark::Unpinned]);
    }
}

pub(super) fn gem(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.operand(0) == "install" && line.program == "gem" {
        for name in line.operands.iter().skip(1) {
            sink.effect(line, PkgInstall, &name.text, &[Mark::Added, Mark::Global]);
        }
    }
    if line.operand(0) == "exec" {
        sink.start(line.operands.get(1..).unwrap_or_default());
    }
}

/// A task of a build tool may stand anywhere and be part of a longer name.
pub(super) fn deploys(line: &Line, sink: &mut Sink<'_, '_>) {
    let local = ["publishToMavenLocal", "publishLocal"];
    for word in &line.operands {
        let task = word.text.rsplit(':').next().unwrap_or_default();
        if task.starts_with("publish") && task != "publish" && !local.contains(&task) {
            sink.effect(line, PkgPublish, task, &[]);
        }
    }
}

pub(super) fn system_packages(line: &Line, sink: &mut Sink<'_, '_>) {
    for option in line.values(&["-o", "--option"]) {
        if let Some((key, command)) = option.text.split_once('=')
            && (key.contains("Invoke") || key.contains("Hooks") || key.contains("Post"))
        {
            sink.script(command);
        }
    }
}
