//! Counters, in the text form that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Method, StatusCode};

/// Methods that are counted by name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
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

    pub(crate) fn answered(&self, method: &Method, status: StatusCode) {
        let row = METHODS
            .iter()
            .position(|name| *name == method.as_str())
            .unwrap_or(METHODS.len() - 1);
        let column = usize::from(status.as_u16() / 100).min(5);
        self.answers[row][column].fetch_add(1, Ordering::Relaxed);
    }

    /// All of it; `lost` are events that no webhook could be told.
    pub(crate) fn text(&self, lost: u64) -> String {
        let mut text = String::from("# TYPE barque_registry_requests_total counter\n");
        for (method, row) in METHODS.iter().zip(&self.answers) {
            for (class, counter) in row.iter().enumerate() {
                let number = counter.load(Ordering::Relaxed);
                if number > 0 {
                    // Writing to a `String` cannot fail.
                    writeln!(
                        text,
                        "barque_registry_requests_total{{method=\"{method}\",status=\"{class}xx\"}} {number}"
                    )
                    .ok();
                }
            }
        }
        for (name, gauge) in [
            ("barque_registry_requests_under_way", &self.under_way),
            ("barque_registry_connections", &self.connections),
        ] {
            let number = gauge.load(Ordering::Relaxed);
            writeln!(text, "# TYPE {name} gauge\n{name} {number}").ok();
        }
        let name = "barque_registry_events_lost_total";
        writeln!(text, "# TYPE {name} counter\n{name} {lost}").ok();
        text
    }
}
