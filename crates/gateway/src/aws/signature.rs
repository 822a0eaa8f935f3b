//! AWS Signature Version 4, for a request whose every byte is known.

use std::fmt::Write as _;

use http::HeaderMap;
use ring::{digest, hmac};

use crate::credential::unescaped_bytes;

/// The name of the algorithm in headers.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A key, and for what alone it signs.
#[derive(Clone, Copy)]
pub(super) struct SigningKey<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// What a signature is over.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// As it is sent.
    pub(super) path: &'a str,
    /// As it is sent.
    pub(super) query: &'a str,
    /// Exactly the headers that are signed, `host` among them.
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl SigningKey<'_> {
    /// The value of the `Authorization` header. `time` is that of `x-amz-date`:
    /// `20150830T123600Z`.
    pub(super) fn authorization(&self, time: &str, signed: &Signed<'_>) -> String {
        let date = time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let request = hex::encode(digest::digest(
            &digest::SHA256,
            signed.canonical().as_bytes(),
        ));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{request}");
        let first = hmac::sign(
            &key(format!("AWS4{}", self.secret).as_bytes()),
            date.as_bytes(),
        );
        let derived = [self.region, self.service, "aws4_request", &text]
            .iter()
            .fold(first, |tag, part| {
                hmac::sign(&key(tag.as_ref()), part.as_bytes())
            });
        format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
            self.id,
            signed.names().join(";"),
            hex::encode(derived)
        )
    }
}

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

impl Signed<'_> {
    /// The names of the signed headers, in the order in which they are signed.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The one form of a request that both sides sign.
    fn canonical(&self) -> String {
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.method,
            encoded(self.path.as_bytes(), b"/"),
            query(self.query)
        );
        for name in self.names() {
            let values: Vec<_> = self.headers.get_all(name).iter().map(value).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}:{}", values.join(","));
        }
        let body = hex::encode(digest::digest(&digest::SHA256, self.body));
        let _ = write!(text, "\n{}\n{body}", self.names().join(";"));
        text
    }
}

/// A header's value without spaces at its ends or in a row.
fn value(value: &http::HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Names and values of a query, written in one way and in order.
fn query(text: &str) -> String {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<_> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let once = |text| encoded(&unescaped_bytes(text), b"");
            (once(name), once(value))
        })
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// `text` with every byte escaped that is neither unreserved (RFC 3986 §2.3) nor
/// `kept`.
pub(super) fn encoded(text: &[u8], kept: &[u8]) -> String {
    let mut result = String::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            result.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// The key, service and time of the test cases that AWS published.
    const KEY: SigningKey<'_> = SigningKey {
        id: "AKIDEXAMPLE",
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
        service: "service",
    };
    const TIME: &str = "20150830T123600Z";

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> String {
        let mut headers = HeaderMap::new();
        let usual = [("host", "example.amazonaws.com"), ("x-amz-date", TIME)];
        for (name, value) in usual.iter().chain(more) {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let signed = Signed {
            method,
            path,
            query,
            headers: &headers,
            body: body.as_bytes(),
        };
        let text = KEY.authorization(TIME, &signed);
        let start =
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, ";
        assert!(text.starts_with(start), "{text}");
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// Method, path, query, headers, body and signature.
    type Case<'a> = (
        &'a str,
        &'a str,
        &'a str,
        &'a [(&'a str, &'a str)],
        &'a str,
        &'a str,
    );

    #[test]
    fn g3_the_published_test_cases_have_the_published_signatures() {
        let form = ("content-type", "application/x-www-form-urlencoded");
        let cases: [Case; 12] = [
            // get-vanilla
            (
                "GET",
                "/",
                "",
                &[],
                "",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            // post-vanilla
            (
                "POST",
                "/",
                "",
                &[],
                "",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            // get-vanilla-empty-query-key
            (
                "GET",
                "/",
                "Param1=value1",
                &[],
                "",
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            // get-vanilla-query-order-key-case
            (
                "GET",
                "/",
                "Param2=value2&Param1=value1",
                &[],
                "",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            // get-vanilla-query-order-value
            (
                "GET",
                "/",
                "Param1=value2&Param1=value1",
                &[],
                "",
                "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
            ),
            // get-vanilla-utf8-query
            (
                "GET",
                "/",
                "\u{1234}=bar",
                &[],
                "",
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            // get-utf8
            (
                "GET",
                "/\u{1234}",
                "",
                &[],
                "",
                "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
            ),
            // get-unreserved
            (
                "GET",
                "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                "",
                &[],
                "",
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
            // get-header-key-duplicate
            (
                "GET",
                "/",
                "",
                &[
                    ("my-header1", "value2"),
                    ("my-header1", "value2"),
                    ("my-header1", "value1"),
                ],
                "",
                "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
            ),
            // get-header-value-trim
            (
                "GET",
                "/",
                "",
                &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
                "",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            // post-header-key-sort
            (
                "POST",
                "/",
                "",
                &[("my-header1", "value1")],
                "",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            // post-x-www-form-urlencoded
            (
                "POST",
                "/",
                "",
                &[form],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        for (method, path, query, headers, body, expected) in cases {
            let found = signature(method, path, query, headers, body);
            assert_eq!(found, expected, "{method} {path} {query} {headers:?}");
        }
    }

    #[test]
    fn an_escape_in_a_path_is_escaped_once_more_and_one_in_a_query_is_not() {
        assert_eq!(
            encoded(b"/model/m%3A0/invoke", b"/"),
            "/model/m%253A0/invoke"
        );
        assert_eq!(query("b=%20x&a=1+2&c&%zz=1"), "%25zz=1&a=1%2B2&b=%20x&c=");
    }
}
