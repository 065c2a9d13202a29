//! Leases over a barrier on memory storage, with an outside system that can be dead, slow or paused.

mod bound;
mod crash;
mod due;
mod life;
mod mutants;
mod world;
