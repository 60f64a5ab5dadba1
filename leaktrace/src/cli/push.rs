//! Where `--push` sends profiles to.

use percent_encoding::percent_decode_str;
use ureq::http::Uri;

/// A store's URL, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct PushTo {
    /// Without user and password, and without a slash at its end.
    pub url: String,
    pub user: Option<(String, String)>,
}

/// Without the password: this may be logged.
impl std::fmt::Debug for PushTo {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PushTo").field("url", &self.url).finish_non_exhaustive()
    }
}

/// `http://host:4040`, `https://user:password@host/below`.
pub(super) fn push_to(text: &str) -> Result<PushTo, String> {
    let wanted = "http://HOST:PORT or https://USER:PASSWORD@HOST, e.g. http://localhost:4040";
    let (scheme, rest) = text.split_once("://").ok_or(wanted)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.split_once(':').unwrap_or((user, ""))), host),
        None => (None, authority),
    };
    let url = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
    let is_http = matches!(scheme, "http" | "https") && !url.contains(['?', '#']);
    if !is_http || !url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty())) {
        return Err(wanted.to_owned());
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Ok(PushTo { url, user: user.map(|(name, password)| (decoded(name), decoded(password))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_an_http_url_with_or_without_a_user() {
        let plain = push_to("http://localhost:4040/").unwrap();
        assert_eq!((plain.url.as_str(), plain.user), ("http://localhost:4040", None));
        let cloud = push_to("https://12:glc%40x@profiles.example/below").unwrap();
        assert_eq!(cloud.url, "https://profiles.example/below");
        assert_eq!(cloud.user, Some(("12".to_owned(), "glc@x".to_owned())));
        assert!(!format!("{:?}", push_to("https://a:secret@b").unwrap()).contains("secret"));
    }

    #[test]
    fn what_is_no_url_is_refused_with_one_that_is() {
        for text in ["localhost:4040", "ftp://host", "http://", "http://a b", "http://host/?x=1", ""] {
            let error = push_to(text).unwrap_err();
            assert!(error.contains("http://localhost:4040"), "{text}: {error}");
        }
    }
}
