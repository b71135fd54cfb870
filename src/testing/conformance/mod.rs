//! The contract of repositories as tests: [`conformance_tests!`](crate::conformance_tests) makes a `#[test]` of each case.
//!
//! The author of a repository writes a [`Fixture`] and calls the macro. Each clause of the contract of
//! [`Repository`](crate::Repository) is a module, and each case is a function. A case has a new database and several
//! independent handles to it, so that a race is a fixed sequence of calls.

use crate::command::EnrollmentCommand;
use crate::events::AsyncEventLog;
use crate::ids::OrganizationId;
use crate::inbox::AsyncInbox;
use crate::repository::{AsyncRepository, RepositoryError};
mod events;
mod guarding;
mod inbox;
mod inbox_setup;
mod leases;
mod reading;
mod setup;
mod writers;
mod writing;

use crate::seed::{HostWrite, Seed};

/// The operations that the suite needs to test a repository. A method panics if it fails, so that the test fails.
pub trait Fixture: Sized + Sync {
    /// The repository to test. [`Blocking`](crate::testing::Blocking) wraps a blocking one.
    type Repository: AsyncRepository;

    /// Creates a database without rows.
    fn fresh() -> impl Future<Output = Self>;

    /// Opens a handle to the database. It is independent of all others, for example with its own connection.
    fn open(&self) -> impl Future<Output = Self::Repository>;

    /// Inserts the rows of a seed into the empty database. [`Seed::inserts`] returns them one by one.
    fn seed(&self, given: &Seed) -> impl Future<Output = ()>;

    /// Writes a row as a host does, without the engine.
    ///
    /// # Errors
    /// The error of the storage if the write violates clause 5.
    fn host_write(&self, write: &HostWrite) -> impl Future<Output = Result<(), RepositoryError>>;

    /// Returns all rows of all organizations, as a seed of `organization_id`.
    fn dump(&self, organization_id: OrganizationId) -> impl Future<Output = Seed>;

    /// Returns the number of round trips of all handles since the database was created: how often a handle sent something
    /// to the storage and waited for the answer. `None` if the fixture does not count them, or if the storage has none,
    /// such as a file. Then the case of clause 9 that compares them prints that it checked nothing.
    fn round_trips(&self) -> Option<u64>;
}

/// The operations that the suite needs to test an inbox too.
pub trait InboxFixture: Fixture<Repository: AsyncInbox> {
    /// Removes the commands of all failed enrollments, as the inbox does with those that are too old.
    fn remove_failed_commands(&self) -> impl Future<Output = ()>;
}

/// The operations that the suite needs to test a log of events too.
pub trait EventFixture: InboxFixture<Repository: AsyncEventLog> {
    /// A transaction that is open.
    type Transaction;

    /// Turns events on or off. A new database writes none.
    fn enable_events(&self, enabled: bool) -> impl Future<Output = ()>;

    /// Begins a transaction, accepts an enrollment in it, and leaves it open. Others may be open at the same time.
    ///
    /// `None` if the storage lets one transaction write at a time, such as a file of SQLite. Then the cases that need it
    /// print that they checked nothing.
    fn accept_in_transaction(&self, command: &EnrollmentCommand) -> impl Future<Output = Option<Self::Transaction>>;

    /// Commits a transaction, or rolls it back.
    fn end_transaction(&self, transaction: Self::Transaction, commit: bool) -> impl Future<Output = ()>;
}

/// Runs the futures of a [`Fixture`] and of its handles, with the `block_on` of their runtime.
pub trait BlockOn {
    /// Runs a future to its end. Several threads call it at the same time, but never inside another future.
    fn block_on<T>(future: impl Future<Output = T>) -> T;
}

/// Makes a test of each case, for a [`Fixture`] and the `block_on` of its runtime.
///
/// Attributes before the fixture apply to every test, such as `#[ignore = "needs a server"]`. A case that a repository
/// cannot pass can be exempt by name, with a reason. An exempt case must fail, so that a superfluous exemption shows. The
/// clauses about guards, atomicity, uniqueness and creation allow no exemptions.
///
/// ```text
/// enroll::conformance_tests!(MyFixture, enroll::testing::block_on);
/// enroll::conformance_tests!(#[ignore = "needs a server"] MyFixture, my_runtime::block_on);
/// enroll::conformance_tests!(MyFixture, block_on, exempt: { long_texts_are_stored_unchanged: "rows hold 4 kB" });
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($(#[$attribute:meta])* $fixture:ty, $block_on:path $(, exempt: { $($case:ident: $reason:literal),* $(,)? })? $(,)?) => {
        struct ConformanceRuntime;

        impl $crate::testing::conformance::BlockOn for ConformanceRuntime {
            fn block_on<T>(future: impl Future<Output = T>) -> T {
                $block_on(future)
            }
        }

        const CONFORMANCE_EXEMPT: &[(&str, &str)] = &[$($((stringify!($case), $reason)),*)?];

        $crate::__conformance_cases! { [$crate::__conformance_tests] [$(#[$attribute])*] [$fixture] }
    };
}

/// Makes a test of each case of the inbox, for an [`InboxFixture`](crate::testing::conformance::InboxFixture). Call [`conformance_tests!`](crate::conformance_tests) first: this macro uses
/// its runtime and exemptions.
#[macro_export]
macro_rules! inbox_conformance_tests {
    ($(#[$attribute:meta])* $fixture:ty $(,)?) => {
        $crate::__inbox_conformance_cases! { [$crate::__conformance_tests] [$(#[$attribute])*] [$fixture] }
    };
}

/// Makes a test of each case of the log of events, for an [`EventFixture`](crate::testing::conformance::EventFixture). Call
/// [`conformance_tests!`](crate::conformance_tests) first: this macro uses its runtime and exemptions.
#[macro_export]
macro_rules! event_conformance_tests {
    ($(#[$attribute:meta])* $fixture:ty $(,)?) => {
        $crate::__event_conformance_cases! { [$crate::__conformance_tests] [$(#[$attribute])*] [$fixture] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($attributes:tt $fixture:tt $($clause:ident { $($case:ident,)* })*) => {$(
        mod $clause {
            #[allow(unused_imports, reason = "the fixture can be any type in scope")]
            use super::*;

            $($crate::__conformance_test! { $attributes $fixture $clause $case })*
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    ([$($attribute:tt)*] [$fixture:ty] $clause:ident $case:ident) => {
        #[test]
        $($attribute)*
        fn $case() {
            $crate::testing::conformance::Case::new::<ConformanceRuntime, _>(
                stringify!($clause),
                stringify!($case),
                $crate::testing::conformance::cases::$clause::$case::<$fixture, ConformanceRuntime>,
            )
            .run_unless_exempt(CONFORMANCE_EXEMPT);
        }
    };
}

/// Returns all cases as values, to run them without `#[test]`.
#[must_use]
pub fn all_cases<F: Fixture + 'static, B: BlockOn + 'static>() -> Vec<Case> {
    crate::__conformance_cases! { [as_values] }
}

/// Returns all cases of the inbox as values.
#[must_use]
pub fn all_inbox_cases<F: InboxFixture + 'static, B: BlockOn + 'static>() -> Vec<Case> {
    crate::__inbox_conformance_cases! { [as_values] }
}

/// Returns all cases of the log of events as values.
#[must_use]
pub fn all_event_cases<F: EventFixture + 'static, B: BlockOn + 'static>() -> Vec<Case> {
    crate::__event_conformance_cases! { [as_values] }
}

/// Makes a list of cases, for the fixture `F` and the runtime `B` of the calling function.
macro_rules! as_values {
    ($($clause:ident { $($case:ident,)* })*) => {
        vec![$($(Case::new::<B, _>(
            stringify!($clause),
            stringify!($case),
            cases::$clause::$case::<F, B>,
        )),*),*]
    };
}
use as_values;

/// One case of the suite, ready to run.
pub struct Case {
    clause: &'static str,
    name: &'static str,
    run: Box<dyn Fn() + Send + Sync>,
}

impl Case {
    #[doc(hidden)]
    pub fn new<B: BlockOn, T: Future<Output = ()>>(
        clause: &'static str,
        name: &'static str,
        case: impl Fn() -> T + Send + Sync + 'static,
    ) -> Self {
        Self { clause, name, run: Box::new(move || B::block_on(case())) }
    }

    /// Returns the name of the clause.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        self.clause
    }

    /// Returns the name of the case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case on a new database.
    ///
    /// # Panics
    /// Panics if the repository violates the clause.
    pub fn run(&self) {
        (self.run)();
    }

    #[doc(hidden)]
    pub fn run_unless_exempt(&self, exempt: &[(&str, &str)]) {
        let Some((_, reason)) = exempt.iter().find(|(name, _)| *name == self.name) else { return self.run() };
        assert!(
            !WITHOUT_EXEMPTIONS.contains(&self.clause),
            "`{}` of clause `{}` cannot be exempt",
            self.name,
            self.clause
        );
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run())).is_ok();
        assert!(!passed, "`{}` is exempt ({reason}) but passes: remove the exemption", self.name);
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.clause, self.name)
    }
}

/// The clauses without exemptions.
const WITHOUT_EXEMPTIONS: [&str; 10] = [
    "all_or_nothing",
    "guards_hold",
    "unique_keys",
    "create_never_overwrites",
    "inserted_once",
    "completion_commits_with_its_data",
    "one_worker_per_lease",
    "one_clock",
    "events_are_written_with_the_change",
    "a_reader_misses_none",
];

#[doc(hidden)]
pub mod cases {
    pub use super::events::{
        a_reader_misses_none, events_are_off_by_default, events_are_pruned_by_age, events_are_written_with_the_change,
        events_have_ids_counts_and_codes,
    };
    pub use super::guarding::{guards_hold, one_version_per_aggregate};
    pub use super::inbox::{
        completion_commits_with_its_data, inbox_organizations_are_separate, inserted_once, retries_reset_the_attempts,
    };
    pub use super::leases::{
        answers_belong_to_leases, one_clock, one_worker_per_lease, only_failures_count, organizations_take_turns,
    };
    pub use super::reading::{
        byte_exact_keys, complete_load, empty_input, organizations_are_separate, read_what_was_written,
    };
    pub use super::writers::{concurrent_writers, model};
    pub use super::writing::{all_or_nothing, any_size, conflict_is_typed, create_never_overwrites, unique_keys};
}

/// Passes the list of all cases to a macro, after the given tokens.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ([$($then:tt)*] $($first:tt)*) => {
        $($then)*! {
            $($first)*
            read_what_was_written {
                every_handle_sees_a_commit,
                every_handle_sees_a_host_write,
                all_fields_of_all_rows_are_loaded,
                a_loaded_seed_is_dumped_unchanged,
                a_repeated_enrollment_returns_the_stored_report,
                a_long_report_is_returned_completely_and_in_order,
            }
            complete_load {
                each_key_finds_its_contact,
                several_keys_of_one_contact_load_it_once,
                a_merged_contact_has_no_keys,
                unknown_ids_are_absent,
                all_channels_are_in_the_reference_data,
                related_rows_of_adjacent_contacts_are_loaded,
                a_contact_in_two_requests_of_a_list_is_tagged_once,
                committed_rows_are_loaded_with_their_contact,
            }
            all_or_nothing {
                a_commit_writes_all_rows_of_its_plan,
                a_stale_guard_refuses_all_rows,
                a_refused_row_of_any_table_refuses_all_rows,
                a_used_key_of_the_last_recipient_refuses_all_rows,
                a_refused_commit_can_be_planned_again,
            }
            guards_hold {
                sequence_archived,
                sequence_settings_changed,
                sequence_deleted,
                step_inserted,
                step_changed,
                step_deleted,
                channel_disabled,
                channel_deleted,
                unknown_channel_inserted,
                custom_object_changed,
                custom_object_deleted,
                call_flow_deleted,
                contact_blocked,
                contact_merged,
                contact_phone_changed,
                contact_name_filled,
                contact_deleted,
                ignored_contact_changed,
                one_of_many_adjacent_contacts_changed,
                opt_out_inserted,
                conversation_inserted,
                run_inserted,
                step_contact_changed,
                step_contact_deleted,
                custom_record_inserted,
                unclaimed_phone_used,
                unclaimed_email_used,
                unclaimed_external_id_used,
                merged_contact_reopened,
                tag_of_a_list_created_by_another_request,
                tag_of_a_list_inserted,
                tag_of_a_list_deleted,
                tag_of_a_list_renamed,
                a_retry_sees_the_change,
            }
            unique_keys {
                second_writer_of_a_phone_conflicts_then_reuses_the_contact,
                second_writer_of_an_email_conflicts_then_reuses_the_contact,
                second_writer_of_an_external_id_conflicts_then_reuses_the_contact,
                second_writer_that_fills_the_same_key_conflicts,
                keys_are_unique_without_a_guard,
                a_host_cannot_give_two_contacts_the_same_key,
                keys_of_a_merged_contact_can_be_used,
                blank_fields_are_not_keys,
                a_key_moves_between_contacts_in_one_commit,
                one_conversation_per_contact_and_phone_channel,
                many_conversations_per_contact_and_email_channel,
                one_live_step_contact_per_contact_and_sequence,
                live_step_contacts_in_two_sequences_are_allowed,
                an_enrollment_is_committed_once,
            }
            create_never_overwrites {
                an_existing_contact_is_not_overwritten,
                an_existing_conversation_is_not_overwritten,
                an_existing_run_is_not_overwritten,
                an_existing_step_contact_is_not_overwritten,
                an_existing_tag_is_not_overwritten,
                an_existing_custom_record_is_not_overwritten,
                an_existing_derived_id_fails_the_enrollment,
            }
            conflict_is_typed {
                sequential_enrollments_do_not_conflict,
                unrelated_writes_do_not_conflict,
                a_new_load_resolves_a_conflict,
            }
            byte_exact_keys {
                similar_external_ids_are_different_contacts,
                keys_are_compared_by_bytes,
                emails_are_found_by_key_and_stored_as_given,
            }
            any_size {
                four_thousand_contacts_are_created_then_reprocessed,
                long_texts_are_stored_unchanged,
                round_trips_do_not_grow_with_the_recipients,
            }
            empty_input {
                a_query_without_keys_loads_no_wrong_contact,
                an_unknown_organization_has_no_rows,
                an_enrollment_without_enrolled_recipients_writes_only_its_own_row,
            }
            organizations_are_separate {
                the_same_ids_and_keys_in_another_organization_are_separate,
                rows_of_another_organization_are_not_loaded,
                a_commit_writes_only_its_own_organization,
            }
            one_version_per_aggregate {
                an_enrollment_increments_the_version_of_written_contacts,
                a_contact,
                preferences_of_a_contact,
                conversations_of_a_contact,
                runs_of_a_contact,
                step_contacts_of_a_contact,
                tags_of_a_contact,
                records_of_a_contact,
                a_related_row_does_not_change_other_contacts,
                a_sequence_and_its_steps,
                a_channel,
                a_custom_object,
                a_call_flow,
                versions_only_grow,
            }
            concurrent_writers {
                overlapping_requests_succeed_without_duplicate_contacts,
                the_same_enrollment_by_many_callers_is_committed_once,
                requests_of_a_list_share_one_tag,
                a_load_during_writes_is_consistent,
                an_opt_out_during_enrollments_is_kept,
            }
            model {
                random_enrollments_write_what_apply_writes,
            }
        }
    };
}

/// Passes the list of the inbox cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __inbox_conformance_cases {
    ([$($then:tt)*] $($first:tt)*) => {
        $($then)*! {
            $($first)*
            inserted_once {
                every_handle_finds_an_accepted_command,
                the_same_request_gets_the_first_receipt,
                another_request_with_the_same_id_is_refused,
                the_second_insert_returns_the_stored_enrollment,
                a_completed_enrollment_is_not_accepted_again,
                an_unknown_enrollment_is_not_found,
                an_accepted_enrollment_is_unfinished,
            }
            completion_commits_with_its_data {
                processing_writes_what_enrolling_writes,
                processing_twice_writes_once,
                the_second_worker_conflicts_then_returns_the_first_report,
                only_an_accepted_enrollment_can_be_finished,
                creating_an_accepted_enrollment_conflicts,
                a_plan_from_before_an_erasure_conflicts,
                a_refused_completion_leaves_the_enrollment_accepted,
                an_archived_sequence_rejects_the_enrollment,
                a_deleted_sequence_rejects_the_enrollment,
            }
            one_worker_per_lease {
                the_oldest_enrollment_is_claimed_first,
                a_leased_enrollment_is_not_claimed_before_the_lease_ends,
                an_organization_has_one_lease,
                another_completion_does_not_end_the_lease,
                a_completed_enrollment_is_not_claimed,
                an_empty_inbox_has_no_claim,
                many_workers_complete_each_enrollment_once,
            }
            organizations_take_turns {
                organizations_alternate,
                a_leased_organization_is_passed_over,
                work_that_arrives_waits_for_its_turn,
                an_ended_lease_frees_the_organization,
            }
            answers_belong_to_leases {
                a_failure_is_stored_until_the_next_attempt,
                a_failure_lets_the_next_enrollment_be_claimed,
                an_abandoned_enrollment_is_failed_and_not_claimed,
                an_outdated_claim_records_no_failure,
                an_answered_claim_has_no_second_answer,
                a_late_answer_counts_if_no_claim_followed,
                an_outdated_claim_releases_nothing,
            }
            only_failures_count {
                a_release_is_no_attempt,
                a_released_enrollment_is_due_after_the_delay,
                lost_leases_are_counted_until_an_answer,
            }
            retries_reset_the_attempts {
                a_failed_enrollment_is_accepted_again_without_attempts,
                only_a_failed_enrollment_is_retried,
                an_enrollment_without_its_command_is_not_retried,
            }
            inbox_organizations_are_separate {
                an_enrollment_belongs_to_its_organization,
            }
            one_clock {
                a_request_instant_in_the_future_is_due_now,
                instants_of_requests_change_no_lease,
                instants_of_requests_change_no_delay,
                instants_of_requests_change_no_turn,
                instants_of_completions_change_no_lease,
            }
        }
    };
}

/// Passes the list of the cases of the log of events to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __event_conformance_cases {
    ([$($then:tt)*] $($first:tt)*) => {
        $($then)*! {
            $($first)*
            events_are_written_with_the_change {
                an_accepted_enrollment_writes_one_event,
                an_enrollment_at_once_writes_one_event,
                a_processed_enrollment_writes_one_event_more,
                a_large_enrollment_writes_its_event,
                a_rejected_enrollment_writes_one_event,
                an_enrollment_that_is_given_up_and_retried_writes_an_event_each_time,
                an_attempt_that_is_repeated_writes_none,
                a_repeated_request_writes_none,
                a_conflict_writes_none,
                a_failed_commit_writes_none,
                a_rollback_leaves_none,
            }
            events_have_ids_counts_and_codes {
                an_event_has_the_ids_of_its_enrollment,
                a_completed_event_has_the_counts_of_the_report,
                a_rejected_event_has_the_codes_of_the_rejection,
                the_clock_of_the_storage_dates_an_event,
            }
            a_reader_misses_none {
                pages_have_each_event_once_and_in_order,
                a_position_behind_all_events_has_none,
                writers_may_commit_in_another_order_than_they_began,
            }
            events_are_pruned_by_age {
                the_oldest_are_removed_first_in_pieces,
                newer_events_stay,
                a_removed_position_is_not_used_again,
                events_that_no_reader_has_seen_are_removed,
            }
            events_are_off_by_default {
                a_new_database_writes_none,
                events_are_written_from_when_they_are_on_until_they_are_off,
            }
        }
    };
}
