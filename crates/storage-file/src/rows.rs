//! The tables of the file, and how a row is laid out: create revision (8 bytes, big-endian), modification revision (8), value.

use bytes::Bytes;
use holdfast_storage::{Error, KeyValue, Range, Revision, Rows, Table};
use redb::{ReadOnlyTable, ReadableTable, TableDefinition};

/// Keys and rows.
pub const LIVE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("live");
/// Numbers of the store itself.
pub const META: TableDefinition<&str, i64> = TableDefinition::new("meta");
/// Name of the revision in [`META`].
pub const REVISION: &str = "revision";

/// A snapshot.
pub struct Reading(pub ReadOnlyTable<&'static [u8], &'static [u8]>);

/// Within a write transaction.
pub struct Writing<'txn>(pub redb::Table<'txn, &'static [u8], &'static [u8]>);

/// The store's revision.
pub fn revision(meta: &impl ReadableTable<&'static str, i64>) -> Result<Revision, Error> {
    Ok(meta.get(REVISION).map_err(failed)?.map_or(1, |revision| revision.value()))
}

/// A failure of redb before anything was committed.
pub fn failed(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Error::NoSpace,
        error => Error::Failed(error.to_string()),
    }
}

impl Rows for Reading {
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        get(&self.0, key)
    }

    fn scan(&self, range: &Range) -> Result<Vec<KeyValue>, Error> {
        scan(&self.0, range)
    }
}

impl Rows for Writing<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        get(&self.0, key)
    }

    fn scan(&self, range: &Range) -> Result<Vec<KeyValue>, Error> {
        scan(&self.0, range)
    }
}

impl Table for Writing<'_> {
    fn put(&mut self, item: KeyValue) -> Result<(), Error> {
        let row = [&item.create_revision.to_be_bytes()[..], &item.mod_revision.to_be_bytes(), &item.value].concat();
        self.0.insert(item.key.as_ref(), row.as_slice()).map_err(failed)?;
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.0.remove(key).map_err(failed)?;
        Ok(())
    }
}

fn get(table: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<KeyValue>, Error> {
    table.get(key).map_err(failed)?.map(|row| decode(key, row.value())).transpose()
}

fn scan(table: &impl ReadableTable<&'static [u8], &'static [u8]>, range: &Range) -> Result<Vec<KeyValue>, Error> {
    let limit = if range.limit == 0 { usize::MAX } else { range.limit };
    let mut items = Vec::new();
    for row in table.range(range.start.as_ref()..).map_err(failed)? {
        let (key, row) = row.map_err(failed)?;
        if items.len() == limit || !range.contains(key.value()) {
            break;
        }
        items.push(decode(key.value(), row.value())?);
    }
    Ok(items)
}

fn decode(key: &[u8], row: &[u8]) -> Result<KeyValue, Error> {
    let damaged = || Error::Failed("a row of the file is damaged".to_owned());
    let (create, rest) = row.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (modified, value) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok(KeyValue {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        create_revision: i64::from_be_bytes(*create),
        mod_revision: i64::from_be_bytes(*modified),
    })
}
