//! The barrier as its users see it: over memory, over a store that loses answers, over two replicas.

mod basics;
mod cluster;
mod faults;
mod keys;
mod secrecy;
mod serial;
mod support;
