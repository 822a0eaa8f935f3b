//! The default answer to "what may an agent see of this machine".
//!
//! System programs read-only; of `/etc` what programs need and nothing that
//! tells who the user is; toolchains found on `PATH` at neutral places; no
//! home, no `/run`, no `/sys`.

mod secrets;
mod toolchains;

use std::path::{Path, PathBuf};

pub use self::{
    secrets::{DEFAULT_SECRET_PATHS, secrets_below},
    toolchains::{Toolchains, find_toolchains},
};
use crate::spec::{Access, Cover, Grant, INSIDE_HOME, INSIDE_ID, InsideFile, InsideLink};

/// What a sandbox sees by default.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Host paths.
    pub grants: Vec<Grant>,
    /// Files of its own.
    pub files: Vec<InsideFile>,
    /// Links of its own.
    pub links: Vec<InsideLink>,
    /// Files laid over others.
    pub covers: Vec<Cover>,
    /// Java's trust stores.
    pub trust_stores: Vec<PathBuf>,
}

/// Top folders with programs; where the host has a link, so has the sandbox.
const PROGRAMS: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];

/// What of `/etc` appears inside.
const ETC: [&str; 43] = [
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates",
    "ca-certificates.conf",
    "chromium.d",
    "crypto-policies",
    "debian_version",
    "default/locale",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "maven/logging",
    "maven/m2.conf",
    "mime.types",
    "os-release",
    "perl",
    "pki",
    "profile",
    "profile.d",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "services",
    "shells",
    "ssl",
    "terminfo",
    "timezone",
];

/// Parts of granted folders of `/etc` that stay out of sight.
const ETC_HIDDEN: [(&str, &str); 2] = [("ssl", "private"), ("pki", "tls/private")];

/// Where distributions keep the bundle of certificate authorities.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/share/pki/trust/anchors/ca-bundle.crt",
];

/// Where distributions keep the trust store of their Java, to which that of each
/// installation leads.
const TRUST_STORES: [&str; 2] = [
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
];
/// The same in an installation of its own.
const OWN_TRUST_STORE: &str = "lib/security/cacerts";

/// Where the sandbox's own bundle is: host roots and the task's authority.
pub const BUNDLE: &str = "/etc/stockade/ca-bundle.pem";
/// The same for Java, where the machine has one.
pub(crate) const TRUST_STORE: &str = "/etc/stockade/ca-bundle.p12";

/// The system's programs and settings.
pub fn system() -> View {
    let mut view = View::default();
    for path in PROGRAMS {
        mirror(&mut view, Path::new(path), Vec::new());
    }
    for name in ETC {
        let hidden = ETC_HIDDEN.iter().filter(|(folder, _)| *folder == name);
        let hidden = hidden.map(|(_, path)| PathBuf::from(path)).collect();
        mirror(&mut view, &Path::new("/etc").join(name), hidden);
    }
    let synthesised = [
        (
            "/etc/passwd",
            format!(
                "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
             agent:x:{INSIDE_ID}:{INSIDE_ID}:agent:{INSIDE_HOME}:/bin/bash\n\
             nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        (
            "/etc/group",
            format!("root:x:0:\ntty:x:5:\nagent:x:{INSIDE_ID}:\nnogroup:x:65534:\n"),
        ),
        (
            "/etc/hosts",
            "127.0.0.1 localhost stockade\n::1 localhost\n".to_owned(),
        ),
        ("/etc/hostname", "stockade\n".to_owned()),
        (
            "/etc/resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n".to_owned(),
        ),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
                .to_owned(),
        ),
        // A fixed number: the host's own would identify the machine.
        (
            "/etc/machine-id",
            "00000000000000000000000000000001\n".to_owned(),
        ),
    ];
    view.files
        .extend(synthesised.map(|(path, content)| InsideFile {
            path: PathBuf::from(path),
            content,
        }));
    view
}

/// Shows a host path at the same place: a link as a link, the rest read-only.
fn mirror(view: &mut View, path: &Path, hidden: Vec<PathBuf>) {
    if let Ok(to) = std::fs::read_link(path) {
        view.links.push(InsideLink {
            path: path.to_owned(),
            to,
        });
    } else if path.exists() {
        view.grants.push(Grant {
            source: path.to_owned(),
            target: path.to_owned(),
            access: Access::ReadOnly,
            hidden,
            over: None,
        });
    }
}

/// Trust in the task's certificate authority, whose certificate is
/// `authority` (PEM), beside that of the host's roots: for everything that the
/// system brings, and for what is granted.
pub fn trust(authority: &str, grants: &[Grant]) -> View {
    let present = |path: &&str| Path::new(path).exists();
    let roots = BUNDLES
        .iter()
        .find(|path| present(path))
        .and_then(|path| std::fs::read_to_string(path).ok());
    let content = format!("{}\n{authority}", roots.unwrap_or_default());
    let bundle = PathBuf::from(BUNDLE);
    let mut places: Vec<PathBuf> = BUNDLES
        .iter()
        .filter(|path| present(path))
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .filter(|path| {
            path.starts_with("/etc/ssl") || path.starts_with("/etc/pki") || path.starts_with("/usr")
        })
        .collect();
    places.sort();
    places.dedup();
    View {
        files: vec![InsideFile {
            path: bundle.clone(),
            content,
        }],
        covers: places
            .into_iter()
            .map(|over| Cover {
                file: bundle.clone(),
                over,
            })
            .collect(),
        trust_stores: trust_stores(grants),
        ..View::default()
    }
}

/// Where Java's trust stores are inside. A link is followed by Java.
fn trust_stores(grants: &[Grant]) -> Vec<PathBuf> {
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|found| found.is_file());
    let own = grants
        .iter()
        .filter(|grant| is_file(&grant.source.join(OWN_TRUST_STORE)))
        .map(|grant| grant.target.join(OWN_TRUST_STORE));
    let system = TRUST_STORES.iter().map(PathBuf::from);
    system.filter(|path| is_file(path)).chain(own).collect()
}

/// Variables that make programs with trust stores of their own use the
/// sandbox's bundle. They replace trust, so the bundle has the host's roots.
pub const TRUST_VARIABLES: [&str; 15] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "NPM_CONFIG_CAFILE",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "BUNDLE_SSL_CA_CERT",
    "NIX_SSL_CERT_FILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
];

impl View {
    /// Adds everything of `other`.
    pub fn extend(&mut self, other: Self) {
        self.grants.extend(other.grants);
        self.files.extend(other.files);
        self.links.extend(other.links);
        self.covers.extend(other.covers);
        self.trust_stores.extend(other.trust_stores);
    }
}
