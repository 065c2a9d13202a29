//! End-to-end tests. `arrows` needs nothing; `shared` runs against one release, a namespace a test; `exclusive` breaks
//! things and runs one at a time.

mod arrows;
