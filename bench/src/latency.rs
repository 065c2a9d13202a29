//! What came of a run.

use std::time::Duration;

/// How long each request took.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds those of one task.
    pub fn add(&mut self, task: Vec<Duration>) {
        self.0.extend(task);
    }

    /// `requests/s p50 p99`, the latter in ms, for `each` things done per request.
    pub fn summary(mut self, time: Duration, each: usize) -> String {
        self.0.sort_unstable();
        let at = |percent: usize| self.0.get(self.0.len() * percent / 100).map_or(0.0, Duration::as_secs_f64) * 1e3;
        let rate = self.0.len() as f64 * each as f64 / time.as_secs_f64();
        format!("{rate:.0} {:.2} {:.2}", at(50), at(99))
    }
}
