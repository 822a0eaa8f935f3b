use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{self, HOST},
    request::Parts,
    uri::Authority,
};
use stockade_types::HostName;

use crate::{
    reply::{MALFORMED, Refusal},
    rules::Destination,
    settings::Scheme,
};

const URL_MAX: usize = 8 * 1024;
/// The longest head, without its first line.
pub(crate) const HEAD_MAX: usize = 64 * 1024;

/// Where a connection from inside wanted to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name behind the made-up address; `None` for an address that was
    /// not made up.
    pub(crate) name: Option<HostName>,
    /// The address itself, for messages.
    pub(crate) address: std::net::SocketAddr,
    /// Whether TLS was ended here.
    pub(crate) tls: bool,
}

impl Target {
    /// The name, or the address if there is none.
    pub(crate) fn host(&self) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => self.address.ip().to_string(),
        }
    }

    pub(crate) fn destination(&self) -> Destination<'_> {
        match &self.name {
            Some(name) => Destination::Name(name),
            None => Destination::Address(self.address.ip()),
        }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls {
            Scheme::Https
        } else {
            Scheme::Http
        }
    }

    /// The whole URL of what `asked`, a path or a URL, means here.
    pub(crate) fn url(&self, asked: &str) -> String {
        let scheme = self.scheme();
        let authority = if self.address.port() == scheme.default_port() && self.name.is_some() {
            self.host()
        } else {
            self.label()
        };
        let path = match asked.split_once("://") {
            Some((_, rest)) if !asked.starts_with('/') => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => asked,
        };
        format!("{}://{authority}{path}", scheme.name())
    }

    /// `name:port` or `address:port`.
    pub(crate) fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{name}:{}", self.address.port()),
            None => self.address.to_string(),
        }
    }
}

/// Refuses whatever a second parser could read differently, and whatever
/// names another host than the connection is for.
pub(crate) fn check(parts: &Parts, target: &Target) -> Result<(), Refusal> {
    let shape = |reason: &str| Err(Refusal::malformed(MALFORMED, reason));
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        let reason = "CONNECT and TRACE have no use here: every connection is already routed.";
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "http.method",
            reason,
        ));
    }
    if parts.uri.to_string().len() > URL_MAX {
        let reason = format!("the URL is longer than {URL_MAX} bytes.");
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            "http.url-length",
            reason,
        ));
    }
    let headers = &parts.headers;
    // What reads them stops only somewhere beyond.
    let fields = headers.iter();
    let length: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if length > HEAD_MAX {
        return Err(Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "http.head-length",
            format!("its headers are longer than {HEAD_MAX} bytes."),
        ));
    }
    if count(headers, &header::CONTENT_LENGTH) > 1 {
        return shape("it has more than one Content-Length.");
    }
    if let Some(coding) = single(headers, &header::TRANSFER_ENCODING)? {
        if coding.as_bytes() != b"chunked" || headers.contains_key(header::CONTENT_LENGTH) {
            return shape("Transfer-Encoding must be exactly `chunked`, without a Content-Length.");
        }
        if parts.version != Version::HTTP_11 {
            return shape("Transfer-Encoding belongs to HTTP/1.1 only.");
        }
    }
    if let Some(expectation) = single(headers, &header::EXPECT)?
        && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        let reason = "only `Expect: 100-continue` is understood.";
        return Err(Refusal::new(
            StatusCode::EXPECTATION_FAILED,
            "http.expect",
            reason,
        ));
    }
    check_authority(parts, target)
}

fn count(headers: &HeaderMap, name: &HeaderName) -> usize {
    headers.get_all(name).iter().count()
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    if count(headers, name) > 1 {
        let reason = format!("it has more than one `{name}` header.");
        return Err(Refusal::malformed(MALFORMED, reason));
    }
    Ok(headers.get(name))
}

/// Name, SNI, `Host` and `:authority` must agree; otherwise one of them would
/// be judged and another one used.
fn check_authority(parts: &Parts, target: &Target) -> Result<(), Refusal> {
    let host = single(&parts.headers, &HOST)?;
    if host.is_none() && parts.uri.authority().is_none() {
        return Err(Refusal::malformed(MALFORMED, "it names no host."));
    }
    let from_header = match host {
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<Authority>().ok())
                .ok_or_else(|| Refusal::malformed(MALFORMED, "its Host header is not a host."))?,
        ),
        None => None,
    };
    let scheme = if target.tls { "https" } else { "http" };
    if parts.uri.scheme_str().is_some_and(|found| found != scheme) {
        return Err(misdirected(
            "the URL's scheme is not that of the connection.",
        ));
    }
    for authority in from_header.iter().chain(parts.uri.authority()) {
        if !names(authority, target) {
            return Err(misdirected(&format!(
                "the request names another host than {}.",
                target.label()
            )));
        }
    }
    Ok(())
}

fn names(authority: &Authority, target: &Target) -> bool {
    let default_port = if target.tls { 443 } else { 80 };
    let port = match authority.as_str().strip_prefix(authority.host()) {
        // Covers user information: then the text does not begin with the host.
        None => return false,
        Some("") => default_port,
        Some(_) => authority.port_u16().unwrap_or(0),
    };
    let host = authority.host();
    let same = match &target.name {
        Some(name) => host.parse::<HostName>().is_ok_and(|host| host == *name),
        None => host.trim_matches(['[', ']']) == target.address.ip().to_string(),
    };
    same && port == target.address.port()
}

fn misdirected(reason: &str) -> Refusal {
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, "http.authority", reason)
}

/// Whether a header is about this connection and not about the request, or
/// would let the request be read as another one; such headers end here.
fn ends_here(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "host"
            | "content-length"
            | "forwarded"
            | "via"
            | "http2-settings"
            | "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            | "x-original-url"
            | "x-rewrite-url"
            | "x-original-host"
            | "x-host"
            | "x-stockade-why"
    ) || name.starts_with("proxy-")
        || name.starts_with("x-forwarded-")
}

/// `te: trailers` of a gRPC request (RFC 9113 §8.2.2 allows it this one value),
/// without which some servers refuse it.
fn asks_for_trailers(name: &HeaderName, value: &HeaderValue, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    name == header::TE && value == "trailers" && is_grpc
}

/// Headers that `Connection` names; they end here too (RFC 9110 §7.6.1).
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .collect()
}

/// The headers that go on to the upstream, without those in `slots`. Where the
/// reply is `searched` for secrets it must be readable and whole: ranges could
/// cut one in two.
pub(crate) fn outward(headers: &HeaderMap, slots: &[HeaderName], searched: bool) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let ends = slots.contains(name)
            || (ends_here(name) && !asks_for_trailers(name, value, headers))
            || (searched && [header::RANGE, header::IF_RANGE].contains(name))
            || named.iter().any(|token| token == name.as_str());
        if !ends {
            kept.append(name, value.clone());
        }
    }
    if searched {
        kept.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }
    kept
}

/// The headers of a reply that go inside: nothing about the connection, no
/// cookies, no hint at another transport, and each value cleaned by `clean`.
pub(crate) fn inward(
    headers: &HeaderMap,
    mut clean: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let stays_out = matches!(
            name.as_str(),
            "set-cookie" | "set-cookie2" | "alt-svc" | "content-encoding" | "x-stockade-reason"
        );
        let about_us = named.iter().any(|token| token == name.as_str());
        if ends_here(name) || stays_out || about_us || clean(name.as_str().as_bytes()).is_some() {
            continue;
        }
        match clean(value.as_bytes()) {
            None => drop(kept.append(name, value.clone())),
            Some(cleaned) => {
                if let Ok(value) = HeaderValue::from_bytes(&cleaned) {
                    kept.append(name, value);
                }
            }
        }
    }
    kept
}

/// The headers of a reply that is passed on as it is: its body's coding and
/// length stay.
pub(crate) fn inward_as_it_is(headers: &HeaderMap) -> HeaderMap {
    let mut kept = inward(headers, |_| None);
    for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        if let Some(value) = headers.get(&name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn target() -> Target {
        Target {
            name: Some("api.example.com".parse().unwrap()),
            address: "198.18.0.1:443".parse().unwrap(),
            tls: true,
        }
    }

    fn status(builder: http::request::Builder) -> Result<(), u16> {
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        check(&parts, &target()).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn the_same_host_may_be_written_in_several_ways() {
        for host in [
            "api.example.com",
            "API.example.com",
            "api.example.com.",
            "api.example.com:443",
        ] {
            assert_eq!(
                status(Request::get("/").header("host", host)),
                Ok(()),
                "{host}"
            );
        }
        assert_eq!(status(Request::get("https://api.example.com/")), Ok(()));
    }

    #[test]
    fn any_other_host_is_misdirected_or_malformed() {
        for host in [
            "evil.test",
            "api.example.com:80",
            "api.example.com.evil.test",
            "u@api.example.com",
            "api.example.com:",
            "api.example.com:443443",
            "api.example.com..",
            "127.0.0.1",
            "",
        ] {
            assert!(
                status(Request::get("/").header("host", host)).is_err(),
                "{host}"
            );
        }
        let two = Request::get("/")
            .header("host", "api.example.com")
            .header("host", "evil.test");
        assert_eq!(status(two), Err(400));
        assert_eq!(status(Request::get("/")), Err(400));
        let absolute = Request::get("https://evil.test/").header("host", "api.example.com");
        assert_eq!(status(absolute), Err(421));
        let scheme = Request::get("http://api.example.com/").header("host", "api.example.com");
        assert_eq!(status(scheme), Err(421));
    }

    #[test]
    fn ambiguous_framing_is_malformed() {
        let request = || Request::post("/").header("host", "api.example.com");
        assert_eq!(
            status(request().header("transfer-encoding", "chunked")),
            Ok(())
        );
        for coding in [
            "xchunked",
            "chunked, identity",
            "identity",
            "Chunked ",
            "gzip, chunked",
        ] {
            assert_eq!(
                status(request().header("transfer-encoding", coding)),
                Err(400),
                "{coding}"
            );
        }
        let both = request()
            .header("transfer-encoding", "chunked")
            .header("content-length", "3");
        assert_eq!(status(both), Err(400));
        let twice = request()
            .header("content-length", "3")
            .header("content-length", "3");
        assert_eq!(status(twice), Err(400));
        assert_eq!(status(Request::connect("api.example.com:443")), Err(405));
        assert_eq!(status(request().header("expect", "200-ok")), Err(417));
    }

    #[test]
    fn headers_about_the_connection_end_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("proxy-authorization", "x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-http-method-override", "DELETE"),
            ("anthropic-beta", "kept"),
            ("x-api-key", "slot"),
            ("accept-encoding", "br"),
            ("range", "bytes=0-3"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let kept = outward(&headers, &[HeaderName::from_static("x-api-key")], true);
        assert_eq!(kept.len(), 2);
        assert_eq!(kept["anthropic-beta"], "kept");
        assert_eq!(kept["accept-encoding"], "identity");
    }
}
