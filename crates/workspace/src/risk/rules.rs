use super::Risk;

/// By name: the kind, whether the file is held back until approved by itself,
/// the reason, and the names. A pattern without a slash is a name anywhere;
/// `x/**` is everything in a folder `x` anywhere.
pub(super) type Rule = (Risk, bool, &'static str, &'static [&'static str]);

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    (
        Risk::RunsByItself,
        true,
        "Your shell, editor or git runs this by itself when you open, enter or commit in the folder.",
        &[
            ".envrc", ".mise.toml", "mise.toml", ".mise/**", ".tool-versions", ".husky/**",
            ".githooks/**", ".git-hooks/**", "git-hooks/**", "hooks/pre-*", "hooks/post-*",
            "hooks/prepare-commit-msg", "hooks/commit-msg", "hooks/applypatch-msg", "hooks/update",
            "hooks/reference-transaction", "hooks/push-to-checkout", "hooks/fsmonitor-watchman",
            "hooks/proc-receive", "lefthook.yml", ".lefthook.yml", "lefthook.yaml",
            ".pre-commit-config.yaml", ".vscode/**", "*.code-workspace", ".idea/**", ".fleet/**",
            ".zed/**", ".devcontainer/**", ".devcontainer.json", ".exrc", ".nvimrc", ".nvim.lua",
            ".vimrc", ".dir-locals.el", ".bashrc", ".bash_profile", ".bash_login", ".profile",
            ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".ripgreprc", ".gdbinit", ".lldbinit",
            ".autoenv", ".env.vault",
        ],
    ),
    (
        Risk::ChangesGit,
        true,
        "Git reads this and does something else because of it.",
        &[
            ".gitmodules", ".gitconfig", ".gitattributes", ".lfsconfig",
            // A folder with such a file may be a repository with settings of its own.
            "HEAD", "*.git/**",
        ],
    ),
    (
        Risk::AgentSettings,
        true,
        "A coding agent that you start here reads this as its settings, and may run what it names.",
        &[
            ".mcp.json", "mcp.json", ".claude/**", ".codex/**", ".agents/**", ".gemini/**",
            ".cursor/**", ".kiro/**", ".opencode/**", "opencode.json", "opencode.jsonc",
            ".copilot/**", ".windsurf/**", ".continue/**", ".aider.conf.yml", ".roo/**",
            ".amp/**", ".stockade/**", "stockade.toml", "stockade-mcp.lock",
        ],
    ),
    (
        Risk::RunsInCi,
        true,
        "Your build server runs this, with the secrets that it holds.",
        &[
            ".github/workflows/**", ".github/actions/**", ".gitlab-ci.yml", ".gitlab/**",
            ".circleci/**", "Jenkinsfile", "azure-pipelines.yml", ".travis.yml", ".drone.yml",
            "bitbucket-pipelines.yml", ".buildkite/**", ".woodpecker/**", ".forgejo/**",
            ".gitea/**", "appveyor.yml", "cloudbuild.yaml", ".teamcity/**",
        ],
    ),
    (
        Risk::AgentInstructions,
        false,
        "A coding agent that you start here obeys this text.",
        &[
            "CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", "AGENT.md", "GEMINI.md", ".cursorrules",
            ".windsurfrules", ".clinerules", "copilot-instructions.md", ".aider*",
        ],
    ),
    (
        Risk::RunsOnBuild,
        false,
        "Building, installing or testing the project runs this.",
        &[
            "Dockerfile", "*.Dockerfile", "Containerfile", "docker-compose*.yml", "compose*.yaml",
            "compose*.yml", "Makefile", "GNUmakefile", "makefile", "*.mk", "build.rs", "setup.py", "conftest.py",
            "noxfile.py", "tasks.py", "justfile", "Justfile", ".justfile", "Taskfile.yml",
            "Rakefile", "Gemfile", "gulpfile.*", "Gruntfile.*", "webpack.config.*",
            "vite.config.*", "vitest.config.*", "jest.config.*", "next.config.*",
            "rollup.config.*", "babel.config.*", ".eslintrc.*", "eslint.config.*",
            "postcss.config.*", "tailwind.config.*", ".cargo/config.toml", ".cargo/config",
            "CMakeLists.txt", "*.cmake", "configure", "configure.ac", "meson.build",
            "BUILD.bazel", "WORKSPACE", "MODULE.bazel", "build.gradle*", "settings.gradle*",
            "gradlew*", "gradle/wrapper/**", "mvnw*", ".mvn/**", "pom.xml", "build.sbt",
            "Package.swift", "mix.exs", "rebar.config", "flake.nix", "default.nix", "shell.nix",
            "rust-toolchain.toml", "rust-toolchain", "package.json", "pyproject.toml",
            "Cargo.toml", "deno.json*", "bunfig.toml", "composer.json",
        ],
    ),
    (
        Risk::Dependencies,
        false,
        "This decides what is downloaded and from where.",
        &[
            "Cargo.lock", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock",
            "pnpm-lock.yaml", "bun.lock", "bun.lockb", "poetry.lock", "uv.lock", "Pipfile",
            "Pipfile.lock", "requirements*.txt", "constraints*.txt", "go.mod", "go.sum",
            "go.work", "Gemfile.lock", "composer.lock", "mix.lock", "flake.lock", ".npmrc",
            ".yarnrc", ".yarnrc.yml", "pip.conf", "Package.resolved", "gradle.lockfile",
        ],
    ),
];
