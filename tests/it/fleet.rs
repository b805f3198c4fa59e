//! Several real processes on one Redis and one Postgres, under load, while something breaks.
//!
//! Whoever asks sends every request until it is answered, to one process after the other, so that
//! in the end every settlement was answered: what the ledger has then must be the answers, entry by
//! entry. Meanwhile no call may take longer than its deadline, whatever is broken, nor be denied
//! for it; how long calls failed is printed.

mod clients;
mod failovers;
mod one_account;
mod postgres_stops;
mod redis_breaks;
mod replies;
mod settler_killed;
mod world;
