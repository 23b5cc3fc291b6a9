//! [`Gauges`]: the metrics of the watched Redis servers.

use super::figures::RedisFigures;
use super::report::RedisReport;
use crate::limits::WATCHED_SERVERS;
use metrics::gauge;
use std::collections::BTreeSet;

/// The servers that have gauges. A gauge cannot be taken away, so that of a server which is gone, or does not tell the
/// figure, becomes NaN: then it is neither shown as the present state nor compared in alerts.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Every label that was ever used: they are bounded, not only those of now.
    labels: BTreeSet<String>,
    told_of_too_many: bool,
}

impl Gauges {
    pub(super) fn show(&mut self, report: &RedisReport) {
        for server in &report.servers {
            if !self.labels.contains(&server.address) {
                if self.labels.len() >= WATCHED_SERVERS {
                    if !std::mem::replace(&mut self.told_of_too_many, true) {
                        tracing::warn!(
                            redis = server.address,
                            "more than {WATCHED_SERVERS} Redis servers have been in use since the start: this one and further \
                             ones have no gauges in the metrics. If addresses change, as in Kubernetes, give Redis names"
                        );
                    }
                    continue;
                }
                self.labels.insert(server.address.clone());
            }
            set(
                &server.address,
                Some(server.figures.is_ok()),
                server.figures.as_ref().unwrap_or(&RedisFigures::default()),
            );
        }
        let is_gone = |label: &&String| !report.servers.iter().any(|server| server.address == **label);
        for label in self.labels.iter().filter(is_gone) {
            set(label, None, &RedisFigures::default());
        }
    }
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.show(&RedisReport::default());
    }
}

fn set(label: &str, answers: Option<bool>, figures: &RedisFigures) {
    let number = |figure: Option<u64>| figure.map_or(f64::NAN, |figure| figure as f64);
    let holds = |figure: Option<bool>| number(figure.map(u64::from));
    let label = || label.to_owned();
    // 0 is not a limit of no bytes.
    let limit =
        |figure: Option<u64>| figure.map_or(f64::NAN, |figure| if figure == 0 { f64::INFINITY } else { figure as f64 });
    gauge!("roomcast_redis_answers", "redis" => label()).set(holds(answers));
    gauge!("roomcast_redis_memory_used_bytes", "redis" => label()).set(number(figures.memory_used));
    gauge!("roomcast_redis_memory_max_bytes", "redis" => label()).set(limit(figures.memory_max));
    gauge!("roomcast_redis_clients", "redis" => label()).set(number(figures.clients));
    gauge!("roomcast_redis_clients_max", "redis" => label()).set(number(figures.clients_max));
    gauge!("roomcast_redis_clients_rejected", "redis" => label()).set(number(figures.clients_rejected));
    gauge!("roomcast_redis_keys_evicted", "redis" => label()).set(number(figures.keys_evicted));
    gauge!("roomcast_redis_output_buffer_bytes", "redis" => label()).set(number(figures.output_buffer));
    gauge!("roomcast_redis_is_primary", "redis" => label()).set(holds(figures.is_primary));
    gauge!("roomcast_redis_replicas", "redis" => label()).set(number(figures.replicas));
}

#[cfg(test)]
mod tests {
    use super::super::report::RedisServer;
    use super::*;
    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// Keeps the last value of each gauge, by name and label.
    #[derive(Default, Clone)]
    struct Recorded(Arc<Mutex<BTreeMap<String, f64>>>);

    struct One(Recorded, String);

    impl GaugeFn for One {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.0.0.lock().insert(self.1.clone(), value);
        }
    }

    impl CounterFn for One {
        fn increment(&self, _: u64) {}
        fn absolute(&self, _: u64) {}
    }

    impl Recorder for Recorded {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
            Gauge::from_arc(Arc::new(One(self.clone(), format!("{} {}", key.name(), labels.join(" ")))))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    impl Recorded {
        fn value(&self, name: &str, label: &str) -> Option<f64> {
            self.0.lock().get(&format!("roomcast_redis_{name} {label}")).copied()
        }
    }

    fn report(addresses: impl IntoIterator<Item = String>) -> RedisReport {
        let figures = || RedisFigures {
            memory_used: Some(7),
            memory_max: Some(0),
            is_primary: Some(true),
            ..RedisFigures::default()
        };
        let server = |address| RedisServer { address, must_be_primary: true, figures: Ok(figures()) };
        RedisReport { servers: addresses.into_iter().map(server).collect(), ..RedisReport::default() }
    }

    #[test]
    fn gauges_follow_the_report_and_do_not_stay() {
        let recorded = Recorded::default();
        metrics::with_local_recorder(&recorded, || {
            let mut gauges = Gauges::default();
            gauges.show(&report(["a:1".to_owned(), "b:1".to_owned()]));
            assert_eq!(recorded.value("memory_used_bytes", "a:1"), Some(7.0));
            assert_eq!(recorded.value("memory_max_bytes", "a:1"), Some(f64::INFINITY));
            assert_eq!((recorded.value("answers", "b:1"), recorded.value("is_primary", "b:1")), (Some(1.0), Some(1.0)));
            assert!(recorded.value("clients", "a:1").unwrap().is_nan(), "it is not told");
            let mut next = report(["b:1".to_owned()]);
            next.servers[0].figures = Err("no".to_owned());
            gauges.show(&next);
            assert!(recorded.value("memory_used_bytes", "a:1").unwrap().is_nan());
            assert!(recorded.value("answers", "a:1").unwrap().is_nan());
            assert_eq!(recorded.value("answers", "b:1"), Some(0.0));
            assert!(recorded.value("memory_used_bytes", "b:1").unwrap().is_nan());
            drop(gauges);
            assert!(recorded.value("answers", "b:1").unwrap().is_nan(), "nobody watches any more");
        });
    }

    #[test]
    fn labels_at_the_limit_and_one_past_it() {
        let recorded = Recorded::default();
        metrics::with_local_recorder(&recorded, || {
            let mut gauges = Gauges::default();
            // One after the other: each is gone when the next one comes.
            for number in 1..=WATCHED_SERVERS + 1 {
                gauges.show(&report([format!("a:{number}")]));
            }
            assert!(recorded.value("answers", &format!("a:{WATCHED_SERVERS}")).is_some());
            assert_eq!(recorded.value("answers", &format!("a:{}", WATCHED_SERVERS + 1)), None);
            gauges.show(&report(["a:1".to_owned()]));
            assert_eq!(recorded.value("answers", "a:1"), Some(1.0), "those that have gauges keep them");
        });
    }
}
