//! What barrier and mounts were asked for, by Vault's names: `barrier.*`, `cache.*`, `route.*`. They are counted where they
//! happen and read when somebody wants the metrics. Times have sum and count, without buckets.

use std::{
    fmt,
    sync::{OnceLock, Weak},
    time::Duration,
};

use holdfast_barrier::{Barrier, Figures};
use holdfast_core::Core;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Where the figures are.
#[derive(Default)]
pub struct Asked {
    /// The barrier, once there is one.
    pub barrier: OnceLock<Weak<Barrier>>,
    /// The core, once there is one.
    pub core: OnceLock<Weak<Core>>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl Collector for Asked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let barrier = self.barrier.get().and_then(Weak::upgrade);
        let figures = barrier.and_then(|barrier| barrier.status()).map(|status| status.figures).unwrap_or_default();
        of_barrier(&mut encoder, &figures)?;
        let core = self.core.get().and_then(Weak::upgrade);
        for (name, answered) in core.map(|core| core.routes()).unwrap_or_default() {
            let help = "Milliseconds that a mount took to answer";
            timed(&mut encoder, &format!("vault_{name}"), help, (answered.count, answered.took))?;
        }
        Ok(())
    }
}

fn of_barrier(encoder: &mut DescriptorEncoder<'_>, figures: &Figures) -> fmt::Result {
    for (name, help, calls) in [
        ("get", "Reads of a value; milliseconds of those that the store answered", figures.get),
        ("put", "Milliseconds to write a value", figures.put),
        ("delete", "Milliseconds to delete a value", figures.delete),
        ("list", "Milliseconds to list names", figures.list),
    ] {
        timed(encoder, &format!("vault_barrier_{name}"), help, (calls.count, calls.took))?;
    }
    for (name, help, count) in [
        ("hit", "Reads that memory answered", figures.cache.hits),
        ("miss", "Reads that went to the store", figures.cache.misses),
        ("write", "Values that memory took up", figures.cache.writes),
        ("delete", "Values that went from memory as they were deleted", figures.cache.deletes),
    ] {
        let name = format!("vault_cache_{name}");
        let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
    }
    Ok(())
}

fn timed(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, calls: (u64, Duration)) -> fmt::Result {
    let (count, took) = calls;
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(took.as_secs_f64() * 1000.0, count, &[(f64::MAX, count)], None)
}
