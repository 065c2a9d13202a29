//! The chain: an honest end is no alarm, and nothing can be done to a log that is not found.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use holdfast_audit::*;
use holdfast_base::ManualClock;
use holdfast_secret::SecretBytes;
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::spec;

fn signer() -> Arc<Signer> {
    Arc::new(Signer::new(&SecretBytes::new(vec![9; 32])).unwrap())
}

fn key(epoch: u64) -> SecretBytes {
    SecretBytes::new(vec![u8::try_from(epoch).unwrap(); 32])
}

struct World {
    folder: tempfile::TempDir,
    heads: Vec<Head>,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), heads: Vec::new() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// Opens the device anew, writes so many entries, and closes it.
    async fn epoch(&mut self, epoch: u64, entries: usize) {
        let (heads, mut told) = mpsc::unbounded_channel();
        let mut spec = spec("file", &self.file(), &[("sync", "none")]);
        spec.chain = Some(ChainSpec {
            id: ChainId { node: "n".to_owned(), device: "file/".to_owned(), epoch: epoch.to_string() },
            key: key(epoch),
            signer: Some(signer()),
            clock: Arc::new(ManualClock::new(format!("2026-01-01T00:00:{epoch:02}Z").parse().unwrap())),
            heads,
            stored: self.heads.last().cloned(),
        });
        let broker = Broker::default();
        broker.insert(Device::open(spec).unwrap()).unwrap();
        for n in 0..entries {
            let id = format!("{epoch}-{n}");
            let request = Request { id: &id, ..Request::default() };
            broker.log_request(&RequestEntry { request, ..RequestEntry::default() }).await.unwrap();
        }
        drop(broker);
        // The thread ends after its last checkpoint, and with it the channel.
        let mut last = None;
        while let Some(head) = told.recv().await {
            last = Some(head);
        }
        self.heads.extend(last);
    }

    fn known(&self, log: &Log) -> Known {
        let mut wrong = BTreeSet::new();
        for id in log.chains() {
            let mut check = MacCheck::new(&key(id.epoch.parse().unwrap())).unwrap();
            for proof in log.proofs(&id) {
                if !check.holds(proof.seq, &proof.digest, &proof.mac) {
                    wrong.insert(proof.line);
                }
            }
        }
        Known { public_key: Some(signer().public_key()), heads: self.heads.clone(), wrong, partial: false }
    }

    fn verify(&self, files: &[PathBuf]) -> Report {
        let log = Log::read(files).unwrap();
        log.verify(&self.known(&log))
    }
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn write(file: &Path, lines: &[String]) {
    fs::write(file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[tokio::test]
async fn restarts_and_rotations_verify() {
    let mut world = World::new();
    world.epoch(1, 5).await;
    world.epoch(2, 2500).await;
    let report = world.verify(&[world.file()]);
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.chains.len(), 2);
    // 2,500 entries, the start, checkpoints after each 1,000 lines, and the last one.
    assert_eq!((report.chains[1].last, report.chains[1].signed), (2504, 2503));
    let old = world.folder.path().join("audit.log.1");
    fs::rename(world.file(), &old).unwrap();
    world.epoch(3, 5).await;
    // In any order.
    assert!(world.verify(&[world.file(), old.clone()]).ok);
    // The older file may be gone by age, the newer one must not.
    let newest = world.verify(&[world.file()]);
    assert!(newest.ok && newest.notes[0].contains("not in these files"), "{newest:#?}");
    let oldest = world.verify(&[old]);
    assert_eq!(oldest.findings[0].kind, Kind::Missing, "{oldest:#?}");
}

#[tokio::test]
async fn without_the_server_the_public_key_finds_what_was_signed() {
    let mut world = World::new();
    world.epoch(1, 20).await;
    let file = world.file();
    let known = || Known { public_key: Some(signer().public_key()), ..Known::default() };
    assert!(Log::read(&[&file]).unwrap().verify(&known()).ok);
    let mut all = lines(&file);
    all[7] = all[7].replace("1-6", "1-7");
    write(&file, &all);
    let report = Log::read(&[&file]).unwrap().verify(&known());
    assert_eq!((report.findings[0].kind, report.findings[0].line, report.findings[0].seq), (Kind::Changed, 8, 8));
    let other =
        Known { public_key: PublicKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), ..Known::default() };
    assert!(Log::read(&[&file]).unwrap().verify(&other).findings.iter().any(|f| f.kind == Kind::Unsigned));
}

#[tokio::test]
async fn a_torn_last_line_is_no_alarm() {
    let mut world = World::new();
    world.epoch(1, 5).await;
    // Killed in the middle of a line that nobody had been answered for; the last checkpoint never came.
    let all = lines(&world.file());
    let torn = all[..4].join("\n") + "\n" + &all[4][..100];
    fs::write(world.file(), torn).unwrap();
    world.heads = Vec::new();
    let report = world.verify(&[world.file()]);
    assert!(report.ok && report.notes[0].contains("unfinished"), "{report:#?}");
    world.epoch(2, 5).await;
    let report = world.verify(&[world.file()]);
    assert!(report.ok && report.notes[0].contains("unfinished"), "{report:#?}");
    // What looks like it and is not told by the next start is one.
    let mut all = lines(&world.file());
    all[4].push('x');
    write(&world.file(), &all);
    assert!(!world.verify(&[world.file()]).ok);
}

#[tokio::test]
async fn both_places_of_a_line_that_stands_twice_are_named() {
    let mut world = World::new();
    world.epoch(1, 3).await;
    world.epoch(2, 3).await;
    let mut all = lines(&world.file());
    let start = all.iter().rposition(|line| line.contains("\"type\":\"start\"")).unwrap();
    all.insert(0, all[start].clone());
    write(&world.file(), &all);
    let report = world.verify(&[world.file()]);
    let twice = report.findings.iter().filter(|finding| finding.kind == Kind::Repeated);
    assert_eq!(twice.map(|finding| finding.line).collect::<Vec<_>>(), [1, start + 2], "{report:#?}");
}

#[tokio::test]
async fn a_cut_end_is_found_by_what_the_server_stored() {
    let mut world = World::new();
    world.epoch(1, 30).await;
    let all = lines(&world.file());
    write(&world.file(), &all[..20]);
    let report = world.verify(&[world.file()]);
    let finding = &report.findings[0];
    assert_eq!((finding.kind, finding.line, finding.seq), (Kind::Truncated, 20, 32), "{report:#?}");
    // Cut and gone on: the next start sees the short end, the stored head does not fit.
    world.epoch(2, 3).await;
    assert!(!world.verify(&[world.file()]).ok);
}

#[tokio::test]
async fn a_file_that_was_cut_while_open_goes_on_with_a_mark() {
    let mut world = World::new();
    world.epoch(1, 3).await;
    let (heads, _told) = mpsc::unbounded_channel();
    let mut spec = spec("file", &world.file(), &[]);
    let id = ChainId { node: "n".to_owned(), device: "file/".to_owned(), epoch: "2".to_owned() };
    let clock = Arc::new(ManualClock::new("2026-01-01T00:00:02Z".parse().unwrap()));
    spec.chain = Some(ChainSpec { id, key: key(2), signer: Some(signer()), clock, heads, stored: None });
    let broker = Broker::default();
    broker.insert(Device::open(spec).unwrap()).unwrap();
    broker.log_request(&RequestEntry::default()).await.unwrap();
    fs::write(world.file(), "").unwrap();
    broker.log_request(&RequestEntry::default()).await.unwrap();
    let report = world.verify(&[world.file()]);
    assert_eq!(lines(&world.file()).len(), 2);
    assert!(report.notes.iter().any(|note| note.contains("begins with line 3")), "{report:#?}");
    fs::remove_file(world.file()).unwrap();
    broker.log_request(&RequestEntry::default()).await.unwrap();
    assert!(lines(&world.file())[0].contains("\"type\":\"rotate\""));
}

/// What somebody may do to a file.
#[derive(Clone, Debug)]
enum Deed {
    Edit(usize, usize),
    Delete(usize),
    DeleteMany(usize, usize),
    Insert(usize),
    Forge(usize),
    Swap(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let at = 0usize..10_000;
    prop_oneof![
        (at.clone(), at.clone()).prop_map(|(line, place)| Deed::Edit(line, place)),
        at.clone().prop_map(Deed::Delete),
        (at.clone(), 2usize..40).prop_map(|(line, many)| Deed::DeleteMany(line, many)),
        at.clone().prop_map(Deed::Insert),
        at.clone().prop_map(Deed::Forge),
        (at.clone(), at.clone()).prop_map(|(one, other)| Deed::Swap(one, other)),
        (at.clone(), at.clone()).prop_map(|(one, other)| Deed::Repeat(one, other)),
        at.prop_map(Deed::Cut),
    ]
}

/// Does it; the line (from 1 on) near which it must be found.
fn done(deed: &Deed, lines: &mut Vec<String>) -> Option<usize> {
    let count = lines.len();
    match *deed {
        Deed::Edit(line, place) => {
            let (line, text) = (line % count, lines[line % count].clone());
            let mut bytes = text.into_bytes();
            let place = place % bytes.len();
            bytes[place] = if bytes[place] == b'7' { b'8' } else { b'7' };
            lines[line] = String::from_utf8(bytes).ok()?;
            Some(line + 1)
        }
        Deed::Delete(line) => {
            lines.remove(line % count);
            Some(line % count + 1)
        }
        Deed::DeleteMany(line, many) => {
            let line = line % count;
            lines.drain(line..(line + many).min(count));
            Some(line + 1)
        }
        Deed::Insert(line) => {
            lines.insert(line % count, r#"{"time":"2026-01-01T00:00:00Z","type":"request"}"#.to_owned());
            Some(line % count + 1)
        }
        Deed::Forge(line) => {
            let copy = lines[line % count].replace("\"request\"", "\"response\"");
            lines.insert(line % count, copy);
            Some(line % count + 1)
        }
        Deed::Swap(one, other) => {
            let (one, other) = (one % count, other % count);
            lines.swap(one, other);
            (one != other).then_some(one.min(other) + 1)
        }
        Deed::Repeat(one, other) => {
            let copy = lines[one % count].clone();
            lines.insert(other % count, copy);
            Some(other % count + 1)
        }
        Deed::Cut(line) => {
            lines.truncate(line % count);
            Some(lines.len())
        }
    }
}

#[test]
fn whatever_is_done_to_a_log_is_found_near_the_place() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut world = World::new();
    runtime.block_on(async {
        world.epoch(1, 40).await;
        world.epoch(2, 1100).await;
        world.epoch(3, 20).await;
    });
    let whole = lines(&world.file());
    assert!(world.verify(&[world.file()]).ok);
    proptest!(ProptestConfig::with_cases(200), |(deed in deed())| {
        let mut lines = whole.clone();
        let Some(place) = done(&deed, &mut lines) else { return Ok(()) };
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let log = Log::of(vec![("audit.log".to_owned(), text.into_bytes())]);
        let report = log.verify(&world.known(&log));
        prop_assert!(!report.ok, "{deed:?} was not found");
        let distance = report.findings.iter().map(|finding| finding.line.abs_diff(place)).min().unwrap();
        // A file without a line has no place to name.
        prop_assert!(distance <= 1 || lines.is_empty(), "{deed:?} at {place}: {:#?}", report.findings);
    });
}
