//! Origins of pages, as an operator lists those that may use the server.

use std::fmt;

/// An origin whose pages may use the server, as browsers write it (RFC 6454, section 6.2), or `*`
/// for every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// Why a text is no [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It has another form.
    #[error(
        "write it as a browser does: https://app.example or http://localhost:3000, without a path, or * for all"
    )]
    Form,
    /// It has letters that browsers write small.
    #[error("browsers write it in small letters")]
    Case,
    /// It has the port that its scheme has anyway.
    #[error("browsers leave out the port that a scheme has anyway, 80 of http and 443 of https")]
    Port,
}

impl Origin {
    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// [`OriginError`] for what no browser would send.
    pub fn parse(text: &str) -> Result<Origin, OriginError> {
        if text == "*" {
            return Ok(Origin(text.to_owned()));
        }
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::Form)?;
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
        let is_of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty()
            || authority.is_empty()
            || !scheme.bytes().all(is_of_scheme)
            || !authority.bytes().all(is_of_host)
        {
            return Err(OriginError::Form);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(OriginError::Case);
        }
        match (scheme, authority) {
            ("http", host) if host.ends_with(":80") => Err(OriginError::Port),
            ("https", host) if host.ends_with(":443") => Err(OriginError::Port),
            _ => Ok(Origin(text.to_owned())),
        }
    }

    /// Whether it is every one.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// As browsers send it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for text in [
            "*",
            "https://app.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "https://app.example:8443",
            "http://app.example:8080",
            "chrome-extension://abcdef",
        ] {
            assert_eq!(
                Origin::parse(text).map(|origin| origin.0).as_deref(),
                Ok(text)
            );
        }
        for (text, error) in [
            ("", OriginError::Form),
            ("null", OriginError::Form),
            ("app.example", OriginError::Form),
            ("https://", OriginError::Form),
            ("://app.example", OriginError::Form),
            ("https://app.example/", OriginError::Form),
            ("https://*.example", OriginError::Form),
            ("https://a, https://b", OriginError::Form),
            ("https://a\r\nX: y", OriginError::Form),
            ("https://App.example", OriginError::Case),
            ("HTTPS://app.example", OriginError::Case),
            ("https://app.example:443", OriginError::Port),
            ("http://app.example:80", OriginError::Port),
        ] {
            assert_eq!(Origin::parse(text), Err(error), "{text:?}");
        }
    }
}
