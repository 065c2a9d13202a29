//! `sys/tools/*`: random bytes and hashes, for clients that trust the server's more than their own.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast_logical::{Auth, Field, Kind, Operation::Update, PathTable, Response};
use serde_json::json;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

use super::row;
use crate::{
    Error,
    call::{Call, Reply},
};

const RANDOM: &[Field] = &[
    Field::new("bytes", Kind::Int, "How many; 32."),
    Field::new("urlbytes", Kind::String, "The same, from the path."),
    Field::new("source", Kind::String, "platform; others mean the same."),
    Field::new("format", Kind::String, "base64 or hex."),
];
const HASH: &[Field] = &[
    Field::sensitive("input", Kind::String, "What to hash, in base64."),
    Field::new(
        "algorithm",
        Kind::String,
        "sha2-224, sha2-256 (default), sha2-384, sha2-512, or sha3-… of the same lengths.",
    ),
    Field::new("urlalgorithm", Kind::String, "The same, from the path."),
    Field::new("format", Kind::String, "hex or base64."),
];

pub const ROWS: &PathTable = &[
    row("tools/random", &[Update], RANDOM, Auth::Token, "Random bytes."),
    row("tools/random/:urlbytes", &[Update], RANDOM, Auth::Token, "Random bytes."),
    row("tools/random/:source/:urlbytes", &[Update], RANDOM, Auth::Token, "Random bytes."),
    row("tools/hash", &[Update], HASH, Auth::Token, "The hash of a text."),
    row("tools/hash/:urlalgorithm", &[Update], HASH, Auth::Token, "The hash of a text."),
];

/// Most bytes of one call, as in Vault.
const MOST: usize = 128 * 1024;

pub async fn handle(call: Call) -> Result<Reply, Error> {
    let key = if call.request.route.starts_with("tools/random") { "random_bytes" } else { "sum" };
    let (bytes, default) = match key {
        "sum" => (hash(&call)?, "hex"),
        _ => (random(&call)?, "base64"),
    };
    let text = match call.request.fields.string("format").filter(|format| !format.is_empty()).unwrap_or(default) {
        "hex" => hex::encode(bytes),
        "base64" => STANDARD.encode(bytes),
        other => {
            return Err(Error::invalid(format!("unsupported encoding format {other}; must be \"hex\" or \"base64\"")));
        }
    };
    Ok(Response::data(json!({ key: text })).into())
}

fn random(call: &Call) -> Result<Vec<u8>, Error> {
    let fields = &call.request.fields;
    let wanted = match fields.string("urlbytes") {
        // `random/platform` names a source, `random/16` a number.
        Some(text) if ["platform", "seal", "all"].contains(&text) => 32,
        Some(text) => {
            text.parse().map_err(|_| Error::invalid(format!("error parsing url-set byte count: {text:?}")))?
        }
        None => usize::try_from(fields.int("bytes").unwrap_or(32)).unwrap_or(0),
    };
    if wanted == 0 || wanted > MOST {
        return Err(Error::invalid(format!("\"bytes\" must be between 1 and {MOST}")));
    }
    let mut bytes = vec![0u8; wanted];
    call.open.config.entropy.fill(&mut bytes);
    Ok(bytes)
}

fn hash(call: &Call) -> Result<Vec<u8>, Error> {
    let fields = &call.request.fields;
    let input = STANDARD.decode(fields.string("input").unwrap_or_default());
    let input = input.map_err(|_| Error::invalid("unable to decode input as base64"))?;
    match fields.string("urlalgorithm").or_else(|| fields.string("algorithm")).unwrap_or("sha2-256") {
        "sha2-224" => Ok(Sha224::digest(input).to_vec()),
        "sha2-256" => Ok(Sha256::digest(input).to_vec()),
        "sha2-384" => Ok(Sha384::digest(input).to_vec()),
        "sha2-512" => Ok(Sha512::digest(input).to_vec()),
        "sha3-224" => Ok(of_sha3::<Sha3_224>(&input)),
        "sha3-256" => Ok(of_sha3::<Sha3_256>(&input)),
        "sha3-384" => Ok(of_sha3::<Sha3_384>(&input)),
        "sha3-512" => Ok(of_sha3::<Sha3_512>(&input)),
        other => Err(Error::invalid(format!("unsupported algorithm {other}"))),
    }
}

fn of_sha3<H: sha3::Digest>(input: &[u8]) -> Vec<u8> {
    H::digest(input).to_vec()
}
