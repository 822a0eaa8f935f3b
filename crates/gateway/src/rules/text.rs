use std::{fmt, net::IpAddr, str::FromStr};

use stockade_types::HostName;

use super::{
    host::{HostPattern, network},
    part::{Part, RuleError},
    path::RulePath,
    rule::{Carries, HostRule, METHODS, REQUEST_MAX},
};
use crate::settings::Scheme;

/// Longer rules are a mistake.
const LENGTH_MAX: usize = 1024;
const PORTS_MAX: usize = 16;

impl FromStr for HostRule {
    type Err = RuleError;

    /// Reads `[METHODS] [http[s]://]HOST[:PORTS][/PATH] [max=SIZE] [budget=SIZE]
    /// [carries=keys,sources]`.
    fn from_str(whole: &str) -> Result<Self, Self::Err> {
        let start = Part {
            whole,
            at: 0,
            text: whole,
        };
        if whole.len() > LENGTH_MAX {
            return start.fail(format!("a rule has at most {LENGTH_MAX} characters"));
        }
        if let Some(at) = whole.find(|c: char| c != ' ' && (c.is_control() || c.is_whitespace())) {
            return start.skip(at).fail("only single spaces may separate words");
        }
        let words = Part::words(whole);
        let (methods, rest) = match words.as_slice() {
            [] => return start.fail("a host is missing; write one such as `example.com`"),
            [first, rest @ ..] if is_methods(first.text) => (Some(methods(first)?), rest),
            rest => (None, rest),
        };
        let Some((target, options)) = rest.split_first() else {
            return start
                .skip(whole.len())
                .fail("a host is missing after the methods");
        };
        let mut rule = Self {
            methods,
            ..target_of(target)?
        };
        for option in options {
            read_option(&mut rule, option)?;
        }
        Ok(rule)
    }
}

/// Whether `word` is meant as methods: no host is written in capitals alone.
fn is_methods(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_uppercase() || b == b',')
}

fn methods(word: &Part<'_>) -> Result<Vec<String>, RuleError> {
    if word.text == "ANY" {
        return Ok(METHODS.map(str::to_owned).to_vec());
    }
    let mut methods: Vec<String> = Vec::new();
    let mut at = 0;
    for name in word.text.split(',') {
        let here = word.skip(at);
        if !METHODS.contains(&name) {
            return here.fail(format!(
                "`{name}` is not a method; write some of {} or ANY",
                METHODS.join(", ")
            ));
        }
        if methods.iter().any(|method| method == name) {
            return here.fail(format!("{name} is there twice"));
        }
        methods.push(name.to_owned());
        at += name.len() + 1;
    }
    Ok(methods)
}

fn target_of(target: &Part<'_>) -> Result<HostRule, RuleError> {
    let (scheme, rest) = match target.text.find("://") {
        Some(at) => {
            let scheme = match &target.text[..at] {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                other => {
                    return target.fail(format!("`{other}` cannot be ruled; write http or https"));
                }
            };
            (Some(scheme), target.skip(at + 3))
        }
        None => (None, *target),
    };
    let (host, rest) = host_of(&rest)?;
    let (ports, path) = rest.split_at(rest.text.find('/').unwrap_or(rest.text.len()));
    Ok(HostRule {
        host,
        scheme,
        ports: ports_of(&ports)?,
        path: path_of(&path)?,
        methods: None,
        max_request: None,
        budget: None,
        carries: Carries::default(),
    })
}

/// The host, and what comes after it.
fn host_of<'a>(part: &Part<'a>) -> Result<(HostPattern, Part<'a>), RuleError> {
    if let Some(inner) = part.text.strip_prefix('[') {
        let Some(end) = inner.find(']') else {
            return part.fail("the bracket is not closed; write `[2001:db8::1]`");
        };
        let (inner, rest) = part.skip(1).split_at(end);
        return Ok((address_of(&inner)?, rest.skip(1)));
    }
    if part.text.parse::<std::net::Ipv6Addr>().is_ok() {
        return part.fail(format!("write the address in brackets: `[{}]`", part.text));
    }
    let authority = part.text.split('/').next().unwrap_or_default();
    if let Some(at) = authority.find('@') {
        return part
            .skip(at)
            .fail("user names and passwords do not belong in a rule");
    }
    let end = part.text.find([':', '/']).unwrap_or(part.text.len());
    let (host, rest) = part.split_at(end);
    if host.text.parse::<IpAddr>().is_err() {
        return Ok((name_of(&host)?, rest));
    }
    // `192.0.2.0/24` is a network; a path after an address needs its port.
    let digits = rest.text.strip_prefix('/').map_or(0, |after| {
        after.bytes().take_while(u8::is_ascii_digit).count()
    });
    let end = if digits == 0 { end } else { end + 1 + digits };
    let (address, rest) = part.split_at(end);
    if digits > 0 && rest.text.starts_with(|c| c != ':' && c != '/') {
        return rest.fail("a path after an address needs its port, as in `192.0.2.1:443/8x`");
    }
    Ok((address_of(&address)?, rest))
}

fn address_of(part: &Part<'_>) -> Result<HostPattern, RuleError> {
    let (address, prefix) = match part.text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (part.text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return part
            .fail("this is not an address; write one such as `192.0.2.1` or `[2001:db8::1]`");
    };
    if address.to_canonical() != address {
        return part.fail(format!("write the address as `{}`", address.to_canonical()));
    }
    let Some(prefix) = prefix else {
        return Ok(HostPattern::Address(address));
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let base = match prefix.parse::<u8>() {
        Ok(prefix) if prefix <= longest => network(address, prefix).map(|base| (base, prefix)),
        _ => None,
    };
    match base {
        Some((base, prefix)) if base == address => Ok(HostPattern::Network { base, prefix }),
        Some((base, prefix)) => part.fail(format!(
            "the address has bits beyond the first {prefix}; write `{base}/{prefix}`"
        )),
        None => part.fail(format!("a network's prefix is 0 to {longest} bits")),
    }
}

fn name_of(host: &Part<'_>) -> Result<HostPattern, RuleError> {
    let parse = |part: Part<'_>| match part.text.parse::<HostName>() {
        Ok(name) => Ok(name),
        Err(_) if part.text.contains('*') => part.fail(
            "`*` may stand only before the whole rest of a name, as in `*.example.com` or \
             `**.example.com`",
        ),
        Err(error) => part.fail(error.to_string()),
    };
    match host.text {
        "" => host.fail("a host is missing"),
        "**" => Ok(HostPattern::Any),
        "*" => host.fail("write `**` for every host, or `*.example.com` for those below one"),
        text if text.starts_with("**.") => parse(host.skip(3)).map(HostPattern::AnyLevel),
        text if text.starts_with("*.") => parse(host.skip(2)).map(HostPattern::OneLevel),
        _ => parse(*host).map(HostPattern::Name),
    }
}

fn ports_of(part: &Part<'_>) -> Result<Option<Vec<u16>>, RuleError> {
    if part.text.is_empty() {
        return Ok(None);
    }
    if !part.text.starts_with(':') {
        return part.fail("a port begins with `:` and a path with `/`");
    }
    let mut ports = Vec::new();
    let mut at = 1;
    for text in part.text[1..].split(',') {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        match text.parse::<u16>() {
            Ok(port) if plain && !ports.contains(&port) => ports.push(port),
            _ => {
                return part
                    .skip(at)
                    .fail("a port is a number from 1 to 65535, written once");
            }
        }
        at += text.len() + 1;
    }
    if ports.len() > PORTS_MAX {
        return part.fail(format!("a rule has at most {PORTS_MAX} ports"));
    }
    Ok(Some(ports))
}

fn path_of(part: &Part<'_>) -> Result<Option<RulePath>, RuleError> {
    if part.text.is_empty() {
        return Ok(None);
    }
    if let Some(at) = part.text.find(['?', '#']) {
        return part
            .skip(at)
            .fail("a rule is about paths; leave the query out");
    }
    match RulePath::parse(part.text) {
        Ok(path) => Ok(Some(path)),
        Err(problem) => part.fail(problem),
    }
}

fn read_option(rule: &mut HostRule, option: &Part<'_>) -> Result<(), RuleError> {
    let (name, value) = match option.text.split_once('=') {
        Some(pair) => pair,
        None => (option.text, ""),
    };
    let (slot, most) = match name {
        "max" => (&mut rule.max_request, REQUEST_MAX),
        "budget" => (&mut rule.budget, 1 << 40),
        "carries" => return read_carries(rule, option, value),
        _ => {
            return option.fail(
                "after the host only `max=SIZE` (one request), `budget=SIZE` (all of them) and \
                 `carries=keys,sources` may follow; methods come first, as in `GET,POST example.com`",
            );
        }
    };
    match size(value) {
        Some(size) if slot.is_none() && (1..=most).contains(&size) => *slot = Some(size),
        _ => {
            return option.fail(format!(
                "`{name}=` is written once, with a size such as 64K or 8M, at most {}",
                size_text(most)
            ));
        }
    }
    Ok(())
}

fn read_carries(rule: &mut HostRule, option: &Part<'_>, value: &str) -> Result<(), RuleError> {
    for what in value.split(',') {
        let slot = match what {
            "keys" => &mut rule.carries.keys,
            "sources" => &mut rule.carries.sources,
            _ => {
                return option.fail("write `carries=keys`, `carries=sources` or both with a comma");
            }
        };
        if std::mem::replace(slot, true) {
            return option.fail(format!("{what} is there twice"));
        }
    }
    Ok(())
}

/// The letters that sizes may end in, largest first.
const UNITS: [(char, u32); 3] = [('G', 30), ('M', 20), ('K', 10)];

fn size(text: &str) -> Option<u64> {
    let (digits, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)))
        .unwrap_or((text, 0));
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = plain.then(|| digits.parse().ok())??;
    number.checked_mul(1 << shift)
}

fn size_text(size: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(_, shift)| size >= 1 << shift && size.is_multiple_of(1 << shift));
    match unit {
        Some((unit, shift)) => format!("{}{unit}", size >> shift),
        None => size.to_string(),
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.methods {
            Some(methods) if methods.len() == METHODS.len() => formatter.write_str("ANY ")?,
            Some(methods) => write!(formatter, "{} ", methods.join(","))?,
            None => {}
        }
        if let Some(scheme) = self.scheme {
            write!(formatter, "{}://", scheme.name())?;
        }
        write!(formatter, "{}", self.host)?;
        if let Some(ports) = &self.ports {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            write!(formatter, ":{}", ports.join(","))?;
        }
        if let Some(path) = &self.path {
            write!(formatter, "{path}")?;
        }
        for (name, size) in [("max", self.max_request), ("budget", self.budget)] {
            if let Some(size) = size {
                write!(formatter, " {name}={}", size_text(size))?;
            }
        }
        match (self.carries.keys, self.carries.sources) {
            (true, true) => formatter.write_str(" carries=keys,sources"),
            (true, false) => formatter.write_str(" carries=keys"),
            (false, true) => formatter.write_str(" carries=sources"),
            (false, false) => Ok(()),
        }
    }
}

impl TryFrom<String> for HostRule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_are_read_and_written_alike() {
        for text in [
            "example.com",
            "GET,POST api.example.com/v1/**",
            "http://deb.example.org:80/debian/**",
            "ANY **",
            "**.example.com:8443,9443",
            "*.example.com/simple/*.whl max=64K budget=8M",
            "10.0.0.0/8:5432",
            "192.0.2.1:443/8",
            "https://[2001:db8::1]:8443/a",
            "[2001:db8::/32]",
            "POST a.test max=8M carries=keys",
            "a.test carries=keys,sources",
        ] {
            let rule: HostRule = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rule.to_string(), text);
        }
        let loose: HostRule = "  GET   Example.COM. ".parse().unwrap();
        assert_eq!(loose.to_string(), "GET example.com");
    }

    #[test]
    fn a_mistake_is_named_with_its_place_and_the_fix() {
        for (text, at, fix) in [
            ("", 1, "example.com"),
            ("GET", 4, "host is missing"),
            ("GET,FETCH a.test", 5, "GET, HEAD"),
            ("POST,POST a.test", 6, "twice"),
            ("ftp://a.test", 1, "http or https"),
            ("https://u:p@a.test", 12, "user names"),
            ("https://u@a.test", 10, "user names"),
            ("a..test", 1, "label"),
            ("ex\u{e4}mple.com", 1, "punycode"),
            ("*", 1, "`**`"),
            ("a.*.test", 1, "*.example.com"),
            ("::1", 1, "[::1]"),
            ("0x7f.1", 1, "IP address"),
            ("2130706433", 1, "IP address"),
            ("127.1", 1, "IP address"),
            ("[::ffff:10.0.0.1]", 2, "`10.0.0.1`"),
            ("10.0.0.1/8", 1, "`10.0.0.0/8`"),
            ("10.0.0.0/33", 1, "0 to 32"),
            ("a.test:0", 8, "65535"),
            ("a.test:80,65536", 11, "65535"),
            ("a.test/b?c=d", 9, "query"),
            ("a.test/b/../c", 7, "`..`"),
            ("a.test/b%2fc", 7, "separator"),
            ("a.test//b", 7, "empty segment"),
            ("a.test POST", 8, "methods come first"),
            ("a.test max=x", 8, "64K"),
            ("a.test carries=all", 8, "carries=sources"),
            ("a.test carries=keys,keys", 8, "twice"),
            ("a.test max=1G", 8, "32M"),
            ("a.test\nb.test", 7, "single spaces"),
        ] {
            let error = text.parse::<HostRule>().unwrap_err();
            assert_eq!(error.at, at, "{error}");
            assert!(error.problem.contains(fix), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fail_other_than_by_saying_why(text in "\\PC{0,60}") {
            if let Ok(rule) = text.parse::<HostRule>() {
                let written = rule.to_string();
                prop_assert_eq!(written.parse::<HostRule>().unwrap(), rule);
            }
        }

        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(
            text in "((GET|POST,PUT|ANY) )?(https?://)?(\\*\\.|\\*\\*\\.)?[a-z]{1,4}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?(/[a-z*]{0,3}){0,3}( max=[1-9][KM]?)?"
        ) {
            if let Ok(rule) = text.parse::<HostRule>() {
                prop_assert_eq!(rule.to_string().parse::<HostRule>().unwrap(), rule);
            }
        }
    }
}
