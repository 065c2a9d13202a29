//! A device that hangs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use holdfast_audit::{Broker, Device, Record, RequestEntry, ResponseEntry, Sink, SinkError, Stage};
use tokio::{sync::Semaphore, time::Instant};

use crate::spec;

/// Answers only when it has permits.
struct Gate(Arc<Semaphore>);

#[async_trait]
impl Sink for Gate {
    async fn write(&self, _: Record) -> Result<(), SinkError> {
        self.0.acquire().await.map_err(|_| SinkError::Ended)?.forget();
        Ok(())
    }

    async fn reopen(&self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn gated(name: &str, permits: usize) -> (Device, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(permits));
    let spec = spec(name, std::path::Path::new("discard"), &[]);
    (Device::with_sink(&spec, Arc::new(Gate(gate.clone()))).unwrap(), gate)
}

#[tokio::test(start_paused = true)]
async fn a_hanging_device_is_waited_for_once() {
    let broker = Broker::new(Duration::from_secs(5), Arc::new(()));
    let (device, hanging) = gated("hanging", 0);
    broker.insert(device).unwrap();
    let start = Instant::now();
    let error = broker.log_request(&RequestEntry::default()).await.unwrap_err();
    assert_eq!(error.stage, Stage::Request);
    assert_eq!(start.elapsed(), Duration::from_secs(5), "alone it fails, but not for ever");

    broker.insert(gated("good", 1000).0).unwrap();
    let start = Instant::now();
    broker.log_response(&ResponseEntry::default()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "known to hang: not waited for");

    hanging.add_permits(1000);
    tokio::time::sleep(Duration::from_millis(1)).await;
    hanging.forget_permits(1000);
    let start = Instant::now();
    broker.log_request(&RequestEntry::default()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(500), "it answered, so it counts again, but not for long");
}

fn required(name: &str, permits: usize) -> (Device, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(permits));
    let spec = spec(name, std::path::Path::new("discard"), &[("required", "true")]);
    (Device::with_sink(&spec, Arc::new(Gate(gate.clone()))).unwrap(), gate)
}

#[tokio::test(start_paused = true)]
async fn required_devices_must_have_it_and_others_are_not_waited_for() {
    let broker = Broker::new(Duration::from_secs(5), Arc::new(()));
    broker.insert(gated("best-effort", 0).0).unwrap();
    let (first, permits) = required("first", 1000);
    broker.insert(first).unwrap();
    let start = Instant::now();
    broker.log_request(&RequestEntry::default()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    // One that accepts is not enough when another must.
    broker.insert(required("second", 0).0).unwrap();
    let start = Instant::now();
    let error = broker.log_response(&ResponseEntry::default()).await.unwrap_err();
    assert!(error.to_string().contains("second/"), "{error}");
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert!(broker.disable("second"));
    permits.forget_permits(1000);
    broker.insert(gated("good", 1000).0).unwrap();
    broker.log_request(&RequestEntry::default()).await.unwrap_err();
}

#[tokio::test]
async fn without_devices_everything_passes() {
    Broker::default().log_request(&RequestEntry::default()).await.unwrap();
}
