//! Where hooks may send to. A member chooses the URL, and the agent sends from inside of the cluster: whatever is not
//! plainly a public address is refused, after names were resolved, and the connection goes to exactly what was looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

/// The longest URL.
const LONGEST: usize = 1_024;
/// How long a name may take to be resolved.
const RESOLVED: Duration = Duration::from_secs(5);
/// So many addresses of one name are tried.
const TRIED: usize = 4;

/// Networks that hooks may reach although they are not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// From CIDR texts, as `127.0.0.1/32`; an address alone is itself.
    pub fn new<S: AsRef<str>>(texts: &[S]) -> Result<Self, String> {
        let net = |text: &S| {
            let text = text.as_ref().trim();
            let alone = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse::<IpNet>()
                .or_else(|_| alone())
                .map_err(|_| format!("wanted are networks as 10.1.2.0/24 or fd00::/8; {text:?} is none"))
        };
        texts.iter().map(net).collect::<Result<_, _>>().map(Self)
    }

    /// Why nothing is sent to this address.
    pub fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if self.0.iter().any(|n| n.contains(&address)) { None } else { kind(address) }
    }
}

/// What an address is, where it is not plainly public.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(a) => kind_v4(a),
        IpAddr::V6(a) => kind_v6(a),
    }
}

/// The registries: <https://www.iana.org/assignments/iana-ipv4-special-registry>, RFC 6890 and its successors.
fn kind_v4(a: Ipv4Addr) -> Option<&'static str> {
    let [b0, b1, b2, _] = a.octets();
    match (b0, b1, b2) {
        (0, ..) => Some("an address of this network"),
        (127, ..) => Some("a loopback address"),
        (10, ..) | (192, 168, _) | (172, 16..=31, _) => Some("a private address"),
        (169, 254, _) => Some("a link-local address"),
        (100, 64..=127, _) => Some("an address behind a carrier's NAT"),
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => {
            Some("a reserved address")
        }
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

/// Public are addresses of 2000::/3 alone: <https://www.iana.org/assignments/ipv6-address-space>. Those that carry an
/// IPv4 address are what that one is.
fn kind_v6(a: Ipv6Addr) -> Option<&'static str> {
    let s = a.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an address of this network"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => kind_v4(v4(high, low)),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // Teredo, ORCHID, benchmarks; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("a reserved address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

/// Where a hook sends to: a URL that was looked at. Shown without its path, which may be a secret of the receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(Url);

impl std::fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin())
    }
}

impl HookUrl {
    /// Reads one; says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the URL has more than {LONGEST} bytes"));
        }
        let url =
            Url::parse(text.trim()).map_err(|e| format!("it is no URL, which begins with https://: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the URL begins with https:// or http://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL holds no user and no password: what is sent is signed instead".to_owned());
        }
        if url.host_str().is_none_or(str::is_empty) || url.as_str().len() > LONGEST {
            return Err(format!("the URL names a host, and has at most {LONGEST} bytes"));
        }
        Ok(Self(url))
    }

    /// The whole of it.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The addresses that it may be reached at, resolved now; or why there is none.
    pub async fn addresses(&self, allowed: &Networks) -> Result<Vec<SocketAddr>, String> {
        let port = self.0.port_or_known_default().unwrap_or(443);
        let found: Vec<IpAddr> = match self.0.host() {
            Some(Host::Ipv4(a)) => vec![a.into()],
            Some(Host::Ipv6(a)) => vec![a.into()],
            Some(Host::Domain(name)) => {
                let asked = tokio::time::timeout(RESOLVED, tokio::net::lookup_host((name, port))).await;
                let found =
                    asked.map_err(|_| format!("{name} is not resolved within {} s", RESOLVED.as_secs()))?;
                found.map_err(|e| format!("{name} is not resolved: {e}"))?.map(|a| a.ip()).collect()
            }
            None => Vec::new(),
        };
        let host = self.0.host_str().unwrap_or_default();
        let (mut may, mut why) = (Vec::new(), None);
        for address in found {
            match allowed.refuses(address) {
                None => may.push(SocketAddr::new(address, port)),
                Some(kind) => why = Some(format!("{host} is {kind}: hooks send to public addresses alone")),
            }
        }
        may.truncate(TRIED);
        if may.is_empty() { Err(why.unwrap_or_else(|| format!("{host} has no address"))) } else { Ok(may) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_sent_to() {
        let nothing = Networks::default();
        for refused in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "3fff::1",
        ] {
            assert!(nothing.refuses(refused.parse().unwrap()).is_some(), "{refused}");
        }
        for public in [
            "9.9.9.9",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a01::1",
            "64:ff9b::9.9.9.9",
            "::ffff:9.9.9.9",
        ] {
            assert_eq!(nothing.refuses(public.parse().unwrap()), None, "{public}");
        }
    }

    #[test]
    fn a_network_that_the_operator_allows_is_sent_to_and_no_other() {
        let some = Networks::new(&["127.0.0.1/32", "fd00::/8", "10.1.2.3"]).unwrap();
        for allowed in ["127.0.0.1", "::ffff:127.0.0.1", "fd12::1", "10.1.2.3"] {
            assert_eq!(some.refuses(allowed.parse().unwrap()), None, "{allowed}");
        }
        for refused in ["127.0.0.2", "fc00::1", "10.1.2.4"] {
            assert!(some.refuses(refused.parse().unwrap()).is_some(), "{refused}");
        }
        assert!(Networks::new(&["localhost"]).is_err());
    }

    #[tokio::test]
    async fn however_an_address_is_written_it_is_the_address_that_counts() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:7f00:1]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://0/",
        ] {
            let why = HookUrl::new(url).unwrap().addresses(&Networks::default()).await.unwrap_err();
            assert!(why.contains("public addresses alone") || why.contains("not resolved"), "{url}: {why}");
        }
        let own = Networks::new(&["127.0.0.0/8", "::1/128"]).unwrap();
        let found = HookUrl::new("http://localhost:1234/x").unwrap().addresses(&own).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 1234), "{found:?}");
    }

    #[test]
    fn a_url_is_plain_http_without_a_user_and_is_shown_without_its_path() {
        for wrong in [
            "ftp://a/",
            "file:///etc/passwd",
            "gopher://a/",
            "http://u:p@a/",
            "http://u@a/",
            "a",
            "http://",
            "",
        ] {
            assert!(HookUrl::new(wrong).is_err(), "{wrong}");
        }
        assert!(HookUrl::new(&format!("http://a/{}", "x".repeat(LONGEST))).is_err());
        let url = HookUrl::new("https://example.org/services/canary?x=canary").unwrap();
        assert_eq!(format!("{url:?}"), "https://example.org");
    }
}
