//! The repository contract as tests: [`conformance_tests!`](crate::conformance_tests) makes one `#[test]` of each case.
//!
//! A repository's author writes a [`Fixture`] and calls the macro. One module a clause of
//! [`Repository`](crate::Repository)'s contract, one function a case; a fresh database a case, and independent handles
//! onto it, so that a race is a sequence of calls and no matter of luck.

use crate::ids::OrganizationId;
use crate::inbox::AsyncInbox;
use crate::repository::{AsyncRepository, RepositoryError};
mod guarding;
mod inbox;
mod reading;
mod scene;
mod writers;
mod writing;

use crate::seed::{HostWrite, Seed};

/// What the suite needs of a repository. A method that cannot do its part panics: it is a test that fails.
pub trait Fixture: Sized + Sync {
    /// A handle. A blocking repository is wrapped in [`Blocking`](crate::testing::Blocking).
    type Repository: AsyncRepository;

    /// A database of its own, without rows.
    fn fresh() -> impl Future<Output = Self>;

    /// A handle onto the database, independent of all others: a connection of its own, where there are connections.
    fn open(&self) -> impl Future<Output = Self::Repository>;

    /// Puts the rows of a world into the empty database. [`Seed::inserts`] tells them one by one.
    fn seed(&self, given: &Seed) -> impl Future<Output = ()>;

    /// Writes a row past the engine, as the rest of a host would.
    ///
    /// # Errors
    /// Whatever the storage says where the write would break clause 5.
    fn host_write(&self, write: &HostWrite) -> impl Future<Output = Result<(), RepositoryError>>;

    /// All rows of all organizations; those of another than `organization_id` name theirs.
    fn dump(&self, organization_id: OrganizationId) -> impl Future<Output = Seed>;
}

/// How the futures of a [`Fixture`] and its handles are run: the `block_on` of their runtime.
pub trait BlockOn {
    /// Runs a future to its end. It is called in several threads at once, never from within a future of the same thread.
    fn block_on<T>(future: impl Future<Output = T>) -> T;
}

/// Makes a test of each case, for a [`Fixture`] and the `block_on` of its runtime.
///
/// Attributes before the fixture stand on every test, such as `#[ignore = "needs a server"]`. A case that a repository
/// cannot keep, for a reason, is exempt by name: it must then fail, so that an exemption that is no longer needed shows.
/// What guards, atomicity, uniqueness and creation promise has no exemptions.
///
/// ```text
/// enroll::conformance_tests!(MyFixture, enroll::testing::block_on);
/// enroll::conformance_tests!(#[ignore = "needs a server"] MyFixture, my_runtime::block_on);
/// enroll::conformance_tests!(MyFixture, block_on, exempt: { long_texts_come_back_whole: "rows hold 4 kB" });
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

/// Makes a test of each case of the inbox, beside those of [`conformance_tests!`](crate::conformance_tests), which comes
/// first: the fixture and its runtime are that one's.
#[macro_export]
macro_rules! inbox_conformance_tests {
    ($(#[$attribute:meta])* $fixture:ty $(,)?) => {
        $crate::__inbox_conformance_cases! { [$crate::__conformance_tests] [$(#[$attribute])*] [$fixture] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ($attributes:tt $fixture:tt $($clause:ident { $($case:ident,)* })*) => {$(
        mod $clause {
            #[allow(unused_imports, reason = "whatever the fixture's name needs")]
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

/// All cases, as values: for whoever runs them by other means than `#[test]`.
#[must_use]
pub fn all_cases<F: Fixture + 'static, B: BlockOn + 'static>() -> Vec<Case> {
    crate::__conformance_cases! { [as_values] }
}

/// All cases of the inbox, as values.
#[must_use]
pub fn all_inbox_cases<F: Fixture<Repository: AsyncInbox> + 'static, B: BlockOn + 'static>() -> Vec<Case> {
    crate::__inbox_conformance_cases! { [as_values] }
}

/// A list of cases, for the fixture `F` and the runtime `B` of whoever asks.
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

    /// The clause of the contract, as a name.
    #[must_use]
    pub fn clause(&self) -> &'static str {
        self.clause
    }

    /// What it promises.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it on a fresh database.
    ///
    /// # Panics
    /// If the repository does not keep what the case promises.
    pub fn run(&self) {
        (self.run)();
    }

    #[doc(hidden)]
    pub fn run_unless_exempt(&self, exempt: &[(&str, &str)]) {
        let Some((_, reason)) = exempt.iter().find(|(name, _)| *name == self.name) else { return self.run() };
        assert!(
            !WITHOUT_EXEMPTIONS.contains(&self.clause),
            "`{}` of clause `{}` has no exemption",
            self.name,
            self.clause
        );
        let kept = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run())).is_ok();
        assert!(!kept, "`{}` is exempt ({reason}), and is kept: take the exemption out", self.name);
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}::{}", self.clause, self.name)
    }
}

/// What no repository can do without.
const WITHOUT_EXEMPTIONS: [&str; 7] = [
    "all_or_nothing",
    "guards_hold",
    "unique_for_good",
    "create_means_create",
    "inserted_once",
    "completion_commits_with_its_data",
    "a_lease_is_given_once",
];

#[doc(hidden)]
pub mod cases {
    pub use super::guarding::{guards_hold, one_version_an_aggregate};
    pub use super::inbox::{
        a_failure_is_of_an_attempt, a_lease_is_given_once, a_retry_begins_anew, an_inbox_has_walls,
        completion_commits_with_its_data, inserted_once,
    };
    pub use super::reading::{
        byte_exact_keys, complete_load, empty_is_nothing, read_what_was_written, tenants_are_walls,
    };
    pub use super::writers::{concurrent_writers, model};
    pub use super::writing::{all_or_nothing, any_size, conflict_is_typed, create_means_create, unique_for_good};
}

/// The list of all cases, handed to a macro after whatever stands in front of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ([$($then:tt)*] $($first:tt)*) => {
        $($then)*! {
            $($first)*
            read_what_was_written {
                a_commit_is_seen_by_every_handle,
                a_hosts_write_is_seen_by_every_handle,
                every_field_of_every_row_comes_back,
                a_seed_comes_back_whole,
                the_stored_report_answers_again,
            }
            complete_load {
                each_key_finds_its_contact,
                several_keys_of_one_contact_find_it_once,
                a_merged_contact_holds_no_keys,
                what_does_not_exist_is_absent,
                all_channels_are_in_the_context,
                what_stands_round_neighbours_is_loaded_with_each,
                what_a_commit_wrote_is_loaded_with_its_contact,
            }
            all_or_nothing {
                a_commit_writes_all_that_its_plan_says,
                a_stale_guard_leaves_nothing,
                a_refused_row_of_any_table_takes_the_others_with_it,
                a_claimed_key_of_the_last_recipient_takes_the_others_with_it,
                a_refused_commit_can_be_planned_again,
            }
            guards_hold {
                a_sequence_that_was_archived,
                a_sequence_whose_settings_changed,
                a_sequence_that_was_deleted,
                a_step_that_was_inserted,
                a_step_that_was_changed,
                a_step_that_was_deleted,
                a_channel_that_was_disabled,
                a_channel_that_was_deleted,
                a_channel_that_was_unknown_and_appears,
                a_custom_object_that_was_changed,
                a_custom_object_that_was_deleted,
                a_call_flow_that_was_deleted,
                a_contact_that_was_blocked,
                a_contact_that_was_merged,
                a_contact_that_was_given_another_phone,
                a_contact_that_was_filled,
                a_contact_that_was_deleted,
                a_contact_that_is_ignored_and_changes,
                one_of_many_neighbours_that_changes,
                an_opt_out,
                a_conversation_that_begins,
                a_run_that_begins,
                a_step_contact_that_goes_on,
                a_step_contact_that_is_deleted,
                a_record_that_appears,
                a_vacant_phone_that_is_taken,
                a_vacant_email_that_is_taken,
                a_vacant_external_id_that_is_taken,
                a_merged_contact_that_comes_back,
                the_operation_sees_the_change_and_ends,
            }
            unique_for_good {
                a_second_writer_of_the_same_phone_conflicts_then_reuses,
                a_second_writer_of_the_same_email_conflicts_then_reuses,
                a_second_writer_of_the_same_external_id_conflicts_then_reuses,
                a_second_writer_of_the_same_blank_field_conflicts_then_reuses,
                keys_are_unique_without_a_guard,
                a_host_cannot_give_two_contacts_one_key,
                a_merged_contacts_keys_are_free,
                blank_fields_are_no_keys,
                keys_given_up_and_claimed_in_one_commit_go_over,
                one_conversation_of_a_contact_on_a_phone_channel,
                any_number_of_conversations_by_email,
                one_live_step_contact_of_a_contact_in_a_sequence,
                live_in_two_sequences_is_no_conflict,
                an_enrollment_happens_once,
            }
            create_means_create {
                a_contact_under_a_derived_id_is_not_overwritten,
                a_conversation_under_a_derived_id_is_not_overwritten,
                a_run_under_a_derived_id_is_not_overwritten,
                a_step_contact_under_a_derived_id_is_not_overwritten,
                a_tag_under_a_derived_id_is_not_overwritten,
                a_record_under_a_derived_id_is_not_overwritten,
                a_derived_id_that_exists_ends_the_enrollment,
            }
            conflict_is_typed {
                with_nothing_in_the_way_there_is_none,
                what_a_plan_does_not_rest_on_is_not_in_its_way,
                a_fresh_load_ends_it,
            }
            byte_exact_keys {
                external_ids_that_look_alike_are_different_people,
                a_key_is_its_very_bytes,
                emails_are_found_by_their_key_and_shown_as_given,
            }
            any_size {
                four_thousand_new_people_and_again,
                long_texts_come_back_whole,
            }
            empty_is_nothing {
                a_lookup_without_keys_finds_nobody_it_should_not,
                an_organization_that_does_not_exist_has_nothing,
                an_enrollment_of_nobody_writes_its_own_row_alone,
            }
            tenants_are_walls {
                the_same_ids_and_keys_of_another_organization_stay_there,
                nothing_of_another_organization_can_be_named,
                a_commit_touches_its_own_organization_alone,
            }
            one_version_an_aggregate {
                an_enrollment_raises_whom_it_writes_by_one,
                a_contact,
                preferences_round_a_contact,
                conversations_round_a_contact,
                runs_round_a_contact,
                step_contacts_round_a_contact,
                tags_on_a_contact,
                records_round_a_contact,
                a_row_round_one_contact_raises_no_other,
                a_sequence_and_its_steps,
                a_channel,
                a_custom_object,
                a_call_flow,
                versions_only_grow,
            }
            concurrent_writers {
                overlapping_batches_all_succeed_and_nobody_is_made_twice,
                one_enrollment_of_many_callers_happens_once,
                a_load_beside_writers_is_whole,
                an_opt_out_beside_enrollments_is_not_lost,
            }
            model {
                random_enrollments_come_to_what_apply_says,
            }
        }
    };
}

/// The list of the inbox's cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __inbox_conformance_cases {
    ([$($then:tt)*] $($first:tt)*) => {
        $($then)*! {
            $($first)*
            inserted_once {
                what_is_accepted_is_found_whole_by_every_handle,
                the_same_request_gets_the_first_receipt,
                another_request_under_the_same_id_is_refused,
                the_second_of_two_gets_what_the_first_stored,
                an_enrollment_that_is_completed_is_not_accepted_again,
                what_is_not_there_is_not_found,
                accepted_is_not_enrolled_yet,
            }
            completion_commits_with_its_data {
                processing_is_what_enrolling_would_be,
                processing_twice_is_processing_once,
                the_second_worker_conflicts_then_answers_with_the_first_report,
                nothing_is_finished_that_does_not_wait,
                a_commit_that_creates_conflicts_with_what_was_accepted,
                a_refused_completion_leaves_it_waiting,
                a_sequence_archived_since_ends_it_rejected,
                a_sequence_deleted_since_ends_it_rejected,
            }
            a_lease_is_given_once {
                the_oldest_that_waits_is_claimed_first,
                what_is_leased_is_not_claimed_before_the_lease_ends,
                what_has_ended_is_never_claimed,
                an_instant_to_come_is_due_at_once,
                an_empty_inbox_gives_nothing,
                organizations_share_the_workers,
                many_workers_finish_everything_once,
            }
            a_failure_is_of_an_attempt {
                a_failure_is_kept_and_waits_for_its_next_attempt,
                what_is_given_up_is_failed_and_not_claimed,
                an_attempt_that_was_overtaken_says_nothing,
            }
            a_retry_begins_anew {
                what_failed_waits_again_from_its_first_attempt,
                only_what_failed_is_retried,
            }
            an_inbox_has_walls {
                an_enrollment_is_its_organizations,
            }
        }
    };
}
