//! Signals that people send to an agent without a program: HUP reads everything again, USR1 tells the state to the log, USR2
//! replaces every credential.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// SIGHUP.
    ReadAgain,
    /// SIGUSR1.
    TellState,
    /// SIGUSR2.
    Rotate,
}

/// The signals; none where a program gets them.
#[derive(Default)]
pub struct Nudges(Option<[Signal; 3]>);

impl Nudges {
    /// Takes the signals. What cannot be taken is nothing to fail for.
    pub fn new() -> Self {
        let take = |kind| signal(kind).ok();
        let all = (take(SignalKind::hangup()), take(SignalKind::user_defined1()), take(SignalKind::user_defined2()));
        match all {
            (Some(hangup), Some(first), Some(second)) => Self(Some([hangup, first, second])),
            _ => Self(None),
        }
    }

    /// The next one.
    pub async fn next(&mut self) -> Nudge {
        let Some([hangup, first, second]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = hangup.recv() => Nudge::ReadAgain,
            _ = first.recv() => Nudge::TellState,
            _ = second.recv() => Nudge::Rotate,
        }
    }
}
