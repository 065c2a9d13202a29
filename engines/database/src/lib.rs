//! The database secret engine: users made on demand.
