use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::rule::{Carries, Destination, HostRule};
use crate::settings::Scheme;

/// How many rules may allow, and how many may deny.
pub(crate) const RULES_MAX: usize = 512;

/// Too many rules.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task has at most {RULES_MAX} rules of one kind; write wider ones instead")]
pub struct RulesFull;

/// The rules of a task. Each request is judged by those in force when it
/// arrives, all of them or none: they are replaced as a whole.
#[derive(Clone, Debug, Default)]
pub struct LiveRules(Arc<RwLock<Arc<Snapshot>>>);

/// The rules at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    allow: Vec<Granted>,
    deny: Vec<Arc<HostRule>>,
}

#[derive(Clone, Debug)]
struct Granted {
    rule: Arc<HostRule>,
    until: Option<Instant>,
}

/// What a request wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) destination: Destination<'a>,
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
    pub(crate) method: &'a str,
    /// In the form in which paths are compared; `None` if it has none.
    pub(crate) path: Option<&'a str>,
}

impl Asked<'_> {
    /// Whether this is one of the requests that `rule` is for.
    pub(crate) fn is_allowed_by(&self, rule: &HostRule) -> bool {
        mismatch(rule, self).is_none()
    }
}

/// How far the best of the rules went along with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mismatch {
    /// No rule is for the host.
    Host,
    /// None of them is for the scheme or the port.
    Port,
    /// None of those is for the method.
    Method,
    /// None of those is for the path.
    Path,
}

/// What the rules say to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Allowed by this rule.
    Allowed(Arc<HostRule>),
    /// Denied by this rule, whatever others allow.
    Denied(Arc<HostRule>),
    /// Allowed by none.
    Unruled(Mismatch),
}

impl LiveRules {
    /// Rules for as long as the task lives.
    pub fn new(allow: &[HostRule], deny: &[HostRule]) -> Self {
        let forever = |rule: &HostRule| Granted {
            rule: Arc::new(rule.clone()),
            until: None,
        };
        let snapshot = Snapshot {
            allow: allow.iter().map(forever).collect(),
            deny: deny.iter().cloned().map(Arc::new).collect(),
        };
        Self(Arc::new(RwLock::new(Arc::new(snapshot))))
    }

    /// The rules that are in force now.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Allows what `rule` says from now on, for a while or for good. Given
    /// again, the same rule holds as long as was said last.
    pub fn grant(&self, rule: HostRule, lasting: Option<Duration>) -> Result<(), RulesFull> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut next = Snapshot::clone(&current);
        next.allow
            .retain(|granted| granted.holds(now) && *granted.rule != rule);
        if next.allow.len() >= RULES_MAX {
            return Err(RulesFull);
        }
        next.allow.push(Granted {
            rule: Arc::new(rule),
            until: lasting.and_then(|lasting| now.checked_add(lasting)),
        });
        *current = Arc::new(next);
        Ok(())
    }
}

impl Granted {
    fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Snapshot {
    /// What these rules say to `asked`: a rule that denies wins over all that
    /// allow; of those the first that fits is named.
    pub(crate) fn judge(&self, asked: &Asked<'_>) -> Verdict {
        if let Some(rule) = self.denied(asked) {
            return Verdict::Denied(rule);
        }
        let now = Instant::now();
        let mut nearest = Mismatch::Host;
        for granted in self.allow.iter().filter(|granted| granted.holds(now)) {
            match mismatch(&granted.rule, asked) {
                None => return Verdict::Allowed(Arc::clone(&granted.rule)),
                Some(found) => nearest = nearest.max(found),
            }
        }
        Verdict::Unruled(nearest)
    }

    /// What the rules that allow `asked` let it hold.
    pub(crate) fn carries(&self, asked: &Asked<'_>) -> Carries {
        let now = Instant::now();
        let holding = self.allow.iter().filter(|granted| granted.holds(now));
        let allowing = holding.filter(|granted| asked.is_allowed_by(&granted.rule));
        allowing.fold(Carries::default(), |all, granted| Carries {
            keys: all.keys || granted.rule.carries.keys,
            sources: all.sources || granted.rule.carries.sources,
        })
    }

    /// The rule that denies `asked`, if one does.
    pub(crate) fn denied(&self, asked: &Asked<'_>) -> Option<Arc<HostRule>> {
        self.deny.iter().find(|rule| denies(rule, asked)).cloned()
    }

    /// Whether a rule for `destination` looks at paths.
    pub(crate) fn compares_paths(&self, destination: Destination<'_>) -> bool {
        self.rules()
            .any(|rule| rule.path.is_some() && rule.covers(destination))
    }

    /// Whether a rule allows something of `destination`.
    pub(crate) fn mentions(&self, destination: Destination<'_>) -> bool {
        let now = Instant::now();
        let mut holding = self.allow.iter().filter(|granted| granted.holds(now));
        holding.any(|granted| granted.rule.covers(destination))
    }

    /// Whether a rule denies `address` as such, to which a name may lead.
    pub(crate) fn denies_address(&self, address: std::net::IpAddr) -> bool {
        self.deny
            .iter()
            .any(|rule| rule.host.covers_address(address))
    }

    fn rules(&self) -> impl Iterator<Item = &HostRule> {
        let allow = self.allow.iter().map(|granted| granted.rule.as_ref());
        allow.chain(self.deny.iter().map(AsRef::as_ref))
    }
}

fn mismatch(rule: &HostRule, asked: &Asked<'_>) -> Option<Mismatch> {
    if !rule.covers(asked.destination) {
        Some(Mismatch::Host)
    } else if !rule.allows_port(asked.scheme, asked.port) {
        Some(Mismatch::Port)
    } else if !rule.allowed_methods().contains(&asked.method) {
        Some(Mismatch::Method)
    } else {
        let path_fits =
            |path: &super::RulePath| asked.path.is_some_and(|asked| path.matches(asked));
        let fits = rule.path.as_ref().is_none_or(path_fits);
        (!fits).then_some(Mismatch::Path)
    }
}

fn denies(rule: &HostRule, asked: &Asked<'_>) -> bool {
    let methods = rule.methods.as_ref();
    rule.covers(asked.destination)
        && rule.denies_port(asked.scheme, asked.port)
        && methods.is_none_or(|methods| methods.iter().any(|method| method == asked.method))
        && rule
            .path
            .as_ref()
            // Without a readable path it cannot be told that it is another one.
            .is_none_or(|path| asked.path.is_none_or(|asked| path.denies(asked)))
}

#[cfg(test)]
mod tests {
    use stockade_types::HostName;

    use super::*;

    /// A URL with its method, judged by rules of which those after `!` deny.
    fn verdict(rules: &str, request: &str) -> String {
        let rules: Vec<&str> = rules.split(" | ").filter(|rule| !rule.is_empty()).collect();
        let parse = |text: &&str| text.trim_start_matches('!').parse::<HostRule>().unwrap();
        let (deny, allow): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.starts_with('!'));
        let deny: Vec<_> = deny.into_iter().map(&parse).collect();
        let allow: Vec<_> = allow.into_iter().map(parse).collect();
        let (method, url) = request.split_once(' ').unwrap();
        let uri: http::Uri = url.parse().unwrap();
        let scheme = if uri.scheme_str() == Some("http") {
            Scheme::Http
        } else {
            Scheme::Https
        };
        let path = crate::path::comparable(uri.path()).ok();
        let host = uri.host().unwrap().trim_matches(['[', ']']);
        let name: Option<HostName> = host.parse().ok();
        let destination = match &name {
            Some(name) => Destination::Name(name),
            None => Destination::Address(host.parse().unwrap()),
        };
        let asked = Asked {
            destination,
            scheme,
            port: uri.port_u16().unwrap_or(scheme.default_port()),
            method,
            path: path.as_deref(),
        };
        match LiveRules::new(&allow, &deny).now().judge(&asked) {
            Verdict::Allowed(_) => "allowed".to_owned(),
            Verdict::Denied(_) => "denied".to_owned(),
            Verdict::Unruled(mismatch) => format!("{mismatch:?}").to_lowercase(),
        }
    }

    #[test]
    fn g2_rules_targets_and_verdicts() {
        let cases = include_str!("../../tests/verdicts.txt").lines();
        let cases: Vec<_> = cases.filter(|line| !line.starts_with('#')).collect();
        assert!(cases.len() >= 40);
        for case in cases {
            let [rules, request, expected] = case
                .splitn(3, ';')
                .map(str::trim)
                .collect::<Vec<_>>()
                .try_into()
                .unwrap();
            assert_eq!(verdict(rules, request), expected, "[{rules}] {request}");
        }
    }

    #[test]
    fn g2_no_spelling_of_a_path_passes_a_rule_that_it_should_not() {
        let allow = "GET a.test/repos/a/** | ANY a.test/open/** | !a.test/open/secret/**";
        for path in [
            "/repos/b",
            "/repos/a",
            "/repos/ab/x",
            "/REPOS/a/x",
            "/repos/A/x",
            "/repos/a/../b",
            "/repos/a/..%2fb",
            "/repos/a/%2e%2e/b",
            "/repos/a/%252e%252e/b",
            "//repos/a/x",
            "/repos//a/x",
            "/repos/a%2fx",
            "/repos/a%5cx",
            "/repos/a/x%00",
            "/./repos/a/x",
            "/repos/a;/x",
            "/repos/a/%c0%ae%c0%ae/b",
            "/open/secret/x",
            "/open/Secret/x",
            "/open/%73ecret/x",
            "/open//secret/x",
            "/open/./secret/x",
            "/open/x/../secret/x",
            "/open/secret%2fx",
            "/open/secret/",
        ] {
            let found = verdict(allow, &format!("GET https://a.test{path}"));
            assert_ne!(found, "allowed", "{path}");
        }
        for path in [
            "/repos/a/x",
            "/repos/a/x/y",
            "/repos/a/%78",
            "/open/x%20y",
            "/open/secrets",
        ] {
            assert_eq!(
                verdict(allow, &format!("GET https://a.test{path}")),
                "allowed",
                "{path}"
            );
        }
        assert_eq!(verdict(allow, "POST https://a.test/repos/a/x"), "path");
    }

    #[test]
    fn g2_a_grant_ends_by_itself_and_what_holds_is_replaced_as_a_whole() {
        let rules = LiveRules::new(&[], &["evil.test".parse().unwrap()]);
        let name: HostName = "a.test".parse().unwrap();
        let before = rules.now();
        rules
            .grant("a.test".parse().unwrap(), Some(Duration::from_hours(1)))
            .unwrap();
        assert!(rules.now().mentions(Destination::Name(&name)));
        assert!(
            !before.mentions(Destination::Name(&name)),
            "a request under way saw another set"
        );
        // Given again with no time left, it has ended.
        rules
            .grant("a.test".parse().unwrap(), Some(Duration::ZERO))
            .unwrap();
        assert!(!rules.now().mentions(Destination::Name(&name)));
        rules.grant("evil.test".parse().unwrap(), None).unwrap();
        let evil: HostName = "evil.test".parse().unwrap();
        let asked = Asked {
            destination: Destination::Name(&evil),
            scheme: Scheme::Https,
            port: 443,
            method: "GET",
            path: Some("/"),
        };
        assert!(matches!(rules.now().judge(&asked), Verdict::Denied(_)));
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let rules = LiveRules::default();
        for index in 0..RULES_MAX {
            rules
                .grant(format!("n{index}.test").parse().unwrap(), None)
                .unwrap();
        }
        assert_eq!(
            rules.grant("one-more.test".parse().unwrap(), None),
            Err(RulesFull)
        );
        assert_eq!(rules.grant("n0.test".parse().unwrap(), None), Ok(()));
    }
}
