//! The log on PostgreSQL 15 or later: any number of processes, durable through power loss.
//!
//! # How an event gets its position
//!
//! Readers go forward by position and must miss nothing, so positions have no gaps and follow the order of commits,
//! although many commit at once. Not events are numbered but *batches*, the events of one transaction:
//!
//! 1. A transaction locks the rows of the streams it appends to. Only then it draws the number of its batch.
//! 2. As its last statement it takes the lock on the one row of `tidewire.head`, if it is free (`skip locked`), numbers
//!    every committed batch that has no position, then itself, and commits: statement and commit travel together, so
//!    nobody waits for us while we hold it. If the lock is taken, the batch is committed without a position.
//!    A group of plain commits does all of this in one statement (`plain`), which is its own transaction.
//! 3. A *sequencer* in every process numbers what is left, under the same lock.
//!
//! **No gaps.** Positions are given only under the lock on `head`, from the value that row has. A transaction that gives
//! positions and rolls back undoes the row as well as the positions; nobody else could give any meanwhile.
//!
//! **Nothing is missed.** A batch is numbered after it was committed, or by its own commit. So when a reader sees
//! position n, every lower one was given by a transaction that committed earlier, and is visible: later commits get
//! later positions, however early their numbers were drawn.
//!
//! **A stream's order is kept.** Let B follow A in a stream. B got the stream's lock after A had committed, and drew its
//! number after that: so A's number is lower, and whoever sees B sees A. Who numbers under the lock uses statements that
//! begin after he got it, at READ COMMITTED: they see all positions given before, since the lock is released
//! after its owner's commit is visible. Numbering B by another, he sees A too and numbers by number: A first, or long
//! ago. B numbering itself sees A, numbers everything it sees first, and takes the last place. What B sees with a higher
//! number than its own is of other streams: it would have needed B's lock.
//!
//! **A crash** leaves batches with a position or without; the latter wait for any sequencer.
//!
//! # Who waits for whom
//!
//! The writer commits in groups. It takes streams with `skip locked`, so a stream that somebody's long transaction holds
//! keeps only its own commits: they go to a lane (`lanes`). Locks are taken in one order everywhere (`lookup`); what
//! deadlocks all the same is decided again. Notifications are sent by sequencers alone, between transactions, at most a
//! hundred a second: a notification takes a lock on the whole database from its commit's begin to its end.

mod codec;
mod commit_in;
mod committer;
mod connect;
mod consumers;
mod documents;
mod emit;
mod error;
mod inbox;
mod lanes;
mod leases;
mod log;
mod lookup;
mod migrate;
mod open;
mod options;
mod outcome;
mod parking;
mod plain;
mod retire;
mod schedule;
mod sequencer;
mod snapshots;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod upkeep;
mod write;
mod writer;

pub use commit_in::{Joined, MAX_KEYS_IN, Ticket};
pub use options::PostgresOptions;
pub use store::PostgresStore;
