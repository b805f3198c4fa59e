//! What every ledger must do, as cases over the trait, and each backend that they run on. A new
//! backend implements [`Backend`] and calls `conformance!` in a module of its own.
//!
//! The data is real: each case drives books of the domain and settles what they leave behind.

mod accounts;
mod audit;
mod calls;
mod changes;
mod drift;
mod duplicates;
mod entries;
mod fences;
mod postgres;
mod redo;
mod restore;
mod settle;
mod settler;
mod sqlite;
mod world;

use std::sync::Arc;

use async_trait::async_trait;
use tollgate::ledger::Ledger;

/// A fresh ledger, and the two things that the trait has no method for.
#[async_trait]
pub trait Backend: Send {
    /// The ledger.
    fn ledger(&self) -> Arc<dyn Ledger>;
    /// Closes the ledger, which nobody may use any more, and opens it again.
    async fn reopen(&mut self);
    /// Runs a statement behind the ledger's back.
    async fn tamper(&self, sql: &'static str);
}

/// Makes a test of each case, named like it.
macro_rules! cases {
    ($make:path; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[tokio::test]
            async fn $case() {
                super::$module::$case(Box::new($make().await)).await;
            }
        )+)+
    };
}

/// Every case on one backend, which an async function makes.
macro_rules! conformance {
    ($make:path) => {
        super::cases! { $make;
            settle:
                entries_add_up_to_the_state,
                a_batch_is_settled_once,
                of_two_settlers_one_wins,
                a_gap_is_a_fault_that_names_the_account,
                an_unknown_account_is_a_fault,
                batches_of_a_shard_must_follow_each_other,
                large_batches_are_settled_whole,
                a_failed_batch_leaves_nothing;
            duplicates:
                a_duplicate_of_an_ended_settlement_is_reversed_whole,
                a_duplicate_within_one_batch_is_reversed,
                a_forgotten_open_reservation_is_charged_its_last_price,
                a_forgotten_reservation_costs_what_its_end_reports,
                a_forgotten_reservation_that_is_charged_in_steps,
                a_duplicate_that_charged_nothing_needs_no_reversal,
                a_settlement_after_the_end_is_a_duplicate,
                commits_after_an_older_state_are_reversed,
                whoever_forgets_charges_what_others_do,
                whoever_forgets_charges_the_same_at_once,
                a_correction_before_the_reversal_gives_back_once;
            changes:
                numbers_have_no_gaps,
                a_key_is_taken_once,
                what_is_missing_is_refused,
                a_refund_is_split_and_bounded,
                a_refund_and_a_correction_cross,
                a_refund_of_more_than_the_last_price_adds_up,
                a_refund_follows_the_end_of_its_grant,
                concurrent_refunds_give_back_once,
                a_refund_of_nothing_says_so,
                credits_stay_in_range,
                grants_are_bounded,
                a_grant_id_is_taken_once,
                unapplied_changes_are_listed;
            accounts:
                an_account_has_its_live_grants,
                what_is_used_up_is_there_until_it_ends,
                accounts_are_paged_by_id,
                time_has_work_where_it_is_due,
                reservations_are_kept_until_they_are_forgotten,
                catalogues_are_kept_by_version,
                everything_is_there_after_reopening;
            entries:
                entries_are_paged_newest_first,
                entries_are_filtered,
                a_reservation_has_all_its_entries,
                a_conversation_has_its_refunds;
            fences:
                a_fence_ends_every_epoch_before_it,
                several_shards_are_fenced_together_or_not_at_all,
                a_history_agrees_up_to_the_first_fence_after_it,
                accounts_and_commits_are_found_by_their_ids;
            calls:
                calls_are_paged_newest_first,
                a_change_and_its_line_are_written_together,
                calls_are_filtered,
                calls_are_never_changed;
            drift:
                memory_that_differs_is_repaired,
                the_oldest_hold_is_kept_in_mind_until_it_ends,
                what_the_ledger_lacks_is_named_and_left;
            restore:
                a_store_that_begins_again_is_as_it_was;
            settler:
                a_shard_that_has_lost_something_keeps_no_other_waiting,
                an_account_that_does_not_fit_keeps_no_other_shard_waiting,
                what_can_not_be_settled_takes_no_other_shards_turn,
                many_entries_of_which_another_settler_has_some_are_settled_once;
            audit:
                a_busy_ledger_has_no_findings,
                corruption_is_found;
        }
    };
}

use cases;
use conformance;
