//! How the devices do, in numbers.

use std::time::Duration;

use holdfast_audit::{Observer, Stage};

use crate::metrics::AuditMetrics;

impl Observer for AuditMetrics {
    fn wrote(&self, device: &str, stage: Stage, ok: bool, took: Duration) {
        self.entry(device, stage == Stage::Request, ok, took);
    }

    fn health(&self, device: &str, up: bool) {
        self.up(device, up);
    }

    fn gone(&self, device: &str) {
        self.forget(device);
    }
}
