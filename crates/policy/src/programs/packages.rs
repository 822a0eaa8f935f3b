mod lines;

use stockade_types::{
    EffectKind::{
        AuthGrant, ExecRun, InfraAccess, InfraApply, NetConnect, PkgInstall, PkgPublish,
        SecretRead, SecretUse,
    },
    Mark,
};

use self::lines::{
    cargo, deploys, gem, go, node, python, runs_project_tools, started_after, system_packages,
};
use super::{Program, Target, program, row};

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
            row("workspace|workspaces", PkgPublish).when(&["publish"]),
            row("run|run-script deploy", InfraApply),
            row("run|run-script release|publish", PkgPublish),
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
