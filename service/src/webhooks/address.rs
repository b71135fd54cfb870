//! Where webhooks can be sent: to public addresses, and to networks that the operator allows.
//!
//! A name is resolved by the client that connects, and only addresses that passed the check are connected to. So a name that
//! changes its address between a check and the connection gains nothing.

use hyper_util::client::legacy::connect::dns::Name;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;
use tower_service::Service;
use url::{Host, Url};

/// Networks that webhooks can reach although they are not public.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Returns true if webhooks can be sent to the address.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.iter().any(|network| network.contains(&address))
    }

    /// Checks the host of a URL if it is an address. Names are checked when they are resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), PrivateAddress> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allow(address) { Ok(()) } else { Err(PrivateAddress) }
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = |text: &str| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let problem = |_| format!("`{text}` is not a network; use `10.0.0.0/8` or `fd00::/8`, separated by commas");
            network.map(|network| network.trunc()).map_err(problem)
        };
        Ok(Self(text.split(',').map(|text| network(text.trim())).collect::<Result<_, _>>()?))
    }
}

/// Every address of a name, or the address in a URL, is not public.
#[derive(Debug, thiserror::Error)]
#[error("the address is private, and `--webhook-networks` does not allow it")]
pub(crate) struct PrivateAddress;

/// Why a name has no address to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error(transparent)]
    Private(PrivateAddress),
    #[error("the name was not found")]
    Lookup(#[source] io::Error),
}

/// Resolves names to the addresses that are allowed.
#[derive(Clone)]
pub(crate) struct Resolver(pub(crate) Networks);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let networks = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(ResolveError::Lookup)?.collect();
            let is_found = !found.is_empty();
            let allowed: Vec<_> = found.into_iter().filter(|address| networks.allow(address.ip())).collect();
            if is_found && allowed.is_empty() {
                Err(ResolveError::Private(PrivateAddress))
            } else {
                Ok(allowed.into_iter())
            }
        })
    }
}

/// Returns true if the address belongs to the public internet, by the registries of special-purpose addresses of the IANA.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

const SPECIAL_V4: [Ipv4Net; 17] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // shared by the customers of a carrier
    v4(127, 0, 0, 0, 8),      // this machine
    v4(168, 63, 129, 16, 32), // the platform of Azure, seen from its machines
    v4(169, 254, 0, 0, 16),   // this link; the metadata of cloud machines
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocols
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 31, 196, 0, 24),  // AS112
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, and broadcast
];
/// All other networks are special: loopback, mapped and translated IPv4, unique local, link-local, multicast.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6(0x2001, 0, 23),     // protocols, Teredo
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16),     // 6to4, which has an IPv4 address inside
    v6(0x3ffe, 0, 16),     // 6bone
    v6(0x3fff, 0, 20),     // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: [&str; 29] = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "2001::1",
        "2002:7f00:1::",
        "2001:db8::1",
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        let networks = Networks::default();
        for text in PRIVATE {
            assert!(!networks.allow(address(text)), "{text}");
        }
        for text in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "2a00:1450::1"] {
            assert!(networks.allow(address(text)), "{text}");
        }
    }

    #[test]
    fn a_network_of_the_operator_is_allowed_and_no_other() {
        let networks: Networks = "10.0.0.0/8, 127.0.0.1,fd12::/16".parse().unwrap();
        for (text, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("fd12::1", true),
            ("fd13::1", false),
            ("169.254.169.254", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(networks.allow(address(text)), allowed, "{text}");
        }
        for bad in ["", "10.0.0.0/33", "localhost", "10.0.0.0/8,", "10.0.0.0-10.1.0.0"] {
            assert!(bad.parse::<Networks>().unwrap_err().contains("is not a network; use `10.0.0.0/8`"), "{bad}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_checked_in_every_spelling() {
        let networks = Networks::default();
        for url in [
            "http://127.0.0.1/",
            "http://127.1:8080/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://①②⑦.0.0.1/",
        ] {
            assert!(networks.check(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        assert!(networks.check(&Url::parse("https://1.1.1.1/").unwrap()).is_ok());
        assert!(networks.check(&Url::parse("https://example.com/").unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_name_of_a_private_address_is_not_resolved() {
        let resolve = |networks: &str| {
            let networks = if networks.is_empty() { Networks::default() } else { networks.parse().unwrap() };
            Resolver(networks).call("localhost".parse().unwrap())
        };
        let error = resolve("").await.unwrap_err();
        assert!(matches!(error, ResolveError::Private(_)), "{error}");
        let unknown = Resolver(Networks::default()).call("name.invalid".parse().unwrap()).await;
        assert!(matches!(unknown.unwrap_err(), ResolveError::Lookup(_)));
        let mut addresses = resolve("127.0.0.0/8,::1").await.unwrap();
        assert!(addresses.next().unwrap().ip().is_loopback());
    }
}
