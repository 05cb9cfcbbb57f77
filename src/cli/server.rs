//! The address of a server, checked: `https`, or plain `http` where nothing can listen in.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A server's base URL, without a final slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server(String);

impl Server {
    /// Reads `https://host[:port][/path]`; `http` and no scheme are allowed too.
    pub fn new(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|why| {
            format!("{why}; wanted is a URL, as https://terreau.example.org or http://127.0.0.1:3990")
        })
    }

    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.is_empty() && text.trim_start_matches(':').bytes().all(|b| b.is_ascii_digit()) {
            return Err("a port alone says not at which machine".to_owned());
        }
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else if is_local_name(text.split([':', '/']).next().unwrap_or_default()) {
            format!("http://{text}")
        } else {
            format!("https://{text}")
        };
        let url = Url::parse(&with_scheme).map_err(|e| format!("not a URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with https:// or http://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not hold a query or a fragment".to_owned());
        }
        match url.host() {
            None => return Err("has no host".to_owned()),
            // `1.2` and `0x7f` are read as addresses: nobody who writes one means that.
            Some(Host::Ipv4(a)) if !with_scheme.contains(&a.to_string()) => {
                return Err(format!("would be the address {a}"));
            }
            Some(_) => {}
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True on this very machine.
    pub fn is_loopback(&self) -> bool {
        match Url::parse(&self.0).ok().and_then(|u| u.host().map(|h| h.to_owned())) {
            Some(Host::Domain(name)) => is_local_name(&name),
            Some(Host::Ipv4(a)) => a.is_loopback(),
            Some(Host::Ipv6(a)) => a.is_loopback(),
            None => false,
        }
    }

    /// True where a password would cross a network in the clear.
    pub fn is_exposed(&self) -> bool {
        self.0.starts_with("http://") && !self.is_loopback()
    }
}

fn is_local_name(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|a| a.is_loopback())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Server {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::new(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_brought_to_one_form() {
        for (text, want) in [
            ("https://Terreau.example.org/", "https://terreau.example.org"),
            ("terreau.example.org", "https://terreau.example.org"),
            ("localhost:8500", "http://localhost:8500"),
            ("127.0.0.1:4000/", "http://127.0.0.1:4000"),
        ] {
            assert_eq!(Server::new(text).unwrap().as_str(), want);
        }
    }

    #[test]
    fn addresses_that_hide_something_are_refused() {
        for bad in ["", "ftp://x", "https://u:p@x", "https://x?a=1", "https://x#a", "https://"] {
            assert!(Server::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_address_is_not_made_one_and_the_form_is_said() {
        for bad in ["25201", ":25201", "1.2", "0x7f000001", "https://25201", "a b", "http://"] {
            let why = Server::new(bad).unwrap_err();
            assert!(why.ends_with("http://127.0.0.1:3990"), "{bad}: {why}");
        }
        assert!(Server::new("25201").unwrap_err().starts_with("a port alone"));
    }

    #[test]
    fn plain_http_is_exposed_unless_it_stays_on_this_machine() {
        let exposed = |s: &str| Server::new(s).unwrap().is_exposed();
        assert!(exposed("http://10.0.0.1:4000") && exposed("http://127.0.0.1.example.org"));
        assert!(!exposed("http://127.0.0.1:1") && !exposed("http://[::1]:1") && !exposed("https://x"));
    }
}
