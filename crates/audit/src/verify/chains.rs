//! Goes along each chain and compares.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    ChainReport, Finding, Kind, Known, Log, Report,
    read::{Chained, Content},
};
use crate::{CHECKPOINT_LINES, ChainId};

struct Check<'a> {
    log: &'a Log,
    known: &'a Known,
    findings: BTreeMap<(usize, u64), Finding>,
    notes: Vec<String>,
    /// Hash of each line by chain and number, and where it stands.
    places: HashMap<(&'a ChainId, u64), (usize, &'a str)>,
    /// Position of the first and of the last line of each chain.
    spans: BTreeMap<&'a ChainId, (usize, usize)>,
}

pub fn verify(log: &Log, known: &Known) -> Report {
    let mut check = Check {
        log,
        known,
        findings: BTreeMap::new(),
        notes: Vec::new(),
        places: HashMap::new(),
        spans: BTreeMap::new(),
    };
    for (at, line) in log.chained() {
        check.places.entry((&line.id, line.seq)).or_insert((at, &line.hash));
        check.spans.entry(&line.id).or_insert((at, at)).1 = at;
    }
    check.foreign_lines();
    let chains: Vec<ChainReport> = log.chains().iter().map(|id| check.along(id)).collect();
    let anchored = check.beginnings();
    check.loose_chains(&chains, &anchored);
    check.stored_heads();
    if known.public_key.is_none() {
        check.notes.push("no public key: signatures of checkpoints are not checked".to_owned());
    }
    Report {
        ok: check.findings.is_empty(),
        files: log.files.clone(),
        lines: log.lines.len(),
        chains,
        findings: check.findings.into_values().collect(),
        notes: check.notes,
    }
}

impl<'a> Check<'a> {
    /// One finding per line and kind of trouble is enough.
    fn find(&mut self, kind: Kind, at: usize, seq: u64, text: impl Into<String>) {
        let Some(line) = self.log.lines.get(at) else { return };
        let file = self.log.files[line.file].clone();
        let finding = Finding { kind, file, line: line.number, seq, text: text.into() };
        self.findings.entry((at, kind as u64)).or_insert(finding);
    }

    /// Lines without a place in a chain: only what a crash or a full disk left behind may be there. The line after them
    /// knows how much that is.
    fn foreign_lines(&mut self) {
        let mut at = 0;
        while at < self.log.lines.len() {
            let run = self.foreign_run(at);
            let told = self.log.lines.get(at + run.len()).filter(|next| next.file == self.log.lines[at].file);
            let told = told.and_then(|next| next.content.chained()?.origin.as_ref()).map(|origin| origin.torn);
            let bytes: u64 = run.iter().map(|(bytes, _)| bytes).sum();
            for (offset, (length, unfinished)) in run.iter().enumerate() {
                let line = &self.log.lines[at + offset];
                let place = format!("{} line {}", self.log.files[line.file], line.number);
                if *unfinished || (*length > 0 && told == Some(bytes)) {
                    let text = format!("{place}: an unfinished line, as a crash leaves it; it was never acknowledged");
                    self.notes.push(text);
                } else {
                    self.find(Kind::Inserted, at + offset, 0, "this is no line of any chain");
                }
            }
            at += run.len().max(1);
        }
    }

    /// Lengths of the lines from here on that have no place in a chain, and whether they lack their line feed.
    fn foreign_run(&self, at: usize) -> Vec<(u64, bool)> {
        let lines = self.log.lines[at..].iter().take_while(|line| line.file == self.log.lines[at].file);
        let foreign = lines.map_while(|line| match line.content {
            Content::Other { bytes, unfinished } => Some((bytes, unfinished)),
            Content::Chained(_) => None,
        });
        foreign.collect()
    }

    /// Along one chain, in order of appearance.
    fn along(&mut self, id: &ChainId) -> ChainReport {
        let lines: Vec<(usize, &'a Chained)> = self.log.chained().filter(|(_, line)| line.id == *id).collect();
        let mut report = ChainReport { id: id.clone(), first: 0, last: 0, signed: 0 };
        let mut seen: HashMap<u64, &str> = HashMap::new();
        let mut last: Option<(usize, &Chained)> = None;
        let mut checkpoint = None;
        for (at, line) in lines {
            if self.known.wrong.contains(&at) {
                self.find(
                    Kind::Changed,
                    at,
                    line.seq,
                    "its MAC is wrong: the line was changed or made by somebody else",
                );
            }
            let follows = match last {
                None => self.first(at, line),
                Some(last) => self.next(last, (at, line), &seen),
            };
            seen.insert(line.seq, &line.hash);
            if !follows {
                continue;
            }
            if last.is_none() {
                report.first = line.seq;
                checkpoint = Some(line.seq);
            }
            last = Some((at, line));
            report.last = line.seq;
            if self.checkpoint(at, line) {
                report.signed = line.seq - 1;
                checkpoint = Some(line.seq);
            } else if checkpoint.is_some_and(|seq| line.seq > seq + CHECKPOINT_LINES + 1) && !is_sealed(id) {
                let text =
                    format!("no checkpoint for more than {CHECKPOINT_LINES} lines: the server writes them more often");
                self.find(Kind::Unsigned, at, line.seq, text);
                checkpoint = Some(line.seq);
            }
        }
        report
    }

    fn first(&mut self, at: usize, line: &Chained) -> bool {
        let earlier =
            self.log.chained().take_while(|(other, _)| *other < at).any(|(_, other)| akin(&other.id, &line.id));
        match (line.seq, line.kind.as_str()) {
            (1, "start") if line.prev.is_empty() => {}
            (1, _) => self.find(Kind::Changed, at, 1, "the first line of a chain must be its start"),
            (seq, "rotate") if !earlier => {
                self.notes.push(format!("chain {} begins with line {seq}: older files are not given", name(&line.id)));
            }
            (seq, _) => self.find(
                Kind::Missing,
                at,
                seq,
                format!("lines 1 to {} of {} are missing before it", seq - 1, name(&line.id)),
            ),
        }
        true
    }

    /// Does the line follow the last one? If it does not belong there, the chain goes on without it.
    fn next(
        &mut self,
        (before, last): (usize, &Chained),
        (at, line): (usize, &Chained),
        seen: &HashMap<u64, &str>,
    ) -> bool {
        if line.seq > last.seq + 1 {
            let text = match (last.seq + 1, line.seq - 1) {
                (first, end) if first == end => format!("line {first} of {} is missing before it", name(&line.id)),
                (first, end) => format!("lines {first} to {end} of {} are missing before it", name(&line.id)),
            };
            self.find(Kind::Missing, at, line.seq, text);
            return true;
        }
        if line.seq == last.seq + 1 {
            if line.prev != last.hash {
                let told = [before, at].iter().any(|at| self.known.wrong.contains(at));
                if !told {
                    let text = "this line is not the one that the next line follows: it was changed";
                    self.find(Kind::Changed, before, last.seq, text);
                }
            }
            return true;
        }
        match seen.get(&line.seq) {
            Some(hash) if *hash == line.hash => self.repeated(at, line),
            Some(_) => self.find(Kind::Inserted, at, line.seq, "another line with this number stands before it"),
            None => self.find(Kind::Moved, at, line.seq, "the line was written before the line above it"),
        }
        false
    }

    /// Which of two equal lines was put there, they do not tell: both places are named.
    fn repeated(&mut self, at: usize, line: &Chained) {
        let first = self.places.get(&(&line.id, line.seq)).map_or(at, |(first, _)| *first);
        for (here, there) in [(first, at), (at, first)] {
            let there = &self.log.lines[there];
            let text = format!("the line stands twice: also as {} line {}", self.log.files[there.file], there.number);
            self.find(Kind::Repeated, here, line.seq, text);
        }
    }

    /// Is this a checkpoint that holds?
    fn checkpoint(&mut self, at: usize, line: &Chained) -> bool {
        let Some(checkpoint) = &line.checkpoint else { return false };
        if let Some(key) = &self.known.public_key
            && !line.is_signed_by(key)
        {
            self.find(Kind::Unsigned, at, line.seq, "the signature of this checkpoint is not the server's");
            return false;
        }
        if checkpoint.seq + 1 != line.seq || checkpoint.head != line.prev {
            let text = format!("the checkpoint signs another line {} than the one before it", checkpoint.seq);
            self.find(Kind::Changed, at, line.seq, text);
            return false;
        }
        self.known.public_key.is_some()
    }

    /// What the first lines say about the epochs before. Returns the ends that they name.
    fn beginnings(&mut self) -> BTreeSet<(&'a ChainId, u64)> {
        let mut anchored = BTreeSet::new();
        let starts: Vec<_> = self.log.chained().filter(|(_, line)| line.kind == "start").collect();
        for (at, line) in starts {
            let Some(origin) = &line.origin else { continue };
            for head in origin.previous.iter().chain(&origin.stored) {
                anchored.insert((&head.id, head.seq));
                let earlier = |(_, other): (usize, &Chained)| akin(&other.id, &line.id);
                match self.places.get(&(&head.id, head.seq)) {
                    Some((_, hash)) if **hash == head.head => {}
                    Some((place, _)) => {
                        let place = *place;
                        self.find(
                            Kind::Changed,
                            place,
                            head.seq,
                            "the next start of the server knows another line here",
                        );
                    }
                    None => match self.spans.get(&head.id) {
                        Some((first, _)) if head.seq < self.number(*first) => {}
                        Some((_, end)) => {
                            let (end, text) = (*end, format!("{} went on to line {}", name(&head.id), head.seq));
                            self.find(Kind::Truncated, end, head.seq, text);
                        }
                        None if self.log.chained().take_while(|(other, _)| *other < at).any(earlier) => {
                            let text = format!("{} is missing before it", name(&head.id));
                            self.find(Kind::Missing, at, line.seq, text);
                        }
                        None => {
                            self.notes.push(format!("{} is not in these files", name(&head.id)));
                        }
                    },
                }
            }
        }
        anchored
    }

    /// Chains that nobody vouches for: neither a signature, nor the start after them, nor the server.
    fn loose_chains(&mut self, chains: &[ChainReport], anchored: &BTreeSet<(&ChainId, u64)>) {
        for (index, chain) in chains.iter().enumerate() {
            let Some(&(first, last)) = self.spans.get(&chain.id) else { continue };
            let anchor = anchored.iter().filter(|(id, _)| **id == chain.id).map(|(_, seq)| *seq).max();
            let newest = !chains.iter().skip(index + 1).any(|later| akin(&later.id, &chain.id));
            if is_sealed(&chain.id) {
                match anchor {
                    Some(end) if chain.last > end => {
                        let text = "lines of a sealed server behind the end that its next start saw";
                        self.find(Kind::Inserted, last, chain.last, text);
                    }
                    None if newest => self.notes.push(format!(
                        "{}: {} lines of a sealed server; only their hashes are checked until the next unseal",
                        name(&chain.id),
                        chain.last
                    )),
                    None => {
                        self.find(Kind::Inserted, first, chain.first, "no later start of the server knows this chain")
                    }
                    Some(_) => {}
                }
                continue;
            }
            let stored = self.known.heads.iter().any(|head| head.id == chain.id);
            if !newest && anchor.is_none() && chain.signed == 0 && !stored && self.known.public_key.is_some() {
                self.find(Kind::Inserted, first, chain.first, "no later start of the server knows this chain");
            }
        }
    }

    /// What the server has stored must be there.
    fn stored_heads(&mut self) {
        let heads = &self.known.heads;
        for head in heads {
            if let Some((place, hash)) = self.places.get(&(&head.id, head.seq)).copied() {
                if hash != head.head {
                    self.find(Kind::Changed, place, head.seq, "the server has stored another hash of this line");
                }
                continue;
            }
            if let Some(&(first, end)) = self.spans.get(&head.id) {
                if head.seq >= self.number(first) && !(self.known.partial && self.is_last(&head.id)) {
                    let text = format!(
                        "the server has seen {} go on to line {}: the end was cut off, or later files are not given",
                        name(&head.id),
                        head.seq
                    );
                    self.find(Kind::Truncated, end, head.seq, text);
                }
                continue;
            }
            let Some((at, seq)) = self.after(&head.id) else { continue };
            if !(self.known.partial && self.is_last(&head.id)) {
                let text =
                    format!("the server has stored {} lines of {}, which is missing here", head.seq, name(&head.id));
                self.find(Kind::Missing, at, seq, text);
            }
        }
    }

    fn number(&self, at: usize) -> u64 {
        self.log.lines[at].content.chained().map_or(0, |line| line.seq)
    }

    /// Where a missing epoch should have begun, if an older one of the same device is here.
    fn after(&self, id: &ChainId) -> Option<(usize, u64)> {
        let number = id.epoch.parse::<u64>().ok()?;
        let older = self.spans.iter().filter(|(other, _)| akin(other, id));
        let older = older.filter(|(other, _)| other.epoch.parse::<u64>().is_ok_and(|epoch| epoch < number));
        older.map(|(_, (_, end))| *end).max().map(|end| (end, 0))
    }

    /// Is there no newer epoch of the same device in these files?
    fn is_last(&self, id: &ChainId) -> bool {
        let number = |id: &ChainId| id.epoch.parse::<u64>().unwrap_or(0);
        !self.spans.keys().any(|other| akin(other, id) && number(other) > number(id))
    }
}

fn akin(one: &ChainId, other: &ChainId) -> bool {
    one.node == other.node && one.device == other.device
}

fn is_sealed(id: &ChainId) -> bool {
    id.epoch.starts_with("sealed-")
}

fn name(id: &ChainId) -> String {
    format!("epoch {} of {} on {}", id.epoch, id.device, id.node)
}
