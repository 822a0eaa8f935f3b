//! Which packages one is made of, each with what it must hash to: npm's lock file, or the
//! requirements that uv compiles.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use stockade_types::{canonical_json, visible};

use super::{Asked, Registry, is_name, is_program};
use crate::json::{JsonError, parse};

/// What comes before a resolution in its digest: nothing else that is hashed is taken for one.
const DOMAIN: &[u8] = b"stockade/mcp-package/v1\0";
/// The largest document that is read, in bytes.
pub const DOCUMENT_MAX: u64 = 8 << 20;
/// The most packages that one is made of.
const PACKAGES_MAX: usize = 4096;

/// Which packages one is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    registry: Registry,
    name: String,
    version: String,
    program: String,
    count: usize,
    document: Value,
}

/// Why what a package manager or a repository says is no resolution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolutionError {
    /// It is no JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// It has not the form.
    #[error("it says nothing of {0}")]
    Form(String),
    /// A package could be another tomorrow.
    #[error("nothing says what `{0}` must hash to; only packages of a registry can be pinned")]
    NoHash(String),
    /// The package runs nothing, or nothing of that name.
    #[error("`{package}` has no program{which}; it has: {has}")]
    NoProgram {
        /// Which package.
        package: String,
        /// Which program was asked for.
        which: String,
        /// The programs that there are.
        has: String,
    },
}

impl Resolution {
    /// Reads what the registry's package manager wrote for `asked`.
    pub fn read(asked: &Asked, bytes: &[u8]) -> Result<Self, ResolutionError> {
        let mut document = match asked.registry {
            Registry::Npm => parse(bytes)?,
            Registry::Pypi => requirements(&String::from_utf8_lossy(bytes))?,
        };
        if asked.registry == Registry::Npm {
            // What `latest` meant is not what it will mean.
            let version = &document["packages"][format!("node_modules/{}", asked.name)]["version"];
            let exact = json!({ &asked.name: version });
            if let Some(root) = document
                .pointer_mut("/packages/")
                .filter(|root| root.is_object())
            {
                root["dependencies"] = exact;
            }
        }
        Self::of(
            asked.registry,
            &asked.name,
            asked.program.as_deref(),
            document,
        )
    }

    /// What is kept of the package `name`, of which `program` is run.
    pub fn of(
        registry: Registry,
        name: &str,
        program: Option<&str>,
        document: Value,
    ) -> Result<Self, ResolutionError> {
        let (version, program, count) = match registry {
            Registry::Npm => of_npm(name, program, &document)?,
            Registry::Pypi => of_pypi(name, program, &document)?,
        };
        Ok(Self {
            registry,
            name: name.to_owned(),
            version,
            program,
            count,
            document,
        })
    }

    /// Where the packages come from.
    pub fn registry(&self) -> Registry {
        self.registry
    }

    /// The name of the package that was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Which of its programs is run.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// How many packages it is made of, with itself.
    pub fn count(&self) -> usize {
        self.count
    }

    /// As it is kept.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// SHA-256 over its one spelling, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(canonical_json(&self.document));
        hex::encode(hash.finalize())
    }

    /// What the package manager installs exactly this from: names of files and contents.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        match self.registry {
            Registry::Npm => {
                let root = &self.document["packages"][""]["dependencies"];
                let package = json!({ "private": true, "dependencies": root });
                vec![
                    ("package.json", package.to_string().into_bytes()),
                    ("package-lock.json", self.document.to_string().into_bytes()),
                ]
            }
            Registry::Pypi => {
                let lines = self.document["requirements"].as_array();
                let mut text = String::new();
                for line in lines.into_iter().flatten() {
                    text.push_str(line["requirement"].as_str().unwrap_or_default());
                    for hash in line["hashes"].as_array().into_iter().flatten() {
                        text.push_str(" --hash=sha256:");
                        text.push_str(hash.as_str().unwrap_or_default());
                    }
                    text.push('\n');
                }
                vec![("requirements.txt", text.into_bytes())]
            }
        }
    }
}

fn shown(text: &str) -> String {
    visible::line(text.as_bytes())
}

fn missing(what: &str) -> ResolutionError {
    ResolutionError::Form(shown(what))
}

type Found = (String, String, usize);

/// Version and program of `name` in a lock file of npm, version 3; and how many packages.
/// <https://docs.npmjs.com/cli/v11/configuring-npm/package-lock-json>
fn of_npm(name: &str, program: Option<&str>, document: &Value) -> Result<Found, ResolutionError> {
    let packages = document["packages"].as_object();
    let packages = packages.ok_or_else(|| missing("packages"))?;
    if document["lockfileVersion"] != 3 || packages.len() > PACKAGES_MAX {
        return Err(missing(
            "version 3 of npm's lock file, or too many packages",
        ));
    }
    for (place, package) in packages.iter().filter(|(place, _)| !place.is_empty()) {
        // What is bundled is in the archive of who bundles it.
        if package["inBundle"] != true && !is_sha512(package["integrity"].as_str()) {
            return Err(ResolutionError::NoHash(shown(place)));
        }
    }
    let own = packages.get(&format!("node_modules/{name}"));
    let own = own.ok_or_else(|| missing(name))?;
    let version = own["version"].as_str().filter(|text| is_version(text));
    let version = version.ok_or_else(|| missing("a version"))?;
    let empty = Map::new();
    let programs = own["bin"].as_object().unwrap_or(&empty);
    let short = name.rsplit('/').next().unwrap_or(name);
    let found = match program {
        Some(program) => programs.contains_key(program).then_some(program),
        // As npx chooses.
        None if programs.len() == 1 => programs.keys().next().map(String::as_str),
        None => programs.contains_key(short).then_some(short),
    };
    let found = found.filter(|name| is_program(name)).ok_or_else(|| {
        let has: Vec<_> = programs.keys().map(|name| shown(name)).collect();
        ResolutionError::NoProgram {
            package: name.to_owned(),
            which: program.map_or_else(String::new, |name| format!(" `{name}`")),
            has: if has.is_empty() {
                "none".to_owned()
            } else {
                has.join(", ")
            },
        }
    })?;
    Ok((version.to_owned(), found.to_owned(), packages.len() - 1))
}

/// Whether it is what npm checks an archive against, in a strength that counts.
fn is_sha512(integrity: Option<&str>) -> bool {
    let hash = integrity.and_then(|text| text.strip_prefix("sha512-"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    hash.is_some_and(|hash| hash.len() == 88 && hash.chars().all(plain))
}

fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+!".contains(c);
    !text.is_empty() && text.len() <= 128 && text.chars().all(plain)
}

/// Version of `name` among requirements, and which program; and how many packages.
fn of_pypi(name: &str, program: Option<&str>, document: &Value) -> Result<Found, ResolutionError> {
    let lines = document["requirements"].as_array();
    let lines = lines.ok_or_else(|| missing("requirements"))?;
    let plain = name.split('[').next().unwrap_or(name);
    let mut version = None;
    for line in lines {
        let text = line["requirement"].as_str().unwrap_or_default();
        let hashes = line["hashes"].as_array();
        let (found, its) = pinned(text).ok_or_else(|| ResolutionError::NoHash(shown(text)))?;
        let are_hashes = hashes.is_some_and(|hashes| {
            !hashes.is_empty() && hashes.iter().all(|hash| is_sha256(hash.as_str()))
        });
        if !are_hashes {
            return Err(ResolutionError::NoHash(shown(found)));
        }
        if normal(found) == normal(plain) {
            version = Some(its.to_owned());
        }
    }
    if lines.len() > PACKAGES_MAX {
        return Err(missing("so few packages that they can be looked at"));
    }
    let version = version.ok_or_else(|| missing(name))?;
    let program = program.unwrap_or(plain).to_owned();
    Ok((version, program, lines.len()))
}

/// Name and version of `name==version`, with a marker or without.
fn pinned(requirement: &str) -> Option<(&str, &str)> {
    let (pin, marker) = match requirement.split_once(" ; ") {
        Some((pin, marker)) => (pin, marker),
        None => (requirement, ""),
    };
    let (name, version) = pin.split_once("==")?;
    // Nothing that a reader of requirements takes for an option or another line.
    let quiet = |c: char| c.is_ascii_graphic() && !"\\#@-".contains(c) || c == ' ';
    let known = is_name(Registry::Pypi, name) && is_version(version) && marker.chars().all(quiet);
    known.then_some((name, version))
}

fn is_sha256(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A name of PyPI as it is compared:
/// <https://packaging.python.org/en/latest/specifications/name-normalization/>.
fn normal(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Reads the file that `uv pip compile --generate-hashes` writes.
fn requirements(text: &str) -> Result<Value, ResolutionError> {
    let mut all = Vec::new();
    for line in text.replace("\\\n", " ").lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.split(" --hash=sha256:");
        let requirement = parts.next().unwrap_or_default().trim().to_owned();
        let hashes: Vec<_> = parts.map(str::trim).collect();
        if hashes.is_empty() {
            return Err(ResolutionError::NoHash(shown(&requirement)));
        }
        all.push(json!({ "requirement": requirement, "hashes": hashes }));
    }
    Ok(json!({ "requirements": all }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Asked {
        let argv: Vec<_> = line.split(' ').map(str::to_owned).collect();
        Asked::read(&argv).unwrap().unwrap()
    }

    fn lock() -> Value {
        let hash = format!("sha512-{}==", "A".repeat(86));
        json!({ "name": "x", "lockfileVersion": 3, "requires": true, "packages": {
            "": { "dependencies": { "@own/server": "latest" } },
            "node_modules/@own/server": { "version": "1.2.3", "integrity": hash, "bin": { "serve": "x.js" } },
            "node_modules/needed": { "version": "2.0.0", "integrity": hash },
        }})
    }

    #[test]
    fn npms_lock_file_says_version_program_and_how_many() {
        let read = |line, document: &Value| {
            Resolution::read(&asked(line), document.to_string().as_bytes())
        };
        let resolution = read("npx @own/server", &lock()).unwrap();
        assert_eq!(resolution.version(), "1.2.3");
        assert_eq!((resolution.program(), resolution.count()), ("serve", 2));
        let files = resolution.files();
        let package: Value = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(package["dependencies"], json!({ "@own/server": "1.2.3" }));
        assert!(read("npx -p @own/server other", &lock()).is_err());
        let mut two = lock();
        two["packages"]["node_modules/@own/server"]["bin"] = json!({ "a": "x", "server": "y" });
        assert_eq!(read("npx @own/server", &two).unwrap().program(), "server");
        two["packages"]["node_modules/@own/server"]["bin"] = json!({ "../../x": "x" });
        assert!(read("npx @own/server", &two).is_err());
    }

    #[test]
    fn a_package_without_a_strong_hash_is_not_pinned() {
        for weak in [
            json!(null),
            json!("sha1-AAAA"),
            json!(format!("sha512-{}", "<".repeat(88))),
        ] {
            let mut document = lock();
            document["packages"]["node_modules/needed"]["integrity"] = weak;
            let read = Resolution::read(&asked("npx @own/server"), document.to_string().as_bytes());
            assert!(matches!(read, Err(ResolutionError::NoHash(_))), "{read:?}");
        }
    }

    #[test]
    fn the_digest_is_of_what_it_says_not_of_how_it_is_spelled() {
        let document = lock();
        let of =
            |text: String| Resolution::read(&asked("npx @own/server"), text.as_bytes()).unwrap();
        let plain = of(document.to_string());
        let spaced = of(serde_json::to_string_pretty(&document).unwrap());
        assert_eq!(plain.digest(), spaced.digest());
        let mut other = document;
        other["packages"]["node_modules/needed"]["version"] = json!("2.0.1");
        assert_ne!(plain.digest(), of(other.to_string()).digest());
    }

    #[test]
    fn requirements_with_hashes_are_read_and_written() {
        let hash = "0a".repeat(32);
        let text = format!(
            "# by uv\nMcp_Server.time==1.2.3 \\\n    --hash=sha256:{hash} \\\n    --hash=sha256:{hash}\n    # via x\n\
             other==2.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{hash}\n"
        );
        let resolution = Resolution::read(&asked("uvx mcp-server-time"), text.as_bytes()).unwrap();
        assert_eq!((resolution.version(), resolution.count()), ("1.2.3", 2));
        assert_eq!(resolution.program(), "mcp-server-time");
        let again = &resolution.files()[0].1;
        let again = Resolution::read(&asked("uvx mcp-server-time"), again).unwrap();
        assert_eq!(again.digest(), resolution.digest());
    }

    #[test]
    fn requirements_that_lead_elsewhere_are_refused() {
        let hash = "0a".repeat(32);
        for line in [
            "server==1.0".to_owned(),
            format!("--index-url=http://evil --hash=sha256:{hash}"),
            format!("server @ http://evil/x.whl --hash=sha256:{hash}"),
            format!("server>=1.0 --hash=sha256:{hash}"),
            format!("server==1.0 ; x --find-links=/ --hash=sha256:{hash}"),
            format!("server==1.0 --hash=sha256:{}", "0a".repeat(31)),
            format!("server==1.0 --hash=sha256:{hash} --no-binary=server"),
        ] {
            let read = Resolution::read(&asked("uvx server"), line.as_bytes());
            assert!(read.is_err(), "{line}");
        }
    }
}
