use stockade_types::{
    EffectKind::{
        AuthGrant, ExecRun, InfraAccess, NetConnect, PkgInstall, PkgPublish, SecretRead, SecretUse,
    },
    Mark,
};

use super::{Program, Sink, Target, find, program, row};
use crate::{
    commands::Line,
    text::{Word, is_unknown},
};

const NODE_VALUES: &[&str] = &[
    "--registry",
    "--prefix",
    "-C",
    "--cwd",
    "-w",
    "--workspace",
    "--filter",
    "-F",
    "--tag",
    "--otp",
    "--access",
    "--userconfig",
    "-c",
    "--call",
];

const PIP_VALUES: &[&str] = &[
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "-t",
    "--target",
    "--prefix",
    "--root",
    "-p",
    "--python",
    "--trusted-host",
    "-e",
    "--editable",
    "--index",
    "--with",
    "--from",
];

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &["npm", "pnpm", "yarn", "bun", "cnpm"],
        &[
            row("publish|unpublish|deprecate", PkgPublish).unless(&["--dry-run"]),
            row("npm publish", PkgPublish).unless(&["--dry-run"]),
            row("dist-tag add|rm|remove", PkgPublish),
            row("owner add|rm|remove", InfraAccess),
            row(
                "access|team|org grant|revoke|set|add|rm|create|destroy",
                InfraAccess,
            ),
            row("token create|revoke", SecretUse),
            row("token list", SecretRead),
            row("login|adduser|logout", AuthGrant),
            row("ci", PkgInstall).marks(&[Mark::Scripts]),
            row("config set|delete", PkgInstall)
                .when(&["registry", "ignore-scripts"])
                .marks(&[Mark::Index]),
            row("exec|dlx|x|create|init", PkgInstall)
                .marks(&[Mark::Unpinned])
                .on(Target::First),
            row("audit fix", PkgInstall),
            row("rebuild", PkgInstall).marks(&[Mark::Scripts]),
            row("link", PkgInstall).marks(&[Mark::Global]),
            row("audit|outdated|view|info|search|ping", NetConnect),
            row("cache clean|rm", ExecRun),
            row("uninstall|remove|rm|un", PkgInstall),
        ],
    )
    .values(NODE_VALUES)
    .by_verb()
    .special(node),
    program(&["npx", "bunx", "pnpx"], &[])
        .values(&["-p", "--package", "-c", "--call"])
        .runs(&["-c", "--call"])
        .special(runs_project_tools),
    program(
        &["uvx"],
        &[row("", PkgInstall)
            .marks(&[Mark::Unpinned])
            .on(Target::First)],
    )
    .values(PIP_VALUES)
    .special(started_after),
    program(
        &[
            "pip",
            "pip3",
            "pipx",
            "conda",
            "mamba",
            "micromamba",
            "easy_install",
        ],
        &[
            row("run", PkgInstall)
                .marks(&[Mark::Unpinned])
                .on(Target::First),
            row("uninstall|remove", PkgInstall),
            row("download|search|index", NetConnect),
            row("config set", PkgInstall).marks(&[Mark::Index]),
        ],
    )
    .values(PIP_VALUES)
    .by_verb()
    .special(python),
    program(
        &["uv", "poetry", "pdm", "hatch", "pipenv", "rye", "flit"],
        &[
            row("publish", PkgPublish).unless(&["--dry-run"]),
            row("tool install|run", PkgInstall)
                .marks(&[Mark::Unpinned, Mark::Global])
                .on(Target::First),
            row("sync|lock", PkgInstall),
            row("python install", PkgInstall).marks(&[Mark::Global]),
            row("config", PkgInstall)
                .when(&["repositories", "http-basic"])
                .marks(&[Mark::Index]),
            row("remove", PkgInstall),
        ],
    )
    .values(PIP_VALUES)
    .by_verb()
    .special(python),
    program(&["twine"], &[row("upload", PkgPublish).on(Target::Each)])
        .values(&["-r", "--repository", "-u", "-p", "--repository-url"])
        .by_verb(),
    program(
        &["cargo"],
        &[
            row("publish", PkgPublish).unless(&["--dry-run", "-n"]),
            row("yank", PkgPublish),
            row("owner", InfraAccess).when(&["-a", "--add", "-r", "--remove"]),
            row("login|logout", AuthGrant),
            row("add", PkgInstall)
                .marks(&[Mark::Added])
                .on(Target::First),
            row("add|install", PkgInstall)
                .when(&["--git"])
                .marks(&[Mark::Url]),
            row("install", PkgInstall)
                .unless(&["--path"])
                .marks(&[Mark::Global])
                .on(Target::First),
            row("install|add", PkgInstall)
                .when(&["--registry", "--index"])
                .marks(&[Mark::Index]),
            row("binstall", PkgInstall)
                .marks(&[Mark::Global])
                .on(Target::First),
            row("update|fetch|generate-lockfile", PkgInstall),
            row("search|info", NetConnect),
            row("release", PkgPublish).when(&["--execute", "-x"]),
        ],
    )
    .values(&[
        "--manifest-path",
        "--config",
        "-p",
        "--package",
        "--target",
        "--target-dir",
        "-j",
        "--features",
        "-F",
        "--git",
        "--registry",
        "--index",
        "--version",
        "--vers",
        "-Z",
        "--color",
        "-C",
    ])
    .by_verb()
    .special(cargo),
    program(
        &[
            "rustup", "nvm", "fnm", "volta", "pyenv", "rbenv", "asdf", "mise", "sdk", "goenv", "n",
        ],
        &[
            row("toolchain|component|target install|add", PkgInstall).marks(&[Mark::Global]),
            row("install|update|default", PkgInstall)
                .marks(&[Mark::Global])
                .on(Target::First),
        ],
    ),
    program(
        &["go"],
        &[
            row("install", PkgInstall)
                .marks(&[Mark::Global])
                .on(Target::First),
            row("get", PkgInstall)
                .marks(&[Mark::Added])
                .on(Target::Each),
            row("mod download|tidy|vendor", PkgInstall),
            row("env", PkgInstall).when(&["-w"]).marks(&[Mark::Index]),
        ],
    )
    .values(&[
        "-C", "-o", "-tags", "-run", "-ldflags", "-count", "-timeout",
    ])
    .runs(&["-exec", "-toolexec"])
    .by_verb()
    .special(go),
    program(
        &["gem", "bundle", "bundler"],
        &[
            row("push|yank", PkgPublish),
            row("owner", InfraAccess),
            row("install", PkgInstall).unless(&["--local"]),
            row("install", PkgInstall)
                .when(&["--source", "-s", "--clear-sources"])
                .marks(&[Mark::Index]),
            row("sources", PkgInstall)
                .when(&["-a", "--add"])
                .marks(&[Mark::Index]),
            row("add", PkgInstall)
                .marks(&[Mark::Added])
                .on(Target::First),
            row("update", PkgInstall),
            row("signin", AuthGrant),
        ],
    )
    .values(&["--source", "-s", "-v", "--version"])
    .by_verb()
    .special(gem),
    program(
        &["composer"],
        &[
            row("require", PkgInstall)
                .marks(&[Mark::Added])
                .on(Target::Each),
            row("install|update", PkgInstall).marks(&[Mark::Scripts]),
            row("global", PkgInstall).marks(&[Mark::Global]),
            row("config", PkgInstall)
                .when(&["repositories"])
                .marks(&[Mark::Index]),
        ],
    )
    .by_verb(),
    program(
        &["mvn", "mvnw", "gradle", "gradlew", "sbt", "lein", "mill"],
        &[row("", PkgPublish).when(&[
            "deploy",
            "release:perform",
            "publish",
            "publishToMavenCentral",
            "publishPlugins",
            "release",
            "publishSigned",
            "uploadArchives",
            "closeAndReleaseRepository",
        ])],
    )
    .values(&[
        "-f",
        "--file",
        "-p",
        "-P",
        "-D",
        "-s",
        "--settings",
        "-b",
        "-I",
        "--init-script",
    ])
    .special(deploys),
    program(
        &["dotnet", "nuget"],
        &[
            row("nuget push|delete", PkgPublish),
            row("push|delete", PkgPublish),
            row("add package", PkgInstall).marks(&[Mark::Added]),
            row("tool install", PkgInstall).marks(&[Mark::Global]),
            row("restore", PkgInstall),
            row("nuget add", PkgInstall).marks(&[Mark::Index]),
        ],
    ),
    program(
        &[
            "swift", "pod", "mix", "hex", "cabal", "stack", "opam", "dart", "flutter", "conan",
            "luarocks", "vsce", "ovsx", "clojars",
        ],
        &[
            row("trunk push|delete|deprecate", PkgPublish),
            row(
                "hex.publish|hex.retire|upload|publish|unpublish",
                PkgPublish,
            )
            .unless(&["--dry-run"]),
            row("pub publish", PkgPublish).unless(&["--dry-run"]),
            row("pub get", PkgInstall),
            row("install|update|deps.get|get", PkgInstall),
        ],
    ),
    program(
        &[
            "apt", "apt-get", "aptitude", "dnf", "yum", "apk", "zypper", "pacman", "brew", "port",
            "snap", "flatpak", "nix-env", "emerge", "dpkg", "rpm",
        ],
        &[
            row("install|add|reinstall|build-dep|in", PkgInstall)
                .marks(&[Mark::Global])
                .on(Target::First),
            row("update|upgrade|dist-upgrade|full-upgrade|up", PkgInstall).marks(&[Mark::Global]),
            row("remove|purge|autoremove|del|erase|uninstall|rm", PkgInstall)
                .marks(&[Mark::Global, Mark::Delete]),
            row("", PkgInstall)
                .when(&["-S", "-U", "-i", "--install"])
                .marks(&[Mark::Global])
                .on(Target::First),
            row("tap", PkgInstall).marks(&[Mark::Index]),
        ],
    )
    .values(&["-o", "-t", "--option"])
    .special(system_packages),
];

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

fn node(line: &Line, sink: &mut Sink<'_, '_>) {
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
    if verb == "dlx" || verb == "exec" || verb == "x" {
        let words = line.operands.get(1..).unwrap_or_default();
        return if line.program == "npm" || verb == "dlx" || verb == "x" {
        } else {
            sink.start(words);
        };
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
        let mut marks = marks.clone();
        if is_place(&name.text) {
            marks.push(Mark::Url);
        } else if !is_local(&name.text) {
            marks.push(Mark::Added);
        }
        sink.effect(line, PkgInstall, &name.text, &marks);
    }
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

fn runs_project_tools(line: &Line, sink: &mut Sink<'_, '_>) {
    let name = line.operand(0);
    let installs = !line.has("--no-install") && !PROJECT_TOOLS.contains(&name);
    if installs && !name.is_empty() {
        sink.effect(line, PkgInstall, name, &[Mark::Unpinned]);
    }
    started_after(line, sink);
}

/// What was fetched is then run; its verbs count.
fn started_after(line: &Line, sink: &mut Sink<'_, '_>) {
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

fn python(line: &Line, sink: &mut Sink<'_, '_>) {
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
        let mut marks = marks.clone();
        if is_place(&name.text) {
            marks.push(Mark::Url);
        } else if !is_local(&name.text) {
            marks.push(Mark::Added);
        }
        sink.effect(line, PkgInstall, &name.text, &marks);
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
fn cargo(line: &Line, sink: &mut Sink<'_, '_>) {
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

fn go(line: &Line, sink: &mut Sink<'_, '_>) {
    let remote = line.operand(0) == "run"
        && line.operand(1).contains('.')
        && line.operand(1).contains('/')
        && line.operand(1).contains('@');
    if remote {
        sink.effect(line, PkgInstall, line.operand(1), &[Mark::Unpinned]);
    }
}

fn gem(line: &Line, sink: &mut Sink<'_, '_>) {
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
fn deploys(line: &Line, sink: &mut Sink<'_, '_>) {
    let local = ["publishToMavenLocal", "publishLocal"];
    for word in &line.operands {
        let task = word.text.rsplit(':').next().unwrap_or_default();
        if task.starts_with("publish") && task != "publish" && !local.contains(&task) {
            sink.effect(line, PkgPublish, task, &[]);
        }
    }
}

fn system_packages(line: &Line, sink: &mut Sink<'_, '_>) {
    for option in line.values(&["-o", "--option"]) {
        if let Some((key, command)) = option.text.split_once('=')
            && (key.contains("Invoke") || key.contains("Hooks") || key.contains("Post"))
        {
            sink.script(command);
        }
    }
}
