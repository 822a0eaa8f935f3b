//! Git over HTTP, as far as a refusal has to know of it.

use http::request::Parts;

use crate::credential::unescaped;

/// What git asks a server for.
const SERVICES: [&str; 2] = ["git-upload-pack", "git-receive-pack"];

/// Whether git itself asks, which shows people plain text of a refusal and
/// nothing else.
pub(super) fn asks(parts: &Parts) -> bool {
    let path = unescaped(parts.uri.path());
    let last = path.rsplit('/').next().unwrap_or_default();
    let query = unescaped(parts.uri.query().unwrap_or_default());
    let mut parameters = query.split('&');
    let of_query = parameters.find_map(|parameter| parameter.strip_prefix("service="));
    let service = if path.ends_with("/info/refs") {
        of_query.unwrap_or_default()
    } else {
        last
    };
    SERVICES.contains(&service)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn git_is_told_by_the_service_that_it_asks_for() {
        let asked = |uri: &str| asks(&Request::get(uri).body(()).unwrap().into_parts().0);
        for uri in [
            "/a/b.git/info/refs?service=git-upload-pack",
            "/b/info/refs?x=y&service=git%2Dreceive-pack",
            "https://git.test/a/b.git/git-receive-pack",
            "/b/git-upload-pack",
        ] {
            assert!(asked(uri), "{uri}");
        }
        for uri in [
            "/a/info/refs",
            "/a?service=git-upload-pack",
            "/",
            "/git-lfs",
        ] {
            assert!(!asked(uri), "{uri}");
        }
    }
}
