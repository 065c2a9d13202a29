//! `chaos`: seeded runs, as many as are asked for. See docs/linearizability.md.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use holdfast_chaos::{
    cluster::{Mode, Settings},
    etcd::Disk,
    history::Count,
    plan::Plan,
    run::run,
    verdict::build_checker,
};

/// Runs replicas and etcd members under faults and judges what clients saw.
#[derive(Parser)]
struct Arguments {
    /// How many runs.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Seed of the first; the others follow. Default: the time.
    #[arg(long)]
    seed: Option<u64>,
    /// How replicas read.
    #[arg(long, value_enum, default_value = "cached")]
    mode: Mode,
    /// Seconds of faults in a run.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// The server's program.
    #[arg(long)]
    holdfast: PathBuf,
    /// etcd's program.
    #[arg(long, env = "HOLDFAST_ETCD")]
    etcd: PathBuf,
    /// Variables for the replicas, NAME=VALUE.
    #[arg(long)]
    variable: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let tools = tempfile::tempdir()?;
    let checker = build_checker(tools.path()).await?;
    let variables = arguments.variable.iter().map(|text| {
        let (name, value) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let settings = Settings {
        holdfast: arguments.holdfast,
        etcd: arguments.etcd,
        mode: arguments.mode,
        election: Duration::ZERO,
        disk: Disk::Unsynced,
        variables: variables.collect::<anyhow::Result<_>>()?,
    };
    let first = arguments.seed.unwrap_or_else(now);
    let (mut all, mut good, mut void, mut steps) = (Count::default(), 0, 0, 0);
    for seed in first..first + arguments.runs {
        let report = run(&settings, Plan::of(seed, Duration::from_secs(arguments.seconds)), &checker)
            .await
            .with_context(|| format!("seed {seed}"));
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                println!("{error:?}");
                continue;
            }
        };
        print!("{report}");
        good += u64::from(report.is_good());
        void += u64::from(report.is_void());
        steps += report.plan.steps.len();
        all.ok += report.count.ok;
        all.refused += report.count.refused;
        all.unknown += report.count.unknown;
    }
    let Count { ok, refused, unknown } = all;
    println!(
        "{} runs in {:?} mode, seeds {first} to {}: {good} good, {void} void; {steps} faults; {} requests ({ok} done, {refused} \
         refused, {unknown} unknown)",
        arguments.runs,
        settings.mode,
        first + arguments.runs - 1,
        all.total()
    );
    Ok(if good == arguments.runs { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_secs())
}
