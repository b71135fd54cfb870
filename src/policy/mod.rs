//! The settings of the engine that a host can change.

pub(crate) mod enrollment_policy;

pub(crate) use enrollment_policy::EnrollmentPolicy;

use crate::words::words;

words! {
    "setting of `address_source`",
    /// Which address can satisfy the channel kind of the step (spec 4.2).
    #[non_exhaustive]
    #[derive(Default)]
    pub enum AddressSource {
        /// Only the address of the entry.
        #[default]
        EntryOnly = "entry_only",
        /// The address of the entry, or the address of the matched contact if the entry's is missing or not valid.
        EntryThenContact = "entry_then_contact",
    }
}

words! {
    "setting of `identity_conflict`",
    /// What happens to a recipient whose keys belong to different contacts (spec 4.3).
    #[non_exhaustive]
    #[derive(Default)]
    pub enum IdentityConflict {
        /// The contact of the first key is enrolled, with a note for each key that belongs to another contact.
        #[default]
        PreferKeyOrder = "prefer_key_order",
        /// The recipient is ignored.
        Refuse = "refuse",
    }
}

words! {
    "setting of `existing_contact`",
    /// What a recipient changes on an existing contact (spec 4.3).
    #[non_exhaustive]
    #[derive(Default)]
    pub enum ExistingContact {
        /// Blank fields are filled. Stored values are not replaced.
        #[default]
        FillBlank = "fill_blank",
        /// No field changes.
        Keep = "keep",
        /// The recipient's values replace the stored values.
        Overwrite = "overwrite",
    }
}

words! {
    "setting of `consent`",
    /// Whether blocked and opted-out contacts are ignored (spec 4.5).
    #[non_exhaustive]
    #[derive(Default)]
    pub enum Consent {
        /// They are ignored.
        #[default]
        Enforce = "enforce",
        /// They are enrolled. The sender must check consent before each message.
        LeaveToSender = "leave_to_sender",
    }
}

words! {
    "setting of `unknown_keys`",
    /// What happens to keys of a body that no field has (spec 3).
    #[non_exhaustive]
    #[derive(Default)]
    pub enum UnknownKeys {
        /// They are not used, and warnings list them.
        #[default]
        Warn = "warn",
        /// They are not used.
        Ignore = "ignore",
        /// The request is refused.
        Reject = "reject",
    }
}

words! {
    "setting of `reprocess`",
    /// Which contacts of the specified step are reprocessed (spec 4.6 b).
    #[non_exhaustive]
    #[derive(Default)]
    pub enum Reprocess {
        /// Contacts in the step, with any status.
        #[default]
        AnyStatus = "any_status",
        /// Contacts that are pending or active in the step.
        LiveOnly = "live_only",
    }
}
