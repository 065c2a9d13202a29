//! Waiting for a condition, never for luck.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Until it gives something, at most a minute.
pub async fn eventually<T, F: Future<Output = Result<Option<T>>>>(what: &str, check: impl FnMut() -> F) -> Result<T> {
    eventually_within(Duration::from_secs(60), what, check).await
}

/// Until it gives something; the last error is told when time is up.
pub async fn eventually_within<T, F: Future<Output = Result<Option<T>>>>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let outcome = check().await;
        if let Ok(Some(value)) = outcome {
            return Ok(value);
        }
        if start.elapsed() > limit {
            match outcome {
                Err(error) => return Err(error).with_context(|| format!("{what}: not within {limit:?}")),
                Ok(_) => bail!("{what}: not within {limit:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
