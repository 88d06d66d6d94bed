//! NetworkChaos' `externalTargets`: the other end by its address or name instead of by labels. Pods reach nothing outside the
//! cluster, so what is external to the selection is still in it: a pod's or a Service's address, or a name that the
//! cluster's DNS knows.

use core::net::Ipv4Addr;

use crate::words::Words;

/// The embedded cluster's networks: of pods, and of Services.
pub const NETWORKS: [Network; 2] = [
    Network::new(Ipv4Addr::new(127, 64, 0, 0), 16),
    Network::new(Ipv4Addr::new(127, 96, 0, 0), 16),
];

/// The addresses that share their first `bits` bits with `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: Ipv4Addr,
    bits: u8,
}

impl Network {
    const fn new(base: Ipv4Addr, bits: u8) -> Self {
        Self { base, bits }
    }

    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.bits))
            .unwrap_or_default();
        u32::from(ip) & mask == u32::from(self.base) & mask
    }

    fn meets(&self, other: &Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

/// One entry, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// Whoever has an address in it, and whoever is behind a Service that has.
    Network(Network),
    /// Whoever is behind a Service; without a namespace, that of the experiment.
    Service { name: String, namespace: Option<String> },
    /// One pod of a headless Service.
    Pod { name: String, namespace: String },
}

const SUFFIX: &str = ".cluster.local";

impl External {
    /// `127.96.0.7`, `127.64.0.0/24`, `postgres`, `postgres.chirpy`, `postgres.chirpy.svc.cluster.local`,
    /// `redis-cluster-2.redis-cluster.chirpy.svc`.
    ///
    /// # Errors
    /// What the entry must be, when it is none of these.
    pub fn read(text: &str) -> Result<Self, Words> {
        if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'/'))
        {
            return network(text).map(Self::Network);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let name = name.strip_suffix(SUFFIX).unwrap_or(name);
        let labels: Vec<&str> = name.split('.').collect();
        if !labels.iter().all(|label| is_label(label)) {
            return Err(Words::new(
                format!("{text} はアドレスでも DNS 名でもありません"),
                format!("{text} is neither an address nor a DNS name"),
            ));
        }
        let own = |text: &str| text.to_owned();
        match labels.as_slice() {
            [name] => Ok(Self::Service {
                name: own(name),
                namespace: None,
            }),
            [name, namespace] | [name, namespace, "svc"] => Ok(Self::Service {
                name: own(name),
                namespace: Some(own(namespace)),
            }),
            [name, _service, namespace, "svc"] => Ok(Self::Pod {
                name: own(name),
                namespace: own(namespace),
            }),
            _ => Err(outside(text)),
        }
    }
}

fn network(text: &str) -> Result<Network, Words> {
    let (base, bits) = text.split_once('/').unwrap_or((text, "32"));
    let read = base
        .parse()
        .ok()
        .zip(bits.parse().ok().filter(|bits| *bits <= 32));
    let (base, bits) = read.ok_or_else(|| {
        Words::new(
            format!("{text} は IPv4 アドレスでも CIDR でもありません"),
            format!("{text} is no IPv4 address, nor a range such as 127.64.0.0/24"),
        )
    })?;
    let read = Network::new(base, bits);
    match NETWORKS.iter().any(|known| known.meets(&read)) {
        true => Ok(read),
        false => Err(outside(text)),
    }
}

fn outside(text: &str) -> Words {
    Words::new(
        format!(
            "{text} はクラスターの外です。Pod はクラスターの外に出られません。Pod か Service のアドレスか名前 (例: postgres.chirpy) を書いてください"
        ),
        format!(
            "{text} is outside the cluster, which pods cannot leave; name a pod's or a Service's address or name, such as \
             postgres.chirpy"
        ),
    )
}

/// RFC 1123.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, namespace: Option<&str>) -> External {
        External::Service {
            name: name.into(),
            namespace: namespace.map(Into::into),
        }
    }

    #[test]
    fn names_of_services_and_of_pods_are_read_in_every_length() {
        for (text, read) in [
            ("postgres", service("postgres", None)),
            ("postgres.chirpy", service("postgres", Some("chirpy"))),
            ("postgres.chirpy.svc", service("postgres", Some("chirpy"))),
            (
                "postgres.chirpy.svc.cluster.local.",
                service("postgres", Some("chirpy")),
            ),
            (
                "redis-cluster-2.redis-cluster.chirpy.svc.cluster.local",
                External::Pod {
                    name: "redis-cluster-2".into(),
                    namespace: "chirpy".into(),
                },
            ),
        ] {
            assert_eq!(External::read(text), Ok(read), "{text}");
        }
    }

    #[test]
    fn addresses_are_the_clusters_own() {
        let External::Network(network) = External::read("127.64.3.0/24").unwrap() else {
            panic!("no network")
        };
        assert!(network.contains(Ipv4Addr::new(127, 64, 3, 9)));
        assert!(!network.contains(Ipv4Addr::new(127, 64, 4, 9)));
        // A range around the cluster's is one that meets it.
        for text in ["127.96.0.7", "0.0.0.0/0", "127.0.0.0/8"] {
            assert!(External::read(text).is_ok(), "{text}");
        }
        for text in [
            "10.0.0.1",
            "8.8.8.0/24",
            "example.com.org.net",
            "api.example.co.jp",
        ] {
            let words = External::read(text).unwrap_err().to_string();
            assert!(words.contains("outside the cluster"), "{text}: {words}");
        }
        for text in ["127.64.0", "127.64.0.1/40", "1/2/3", "Postgres", "a_b", ""] {
            let words = External::read(text).unwrap_err().to_string();
            assert!(!words.contains("outside"), "{text}: {words}");
        }
    }
}
