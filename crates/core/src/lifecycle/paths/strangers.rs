//! `sys/rekey/*`, `sys/rekey-recovery-key/*` and `sys/generate-root/*` without a token, where the listener says so. With a token,
//! or where it does not, they go through the pipeline like every other path.

use std::sync::Arc;

use holdfast_logical::{Operation, table};

use super::bare;
use crate::{
    Answer, Core, Error, Raw,
    lifecycle::{audited, slot::Who},
    sys::keyholders::{self, Asked},
};

/// May the path be one of these?
pub(super) fn concerns(path: &str) -> bool {
    path.starts_with("rekey") || path.starts_with("generate-root/")
}

/// Serves it if it is one, comes without a token, and the door is open.
pub(super) async fn serve(core: &Arc<Core>, raw: &Raw, path: &str) -> Option<Result<Answer, Error>> {
    let open = match concerns(path) {
        true if path.starts_with("rekey") => raw.doors.rekey,
        true => raw.doors.generate_root,
        false => false,
    };
    if !open || raw.token.is_some() || path.ends_with("backup") {
        return None;
    }
    let (row, captures) = table::find(keyholders::ROWS, path)?;
    let operation = raw.verb.operation();
    if raw.fault.is_some() || operation == Operation::Help || !row.serves(operation) {
        return None;
    }
    let work = async {
        let open = core.open().ok_or(Error::Sealed)?;
        let fields = row.fields(&captures, raw.body.clone())?;
        let asked = Asked { route: row.id, operation, fields: &fields, who: Who::Stranger };
        let body = keyholders::answer(&open, asked).await?;
        Ok(body.map_or(Answer::Empty, |body| bare(200, &body)))
    };
    Some(audited::audited(core, raw, row.id, work).await)
}
