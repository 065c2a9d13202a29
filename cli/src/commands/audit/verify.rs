//! `audit verify`

use std::{path::PathBuf, time::Duration};

use clap::Args;
use holdfast_api_types::Envelope;
use holdfast_audit::{ChainId, Head, Known, Log, PublicKey, Report};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::ApiError,
    failure::{During, Failure},
    session::Session,
};

/// Check audit files: was anything changed, added, removed or moved?
///
/// Files may be given in any order; older ones may be left out, newer ones not (see --partial). With a server, the token
/// needs sudo on sys/audit-chain: then every line is checked. Without, what is signed is checked with the public key.
///
/// Exit code 0: in order. 1: wrong use, or a file cannot be read. 2: the server does not answer. 3: something was done to
/// the log.
#[derive(Args)]
pub struct Verify {
    /// Ask no server; use --public-key or --proof.
    #[arg(long)]
    offline: bool,
    /// Public key of the server in base64, from an earlier reading of sys/audit-chain.
    #[arg(long, value_name = "BASE64")]
    public_key: Option<String>,
    /// Public key and stored ends, as `read -format=json sys/audit-chain` printed them earlier.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Later files are left out on purpose.
    #[arg(long)]
    partial: bool,
    /// Audit files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// `data` of `sys/audit-chain`.
#[derive(Default, Deserialize)]
struct Proof {
    #[serde(default)]
    public_key: String,
    #[serde(default)]
    heads: Vec<Head>,
}

/// Lines whose MACs are asked about at once.
const LINES: usize = 2000;
/// How often a question is asked that a busy server does not answer, and the time between.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// Findings that a table shows.
const SHOWN: usize = 50;
/// Something was done to the log.
const MANIPULATED: u8 = 3;

impl Verify {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        // What is stored first: a running server goes on, and its files must not be older than what they are held against.
        let proof = self.proof(session).await?;
        let log = Log::read(&self.files).map_err(|error| Failure::local(error.to_string()))?;
        let known = self.known(session, &log, proof).await?;
        let report = log.verify(&known);
        let value = serde_json::to_value(&report).unwrap_or(Value::Null);
        session.value(&value, || table(&report))?;
        if report.ok { Ok(()) } else { Err(Failure::Quiet(MANIPULATED)) }
    }

    /// What was given, and what the server knows.
    async fn proof(&self, session: &Session) -> Result<Proof, Failure> {
        let mut proof = self.given()?;
        if !self.offline {
            let data = session.api().data("sys/audit-chain").await.during("reading sys/audit-chain")?;
            let told: Proof = serde_json::from_value(Value::Object(data))
                .map_err(|error| Failure::local(format!("sys/audit-chain: {error}")))?;
            // What was kept elsewhere counts too: whoever has the server cannot take that back.
            proof.heads.extend(told.heads);
            if proof.public_key.is_empty() {
                proof.public_key = told.public_key;
            }
        }
        Ok(proof)
    }

    async fn known(&self, session: &Session, log: &Log, proof: Proof) -> Result<Known, Failure> {
        let mut known = Known { partial: self.partial, heads: proof.heads, ..Known::default() };
        if !self.offline {
            for id in log.chains().iter().filter(|id| !id.epoch.starts_with("sealed-")) {
                ask(session, log, id, &mut known).await?;
            }
        }
        if !proof.public_key.is_empty() {
            let key = PublicKey::parse(&proof.public_key);
            known.public_key = Some(key.ok_or_else(|| Failure::local("the public key is not 32 bytes in base64"))?);
        }
        Ok(known)
    }

    fn given(&self) -> Result<Proof, Failure> {
        let mut proof = Proof::default();
        if let Some(path) = &self.proof {
            let wrong = |error: &dyn std::fmt::Display| Failure::local(format!("{}: {error}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
            let value: Value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
            let data = value.get("data").unwrap_or(&value);
            proof = Proof::deserialize(data).map_err(|error| wrong(&error))?;
        }
        if let Some(key) = &self.public_key {
            proof.public_key.clone_from(key);
        }
        if self.offline && proof.public_key.is_empty() {
            return Err(Failure::local("-offline needs -public-key or -proof"));
        }
        Ok(proof)
    }
}

/// Lets the server check the MACs of a chain.
async fn ask(session: &Session, log: &Log, id: &ChainId, known: &mut Known) -> Result<(), Failure> {
    for lines in log.proofs(id).chunks(LINES) {
        let seqs: Vec<String> = lines.iter().map(|line| line.seq.to_string()).collect();
        let digests: String = lines.iter().map(|line| hex::encode(line.digest)).collect();
        let macs: String = lines.iter().map(|line| hex::encode(&line.mac)).collect();
        let body = json!({ "node": id.node, "device": id.device, "epoch": id.epoch, "seqs": seqs.join(","),
            "digests": digests, "macs": macs });
        let answer = checked(session, &body).await.during("checking MACs")?;
        let data = answer.and_then(|envelope| envelope.data).unwrap_or_default();
        let wrong = data.get("wrong").and_then(Value::as_array).cloned().unwrap_or_default();
        let positions = wrong.iter().filter_map(Value::as_u64).filter_map(|at| usize::try_from(at).ok());
        known.wrong.extend(positions.filter_map(|at| lines.get(at)).map(|line| line.line));
    }
    Ok(())
}

/// Asks again when the server is too busy: each question is audited itself, and a slow device refuses it.
async fn checked(session: &Session, body: &Value) -> Result<Option<Envelope>, ApiError> {
    for _ in 1..TRIES {
        match session.api().write("sys/audit-chain/check", body.clone()).await {
            Err(error) if error.status().is_some_and(|status| status >= 500 || status == 429) => {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
    session.api().write("sys/audit-chain/check", body.clone()).await
}

fn table(report: &Report) -> String {
    let mut text = Vec::new();
    for finding in report.findings.iter().take(SHOWN) {
        let seq = if finding.seq > 0 { format!(" (sequence {})", finding.seq) } else { String::new() };
        let kind = format!("{:?}", finding.kind).to_uppercase();
        text.push(format!("{kind:<10} {} line {}{seq}: {}", finding.file, finding.line, finding.text));
    }
    if report.findings.len() > SHOWN {
        text.push(format!("… and {} more", report.findings.len() - SHOWN));
    }
    text.extend(report.notes.iter().map(|note| format!("note       {note}")));
    for chain in &report.chains {
        let signed = if chain.signed > 0 { format!(", signed up to {}", chain.signed) } else { String::new() };
        let (id, first, last) = (&chain.id, chain.first, chain.last);
        text.push(format!("chain      {} on {}, epoch {}: {first} to {last}{signed}", id.device, id.node, id.epoch));
    }
    let (lines, files) = (report.lines, report.files.len());
    text.push(match report.findings.len() {
        0 => format!("\nSuccess! {lines} lines in {files} file(s): nothing was changed, added, removed or moved."),
        count => format!("\nThis log was tampered with: {count} finding(s) in {lines} lines of {files} file(s)."),
    });
    text.join("\n")
}
