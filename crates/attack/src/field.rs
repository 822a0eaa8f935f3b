//! What must stay as it is: decoys, listeners and a process of the host, and
//! the look at them after each attempt.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use stockade_attempt::{Lent, RESOLVER};
use stockade_workspace::remove_folder;

use crate::{
    decoy::{as_owner, is_as_planted, new_files, plant},
    error::{AttackError, During},
    heard::Listeners,
    loan::Loan,
    open::Open,
    process::Program,
    repository::{self, Hidden, NAME},
};

/// Where the field lies, if that can be written: outside of what wrappers
/// commonly share, `/tmp` and the home.
const PREFERRED: &str = "/var/tmp";
/// Folders of the field where work is on the host.
const WORKSPACES: [&str; 3] = ["control", "wrapped", OWN];
/// The one of them that Stockade's own tasks start from.
pub const OWN: &str = "own";
/// How long the end of a sandbox may take.
const GRACE: Duration = Duration::from_secs(1);
/// Folders of the host that everybody may write.
const SHARED: [&str; 2] = ["/dev/shm", "/tmp"];

/// The decoys of the home, by path; each has a value of its own.
const HOME_DECOYS: [&str; 21] = [
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".config/gh/hosts.yml",
    ".config/gcloud/credentials.db",
    ".azure/msal_token_cache.json",
    ".docker/config.json",
    ".kube/config",
    ".gnupg/private-keys-v1.d/key",
    ".mozilla/firefox/p/logins.json",
    ".config/google-chrome/Default/Cookies",
    ".bash_history",
    ".local/share/keyrings/login.keyring",
    ".cargo/credentials.toml",
    ".vault-token",
    CONFIGURATION,
    VARIABLES,
    TOOL,
];
/// Decoys of the home that stand for the tool that keeps the sandbox: its
/// configuration, variables that it starts with, and its program.
pub(crate) const CONFIGURATION: &str = ".config/stockade/config.toml";
pub(crate) const VARIABLES: &str = ".config/environment.d/stockade.conf";
pub(crate) const TOOL: &str = ".local/bin/stockade";

/// Where it all lies, and what a user has who runs a target there.
#[derive(Clone, Debug)]
pub struct Ground {
    root: PathBuf,
    marker: String,
    environment: BTreeMap<OsString, OsString>,
}

/// A folder of the host with decoys, listeners and a process.
#[derive(Debug)]
pub struct Field {
    ground: Ground,
    /// Each planted file: what it says, its mode.
    planted: BTreeMap<PathBuf, (String, u32)>,
    secrets: Vec<String>,
    listeners: Listeners,
    open: Open,
    process: Child,
    loan: Option<Loan>,
}

impl Ground {
    /// The folder of it all.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The home of whoever runs the target.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// A folder with decoys that anybody may write.
    pub(crate) fn outside(&self) -> PathBuf {
        self.root.join("outside")
    }

    /// Where whatever runs on the host leaves its mark.
    pub(crate) fn fired(&self) -> PathBuf {
        self.root.join("fired")
    }

    /// The repository that others are copies of.
    pub(crate) fn template(&self) -> PathBuf {
        self.root.join("template")
    }

    /// A new copy of the repository at `name`, in place of an older one.
    pub fn repository(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.root.join(name);
        remove_folder(&folder)?;
        repository::copy(&self.template(), &folder)?;
        Ok(folder)
    }

    /// The word that whatever belongs to this run has in its arguments.
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// The environment of the user who runs a target.
    pub(crate) fn environment(&self) -> &BTreeMap<OsString, OsString> {
        &self.environment
    }
}

impl Field {
    /// Makes the field. `search_path` is the `PATH` for git and wrappers.
    pub fn make(search_path: &OsString) -> Result<Self, AttackError> {
        let number: u64 = rand::rng().random();
        let marker = format!("stockade-decoy-{number:016x}");
        let root = folder(&marker).during("make a folder to attack from")?;
        let listeners = Listeners::open(&root.join("outside"), &marker).during("listen")?;
        let mut environment: BTreeMap<OsString, OsString> = [
            ("PATH", search_path.clone()),
            ("HOME", root.join("home").into_os_string()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("LANG", "C.UTF-8".into()),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect();
        let secret = |of: &str| format!("{marker}-{of}-{:016x}", rand::rng().random::<u64>());
        let mut secrets = Vec::new();
        for name in ["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "ANTHROPIC_API_KEY"] {
            let value = secret("environment");
            environment.insert(name.into(), (&value).into());
            secrets.push(value);
        }
        let process = wait(&root, &environment).during("start a process to be left alone")?;
        let ground = Ground {
            root,
            marker: marker.clone(),
            environment,
        };
        let mut field = Self {
            ground: ground.clone(),
            planted: BTreeMap::new(),
            secrets,
            listeners,
            open: Open::listen(&marker).during("listen")?,
            process,
            loan: None,
        };
        let [file, branch, stash] = ["file", "branch", "stash"].map(secret);
        let hidden = Hidden {
            file: &file,
            branch: &branch,
            stash: &stash,
        };
        repository::create(&ground.template(), &ground.environment, &hidden)?;
        field.secrets.extend([file, branch, stash]);
        for name in HOME_DECOYS {
            let value = secret("home");
            field.plant(&ground.home().join(name), &value, 0o644)?;
            field.secrets.push(value);
        }
        for (name, mode) in [("notes.txt", 0o644), ("open.txt", 0o666)] {
            let value = secret("outside");
            field.plant(&ground.outside().join(name), &value, mode)?;
            field.secrets.push(value);
        }
        for path in field.shared() {
            let value = secret("shared");
            field.plant(Path::new(&path), &value, 0o644)?;
            field.secrets.push(value);
        }
        Ok(field)
    }

    fn plant(&mut self, path: &Path, text: &str, mode: u32) -> Result<(), AttackError> {
        plant(path, text, mode).during(format!("plant {}", path.display()))?;
        self.planted
            .insert(path.to_owned(), (text.to_owned(), mode));
        Ok(())
    }

    /// Where it lies.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The planted files, as text.
    pub(crate) fn decoys(&self) -> Vec<String> {
        self.planted.keys().map(|path| text(path)).collect()
    }

    /// Decoys where everybody keeps things.
    pub(crate) fn shared(&self) -> Vec<String> {
        let shared = SHARED.map(|folder| text(&Path::new(folder).join(&self.ground.marker)));
        shared.into()
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Whether the machine asks the field for names, and so any sandbox does that
    /// asks anybody.
    pub(crate) fn answers_names(&self) -> bool {
        self.open.is_the_machines()
    }

    /// Variables of whoever runs the control: a proxy and a resolver without rules.
    pub(crate) fn without_rules(&self) -> [(&'static str, String); 3] {
        let proxy = format!("http://{}", self.open.proxy());
        [
            ("http_proxy", proxy.clone()),
            ("https_proxy", proxy),
            (RESOLVER, self.open.resolver().to_string()),
        ]
    }

    /// The process that must be left alone.
    pub(crate) fn process(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap_or(i32::MAX)
    }

    /// A place in its memory.
    pub(crate) fn memory_of_process(&self) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.process.id()));
        let start = maps.ok().and_then(|maps| {
            let (start, _) = maps.split_once('-')?;
            u64::from_str_radix(start, 16).ok()
        });
        start.unwrap_or_default()
    }

    /// The first secret that `text` holds.
    pub(crate) fn secret_in(&self, text: &str) -> Option<&str> {
        self.secrets
            .iter()
            .map(String::as_str)
            .find(|secret| text.contains(secret))
    }

    /// Opens descriptors of every kind that programs started meanwhile inherit.
    pub(crate) fn lend(&mut self) -> io::Result<()> {
        let secret = self.secrets.last().cloned().unwrap_or_default();
        self.loan = Some(Loan::open(&self.ground.outside(), &secret)?);
        Ok(())
    }

    /// What they are, while they are open.
    pub(crate) fn lent(&self) -> Vec<Lent> {
        self.loan.as_ref().map(Loan::names).unwrap_or_default()
    }

    /// Closes them; what came by them.
    pub(crate) fn take_lent(&mut self) -> io::Result<Vec<String>> {
        self.loan.take().map_or(Ok(Vec::new()), Loan::findings)
    }

    /// What is not as it was since the last look; it is mended.
    pub(crate) fn look(&mut self) -> io::Result<Vec<String>> {
        let mut findings = self.listeners.heard();
        findings.extend(self.open.heard());
        for (path, (text, mode)) in &self.planted {
            if !is_as_planted(path, text, *mode) {
                findings.push(format!("{} was changed", path.display()));
                let _ = fs::remove_file(path);
                plant(path, text, *mode)?;
            }
        }
        let program = self.ground.root.join(NAME);
        if !repository::is_executable_as_written(&program)? {
            findings.push("the program of a process of the host was changed".to_owned());
            let _ = fs::remove_file(&program);
            repository::write_executable(&self.ground.root)?;
            // What runs is still the file that was changed.
            self.process.kill()?;
            self.process.wait()?;
            self.process = wait(&self.ground.root, &self.ground.environment)?;
        }
        let programs = self.ground.home().join(TOOL);
        let programs = programs.parent().unwrap_or(&programs).to_owned();
        for folder in [self.ground.outside(), self.ground.fired(), programs] {
            for path in new_files(&folder, &self.planted)? {
                findings.push(format!("{} was made", path.display()));
                remove_folder(&path)?;
            }
        }
        for workspace in WORKSPACES {
            findings.extend(as_owner(&self.ground.root.join(workspace))?);
        }
        let root = text(&self.ground.root);
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        for mount in mounts.lines().filter(|line| line.contains(&root)) {
            findings.push(format!("something was mounted: {mount}"));
        }
        if let Some(status) = self.process.try_wait()? {
            findings.push(format!("a process of the host was ended: {status}"));
            self.process = wait(&self.ground.root, &self.ground.environment)?;
        }
        Ok(findings)
    }

    /// Processes of attempts that outlive their sandbox by [`GRACE`]; they are
    /// ended.
    pub(crate) fn left_behind(&self) -> io::Result<Vec<String>> {
        let deadline = Instant::now() + GRACE;
        let mut left = self.marked()?;
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            left = self.marked()?;
        }
        for process in &left {
            let _ = kill_process(*process, Signal::KILL);
        }
        let words = |process: &Pid| {
            let id = process.as_raw_nonzero();
            format!("process {id} outlived its sandbox")
        };
        Ok(left.iter().map(words).collect())
    }

    /// Processes of attempts, by the marker that each has as an argument.
    fn marked(&self) -> io::Result<Vec<Pid>> {
        let mut marked = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let Some(id) = id.and_then(Pid::from_raw) else {
                continue;
            };
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut words = words.split(|byte| *byte == 0);
            let is_attempt = words
                .next()
                .is_some_and(|program| program.ends_with(NAME.as_bytes()));
            if is_attempt && words.any(|word| word == self.ground.marker.as_bytes()) {
                marked.push(id);
            }
        }
        Ok(marked)
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = self.left_behind();
        for path in self.shared() {
            let _ = fs::remove_file(path);
        }
        let _ = remove_folder(&self.ground.root);
    }
}

/// Makes the folder, which others may enter: nothing but a sandbox shall stand
/// between them and what is in it.
fn folder(name: &str) -> io::Result<PathBuf> {
    let make = |parent: &Path| {
        let root = parent.join(name);
        fs::create_dir(&root)?;
        fs::canonicalize(root)
    };
    let root = make(Path::new(PREFERRED)).or_else(|_| make(&std::env::temp_dir()))?;
    for (name, mode) in [
        ("", 0o755),
        ("home", 0o755),
        ("outside", 0o777),
        ("fired", 0o777),
    ] {
        let folder = root.join(name);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
    }
    repository::write_executable(&root)?;
    Ok(root)
}

/// Starts a process that waits, with secrets in its environment.
fn wait(root: &Path, environment: &BTreeMap<OsString, OsString>) -> io::Result<Child> {
    let words: Vec<OsString> = vec![root.join(NAME).into(), "the-host".into(), "\"wait\"".into()];
    let program = Program {
        words: &words,
        folder: root,
        environment,
        stdin: Stdio::null(),
    };
    program.start()
}

/// A path of the field as text; its folders have plain names.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
