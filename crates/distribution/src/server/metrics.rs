//! Counters, in the text form that Prometheus reads.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};

use super::storage::Collected;

/// Methods that are counted by name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];

/// Upper ends of the times that are told apart, in milliseconds and as Prometheus wants them.
const TIMES: [(u64, &str); 7] = [
    (1, "0.001"),
    (5, "0.005"),
    (25, "0.025"),
    (100, "0.1"),
    (500, "0.5"),
    (2500, "2.5"),
    (10_000, "10"),
];

/// How long answers took to begin.
#[derive(Debug, Default)]
struct Times {
    /// By the first of [`TIMES`] that they fit into; the rest took longer.
    counts: [AtomicU64; TIMES.len() + 1],
    /// All of them together, in microseconds.
    sum: AtomicU64,
}

impl Times {
    fn add(&self, took: Duration) {
        let fits = |(most, _): &(u64, &str)| took <= Duration::from_millis(*most);
        let place = TIMES.iter().position(fits).unwrap_or(TIMES.len());
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str) -> fmt::Result {
        writeln!(text, "# TYPE {name} histogram")?;
        let mut all = 0;
        let ends = TIMES.iter().map(|(_, end)| *end).chain(["+Inf"]);
        for (count, end) in self.counts.iter().zip(ends) {
            all += count.load(Ordering::Relaxed);
            writeln!(text, "{name}_bucket{{le=\"{end}\"}} {all}")?;
        }
        let sum = Duration::from_micros(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        writeln!(text, "{name}_sum {sum}\n{name}_count {all}")
    }
}

/// What is counted of things that succeed or fail.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Outcomes {
    pub(crate) fn add<T, E>(&self, result: &Result<T, E>) {
        let counter = match result {
            Ok(_) => &self.done,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str) -> fmt::Result {
        writeln!(text, "# TYPE {name} counter")?;
        for (result, counter) in [("done", &self.done), ("failed", &self.failed)] {
            let number = counter.load(Ordering::Relaxed);
            writeln!(text, "{name}{{result=\"{result}\"}} {number}")?;
        }
        Ok(())
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    times: Times,
    /// Of blobs that came from upstreams.
    pub(crate) fetches: Arc<Outcomes>,
    collections: Outcomes,
    /// Bytes that they freed.
    collected: AtomicU64,
    /// Answers by method and the first digit of their status.
    answers: [[AtomicU64; 6]; METHODS.len()],
    under_way: AtomicU64,
    connections: AtomicU64,
}

/// Counts one down when it is dropped.
pub(crate) struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64) -> Counted<'_> {
    counter.fetch_add(1, Ordering::Relaxed);
    Counted(counter)
}

impl Metrics {
    pub(crate) fn request(&self) -> Counted<'_> {
        count(&self.under_way)
    }

    pub(crate) fn connection(&self) -> Counted<'_> {
        count(&self.connections)
    }

    pub(crate) fn collected<E>(&self, result: &Result<Collected, E>) {
        self.collections.add(result);
        if let Ok(collected) = result {
            self.collected.fetch_add(collected.bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        self.times.add(took);
        let row = METHODS
            .iter()
            .position(|name| *name == method.as_str())
            .unwrap_or(METHODS.len() - 1);
        let column = usize::from(status.as_u16() / 100).min(5);
        self.answers[row][column].fetch_add(1, Ordering::Relaxed);
    }

    /// All of it; `lost` are events that no webhook could be told.
    pub(crate) fn text(&self, lost: u64) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        self.write(&mut text, lost).ok();
        text
    }

    fn write(&self, text: &mut String, lost: u64) -> fmt::Result {
        let name = "barque_registry_requests_total";
        writeln!(text, "# TYPE {name} counter")?;
        for (method, row) in METHODS.iter().zip(&self.answers) {
            for (class, counter) in row.iter().enumerate() {
                let number = counter.load(Ordering::Relaxed);
                if number > 0 {
                    let labels = format!("method=\"{method}\",status=\"{class}xx\"");
                    writeln!(text, "{name}{{{labels}}} {number}")?;
                }
            }
        }
        self.times.write(text, "barque_registry_request_seconds")?;
        for (name, gauge) in [
            ("barque_registry_requests_under_way", &self.under_way),
            ("barque_registry_connections", &self.connections),
        ] {
            let number = gauge.load(Ordering::Relaxed);
            writeln!(text, "# TYPE {name} gauge\n{name} {number}")?;
        }
        self.fetches
            .write(text, "barque_registry_upstream_blobs_total")?;
        self.collections
            .write(text, "barque_registry_collections_total")?;
        let freed = self.collected.load(Ordering::Relaxed);
        for (name, number) in [
            ("barque_registry_collected_bytes_total", freed),
            ("barque_registry_events_lost_total", lost),
        ] {
            writeln!(text, "# TYPE {name} counter\n{name} {number}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        for millis in [0, 1, 3, 30, 60_000] {
            let took = Duration::from_millis(millis);
            metrics.answered(&Method::GET, StatusCode::OK, took);
        }
        let text = metrics.text(2);
        let name = "barque_registry_request_seconds";
        for line in [
            "_bucket{le=\"0.001\"} 2",
            "_bucket{le=\"0.005\"} 3",
            "_bucket{le=\"0.1\"} 4",
            "_bucket{le=\"10\"} 4",
            "_bucket{le=\"+Inf\"} 5",
            "_sum 60.034",
            "_count 5",
        ] {
            assert!(text.contains(&format!("{name}{line}\n")), "{line}: {text}");
        }
        assert!(text.ends_with("barque_registry_events_lost_total 2\n"));
    }
}
