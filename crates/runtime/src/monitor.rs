//! The log for those who ask for it (`sys/monitor`): each hears it at a level and in a format of its own, whatever the
//! process writes. Only what our own modules say is heard: a library that logs the sending of a line would never end.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    reload,
};

use crate::LogFormat;

/// Lines that may wait for a listener; a slow one misses some.
const WAITING: usize = 512;
/// Most listeners at a time.
const MOST: usize = 16;

/// Lines of the log as they come.
pub type Lines = mpsc::Receiver<io::Result<Bytes>>;

struct Listener {
    level: Level,
    format: LogFormat,
    to: mpsc::Sender<io::Result<Bytes>>,
}

static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());

/// What is formatted for them: one filter for each format.
static FILTERS: [OnceLock<reload::Handle<Targets, Registry>>; 2] = [OnceLock::new(), OnceLock::new()];

/// The log from now on, until the receiver is dropped. None if there are too many listeners, or if nothing is logged.
pub fn monitor(level: Level, format: LogFormat) -> Option<Lines> {
    FILTERS[at(format)].get()?;
    let (to, lines) = mpsc::channel(WAITING);
    {
        let mut listeners = listeners();
        listeners.retain(|listener| !listener.to.is_closed());
        if listeners.len() >= MOST {
            return None;
        }
        listeners.push(Listener { level, format, to: to.clone() });
    }
    refilter();
    tokio::spawn(async move {
        to.closed().await;
        listeners().retain(|listener| !listener.to.is_closed());
        refilter();
    });
    Some(lines)
}

/// Ends what all listeners hear, as their connections would keep the process.
pub fn end_monitors() {
    // Each task still holds a sender until its receiver is gone, so the end is said.
    for listener in listeners().drain(..) {
        let _ = listener.to.try_send(Err(io::Error::other("the server stops")));
    }
    refilter();
}

/// The layer of one format, which is quiet until somebody listens.
pub(crate) fn layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let (filter, handle) = reload::Layer::new(Targets::new());
    // A second call finds logging started.
    let _ = FILTERS[at(format)].set(handle);
    match format {
        LogFormat::Text => fmt::layer().with_writer(Tap(format)).with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(Tap(format)).with_filter(filter).boxed(),
    }
}

fn at(format: LogFormat) -> usize {
    match format {
        LogFormat::Text => 0,
        LogFormat::Json => 1,
    }
}

fn listeners() -> MutexGuard<'static, Vec<Listener>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets through what the most curious listener of each format wants.
fn refilter() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let level =
            listeners().iter().filter(|listener| listener.format == format).map(|listener| listener.level).max();
        let targets = Targets::new().with_target("holdfast", level.map_or(LevelFilter::OFF, LevelFilter::from_level));
        if let Some(handle) = FILTERS[at(format)].get() {
            // It fails only when logging has ended.
            let _ = handle.reload(targets);
        }
    }
}

/// Makes writers of lines.
struct Tap(LogFormat);

/// One line.
struct Line {
    format: LogFormat,
    level: Level,
}

impl<'w> MakeWriter<'w> for Tap {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { format: self.0, level: Level::TRACE }
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Line {
        Line { format: self.0, level: *metadata.level() }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bytes = Bytes::copy_from_slice(line);
        for listener in listeners().iter() {
            if listener.format == self.format && self.level <= listener.level {
                // Who does not read in time misses it.
                let _ = listener.to.try_send(Ok(bytes.clone()));
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    async fn next(lines: &mut Lines) -> String {
        let line = tokio::time::timeout(std::time::Duration::from_secs(10), lines.recv()).await.unwrap().unwrap();
        String::from_utf8(line.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_hears_its_level_and_format_and_nothing_of_libraries() {
        let layers = vec![layer(LogFormat::Text), layer(LogFormat::Json)];
        let _logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(layers));
        tracing::error!(target: "holdfast_test", "before anybody listens");
        let mut text = monitor(Level::INFO, LogFormat::Text).unwrap();
        let mut json = monitor(Level::DEBUG, LogFormat::Json).unwrap();
        tracing::error!(target: "hyper", "a library");
        tracing::debug!(target: "holdfast_test", "details");
        tracing::info!(target: "holdfast_test", number = 7, "news");
        let line = next(&mut text).await;
        assert!(line.contains("INFO holdfast_test: news number=7") && line.ends_with('\n'), "{line}");
        assert!(next(&mut json).await.contains("\"message\":\"details\""));
        assert!(next(&mut json).await.contains("\"number\":7"));

        let more: Vec<_> = std::iter::from_fn(|| monitor(Level::ERROR, LogFormat::Text)).take(MOST).collect();
        assert_eq!(more.len(), MOST - 2, "there is an end");
        drop((json, more));
        // Who is gone is forgotten with the next who comes.
        let mut again = monitor(Level::ERROR, LogFormat::Text).unwrap();
        tracing::error!(target: "holdfast_test", "trouble");
        assert!(next(&mut again).await.contains("ERROR holdfast_test: trouble"));
        end_monitors();
        assert!(again.recv().await.unwrap().is_err());
    }
}
