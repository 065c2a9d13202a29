//! Mutants: each protocol made wrong on purpose must be caught by a test. The test runs in a process of its own, once with
//! the mutation and once without: the first must fail, the second pass.
//!
//! A crate with mutations names them, and the tests, in one place: [`mutants!`](crate::mutants!).

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Processes at a time: they wait more than they work.
const AT_ONCE: usize = 4;
/// A test that takes longer has neither passed nor failed.
const LONGEST: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);

/// A mutation, `mutant.…`, and the full name of the test of this program that fails with it.
pub type Mutant = (&'static str, &'static str);

/// The tests of a crate with mutations: `mutants! { "mutant.name" => "module::the_test_that_fails_with_it" }`. One proves
/// that each is caught, the other that none in the crate's `src` was left out. The caller has `tempfile`.
#[macro_export]
macro_rules! mutants {
    ($($name:literal => $test:literal),+ $(,)?) => {
        const MUTANTS: &[$crate::mutants::Mutant] = &[$(($name, $test)),+];

        #[test]
        fn each_is_caught() {
            let folder = tempfile::tempdir().unwrap();
            let wrong = $crate::mutants::not_caught(folder.path(), MUTANTS).unwrap();
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }

        #[test]
        fn each_has_a_test() {
            let sources = ::std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
            let tried = MUTANTS.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!($crate::mutants::in_sources(&sources).unwrap(), tried);
        }
    };
}

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    /// There is no such test, or it did not end in time.
    Neither,
}

/// Tries all mutants in this test program. What is not as it should be, one line each. Files go to `folder`.
pub fn not_caught(folder: &Path, mutants: &[Mutant]) -> io::Result<Vec<String>> {
    let program = std::env::current_exe()?;
    let mut trials = Vec::new();
    for (name, test) in mutants {
        let (plain, armed) = (folder.join(format!("without-{name}")), folder.join(format!("with-{name}")));
        fs::create_dir_all(&plain)?;
        fs::create_dir_all(&armed)?;
        fs::write(armed.join(name), "")?;
        trials.push((plain, *name, *test, End::Passed));
        trials.push((armed, *name, *test, End::Failed));
    }
    let (left, wrong) = (Mutex::new(trials), Mutex::new(Vec::new()));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let tell = |line| wrong.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((folder, name, test, expected)) = next() {
                    match run(&program, &folder, test) {
                        Ok((end, _)) if end == expected => {}
                        Ok((end, said)) => tell(format!("{name}: {test}: {end:?}, not {expected:?}\n{said}")),
                        Err(error) => tell(format!("{name}: {test}: {error}")),
                    }
                }
            });
        }
    });
    Ok(wrong.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// All names of mutations in the Rust files below a folder.
pub fn in_sources(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut in_sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let names = text.split("switched!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.filter(|name| name.starts_with("mutant.")).map(str::to_owned));
        }
    }
    Ok(found)
}

/// Runs one test with the failpoints of a folder: how it ended, and what it said.
fn run(program: &Path, folder: &Path, test: &str) -> io::Result<(End, String)> {
    let log: PathBuf = folder.with_added_extension("log");
    let file = fs::File::create(&log)?;
    let mut child = Command::new(program)
        .args([test, "--exact", "--test-threads=1"])
        .env(super::FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let deadline = Instant::now() + LONGEST;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(LOOK),
        }
    };
    let mut said = fs::read_to_string(&log)?;
    let end = match status {
        Some(status) if status.success() && said.contains(" 1 passed") => End::Passed,
        Some(status) if !status.success() && said.contains(" 1 failed") => End::Failed,
        status => {
            let _ = write!(said, "\nended with {status:?}");
            End::Neither
        }
    };
    Ok((end, said))
}
