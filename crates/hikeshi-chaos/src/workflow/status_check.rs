//! A StatusCheck: a probe by HTTP between the steps of a Workflow.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::check::Check;
use crate::words::Words;

/// A probe by HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusCheck {
    /// Synchronous (until it has succeeded or failed once) or Continuous (until it fails or its time is up).
    #[serde(default)]
    pub mode: Mode,
    #[serde(rename = "type")]
    pub kind: String,
    /// A Go duration; both modes.
    pub duration: Option<String>,
    pub timeout_seconds: Option<u64>,
    pub failure_threshold: Option<u64>,
    pub success_threshold: Option<u64>,
    pub interval_seconds: Option<u64>,
    /// How many answers the status remembers.
    pub records_history_limit: Option<u64>,
    pub http: Option<Http>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    #[default]
    Synchronous,
    Continuous,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Http {
    /// `http://SERVICE.NAMESPACE[.svc...]:PORT/PATH` of the cluster.
    pub url: String,
    pub method: Option<String>,
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    pub body: Option<String>,
    pub criteria: Criteria,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Criteria {
    /// `200`, or a range `200-299`.
    pub status_code: String,
}

/// Where a StatusCheck's request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    pub service: String,
    /// `None`: the workflow's own.
    pub namespace: Option<String>,
    pub port: u16,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl Http {
    /// The Service behind the URL.
    pub fn service(&self) -> Result<ServiceUrl, Words> {
        let url = &self.url;
        let because = |ja: &str, en: &str| {
            Words::new(
                format!("{url:?} は http://SERVICE.NAMESPACE:PORT/PATH の形ではありません{ja}"),
                format!("{url:?} is not like http://SERVICE.NAMESPACE:PORT/PATH{en}"),
            )
        };
        let wrong = || because("", "");
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            because(
                "。Service には平文の HTTP で問い合わせます",
                "; services are asked over plain HTTP",
            )
        })?;
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
            None => (host, 80),
        };
        let mut parts = name.split('.');
        let service = parts.next().filter(|part| !part.is_empty()).ok_or_else(wrong)?;
        let namespace = parts.next().map(str::to_owned);
        // Beyond the namespace only the cluster's own domain may follow.
        let rest: Vec<&str> = parts.collect();
        let numeric = service.chars().all(|c| c.is_ascii_digit());
        if numeric || !(rest.is_empty() || rest == ["svc"] || rest == ["svc", "cluster", "local"]) {
            return Err(because(
                "。問い合わせられるのはクラスターの Service だけです",
                "; only the cluster's own Services can be asked",
            ));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(ServiceUrl {
            service: service.to_owned(),
            namespace,
            port,
            path,
        })
    }
}

impl Criteria {
    /// The status codes that are well, both ends included.
    pub fn codes(&self) -> Result<(u16, u16), Words> {
        let wrong = || {
            let said = &self.status_code;
            Words::new(
                format!("{said:?} はステータスでも 200-299 のような範囲でもありません"),
                format!("{said:?} is neither a status code nor a range such as 200-299"),
            )
        };
        let code = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|code| (100..=999).contains(code))
        };
        let (low, high) = self
            .status_code
            .split_once('-')
            .unwrap_or((&self.status_code, &self.status_code));
        match (code(low), code(high)) {
            (Some(low), Some(high)) if low <= high => Ok((low, high)),
            _ => Err(wrong()),
        }
    }
}

/// Chaos Mesh's bounds of a StatusCheck's numbers.
pub(super) fn bounds(check: &mut Check, at: &str, probe: &StatusCheck) {
    for (name, number) in [
        ("timeoutSeconds", probe.timeout_seconds),
        ("failureThreshold", probe.failure_threshold),
        ("successThreshold", probe.success_threshold),
        ("intervalSeconds", probe.interval_seconds),
        ("recordsHistoryLimit", probe.records_history_limit),
    ] {
        if number == Some(0) {
            check.add(
                format!("{at}.{name}"),
                ("1 以上でなければなりません", "must be at least 1"),
            );
        }
    }
    if probe.records_history_limit.is_some_and(|most| most > 1_000) {
        check.add(
            format!("{at}.recordsHistoryLimit"),
            ("1000 以下でなければなりません", "must be at most 1000"),
        );
    }
}
