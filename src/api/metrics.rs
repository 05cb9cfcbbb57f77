//! The agent's figures. No label names an app or a person: their number is bounded by the routes.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::deploy::DriftFigures;
use crate::loops::Loops;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Login {
    outcome: &'static str,
}

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    logins: Family<Login, Counter>,
}

impl Metrics {
    /// None yet, of an agent that does these in the background.
    pub fn new(loops: Loops, drift: DriftFigures) -> Self {
        let mut registry = Registry::with_prefix("terreau");
        registry.register_collector(Box::new(Background { loops, drift }));
        let requests = Family::default();
        let seconds = Family::new_with_constructor(
            (|| Histogram::new(exponential_buckets(0.001, 2.0, 16))) as fn() -> Histogram,
        );
        let logins = Family::default();
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent's version", version);
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "Time to the answer's first byte", seconds.clone());
        registry.register("logins", "Logins tried", logins.clone());
        Self { registry, requests, seconds, logins }
    }

    pub(super) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        // A method is whatever a client writes: only the known ones are labels.
        let method =
            if matches!(method, "GET" | "POST" | "PUT" | "DELETE" | "HEAD") { method } else { "other" };
        let (method, route) = (method.to_owned(), route.to_owned());
        self.seconds.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }

    pub(super) fn login(&self, is_good: bool) {
        self.logins.get_or_create(&Login { outcome: if is_good { "accepted" } else { "refused" } }).inc();
    }

    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// What the agent does in the background: when each last went well, how often it failed, and what it saw.
#[derive(Debug)]
struct Background {
    loops: Loops,
    drift: DriftFigures,
}

impl Collector for Background {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let seen = self.loops.seen();
        let help = "When a loop last went round; absent where it rests";
        let gauge = ConstGauge::new(0_i64);
        let mut family = encoder.encode_descriptor(
            "loop_last_success_timestamp_seconds",
            help,
            None,
            gauge.metric_type(),
        )?;
        for l in &seen {
            if let Some(at) = l.last.as_deref().and_then(|at| at.parse::<Timestamp>().ok()) {
                ConstGauge::new(at.as_second()).encode(family.encode_family(&[("loop", &*l.name)])?)?;
            }
        }
        let help = "How often a loop failed";
        let counter = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor("loop_failures", help, None, counter.metric_type())?;
        for l in &seen {
            ConstCounter::new(l.failures).encode(family.encode_family(&[("loop", &*l.name)])?)?;
        }
        let drift = self.drift.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "How many things of apps are not as they were left; told by the agent that leads";
        let mut family = encoder.encode_descriptor("drift", help, None, gauge.metric_type())?;
        for (kind, count) in drift {
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
                .encode(family.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}
