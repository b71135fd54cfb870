//! The profile of a contact: its fields other than keys. A new field is added to `with_profile_fields!` only.

use std::sync::Arc;

use super::{Address, BirthDate};
use crate::ids::ChannelId;
use crate::text::{Text, is_blank};
use crate::value::Properties;

/// Calls a macro with the fields of [`Profile`]. This is the only list of these fields in the crate.
macro_rules! with_profile_fields {
    ($macro:ident! { $($arguments:tt)* }) => {
        $macro! {
            {
                /// The full name.
                name: $crate::text::Text,
                /// The given name, trimmed.
                first_name: $crate::text::Text,
                /// The family name, trimmed.
                last_name: $crate::text::Text,
                /// The language, in the host's own form.
                language: $crate::text::Text,
                /// The channel that the host uses by default.
                default_channel_id: $crate::ids::ChannelId,
                /// The postal address. It is replaced or kept as a whole.
                address: std::sync::Arc<$crate::contact::Address>,
                /// The birth date. It is replaced or kept as a whole.
                birth_date: $crate::contact::BirthDate,
            }
            $($arguments)*
        }
    };
}
pub(crate) use with_profile_fields;

macro_rules! define_profile {
    ({ $($(#[$doc:meta])* $field:ident: $type:ty,)* }) => {
        /// The fields of a contact other than its keys and its state.
        ///
        /// A contact, an update and a checked recipient share it. In JSON, its fields are members of their object.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Profile {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        impl Profile {
            /// Returns true if no field is set.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                $(self.$field.is_none())&&*
            }

            /// Sets the fields of another profile that are set here.
            pub fn apply(&self, other: &mut Self) {
                $(if let Some(value) = &self.$field {
                    other.$field = Some(value.clone());
                })*
            }

            /// Removes the fields that must not replace a stored value: `overwrite` replaces different values, and
            /// otherwise only blank values are replaced.
            pub(crate) fn retain_changes(&mut self, stored: &Self, overwrite: bool) {
                $(if !changes(self.$field.as_ref(), stored.$field.as_ref(), overwrite) {
                    self.$field = None;
                })*
            }
        }
    };
}
with_profile_fields!(define_profile! {});

fn changes<T: Blank + PartialEq>(given: Option<&T>, stored: Option<&T>, overwrite: bool) -> bool {
    match stored.filter(|stored| !stored.is_blank()) {
        None => true,
        Some(stored) => overwrite && given != Some(stored),
    }
}

/// A value that can be blank. A blank stored value counts as absent.
trait Blank {
    fn is_blank(&self) -> bool;
}

impl Blank for Text {
    fn is_blank(&self) -> bool {
        is_blank(Some(self))
    }
}

impl Blank for ChannelId {
    fn is_blank(&self) -> bool {
        false
    }
}

impl Blank for Arc<Address> {
    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

impl Blank for BirthDate {
    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

/// Implements serde for a struct with a `profile`, whose fields become members of the same JSON object.
///
/// `#[serde(flatten)]` is slower and cannot refuse unknown fields. All fields may be absent, except those in the first
/// braces.
macro_rules! flat_serde {
    (
        { $($(#[$doc:meta])* $field:ident: $type:ty,)* }
        $name:ident { $($required:ident: $required_type:ty,)* }
        { $($before:ident: $before_type:ty,)* } profile { $($after:ident: $after_type:ty,)* }
    ) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[derive(serde::Serialize)]
                struct Flat<'a> {
                    $($required: &'a $required_type,)*
                    $(#[serde(skip_serializing_if = "crate::contact::Omit::is_omitted")] $before: &'a $before_type,)*
                    $(#[serde(skip_serializing_if = "crate::contact::Omit::is_omitted")] $field: &'a Option<$type>,)*
                    $(#[serde(skip_serializing_if = "crate::contact::Omit::is_omitted")] $after: &'a $after_type,)*
                }
                let flat = Flat {
                    $($required: &self.$required,)*
                    $($before: &self.$before,)*
                    $($field: &self.profile.$field,)*
                    $($after: &self.$after,)*
                };
                flat.serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Flat {
                    $($required: $required_type,)*
                    $(#[serde(default)] $before: $before_type,)*
                    $(#[serde(default)] $field: Option<$type>,)*
                    $(#[serde(default)] $after: $after_type,)*
                }
                let flat = Flat::deserialize(deserializer)?;
                let profile = $crate::contact::Profile { $($field: flat.$field,)* };
                Ok(Self { $($required: flat.$required,)* $($before: flat.$before,)* profile, $($after: flat.$after,)* })
            }
        }
    };
}
pub(crate) use flat_serde;

/// A value that JSON can omit.
pub(crate) trait Omit {
    fn is_omitted(&self) -> bool;
}

impl<T> Omit for Option<T> {
    fn is_omitted(&self) -> bool {
        self.is_none()
    }
}

impl Omit for Properties {
    fn is_omitted(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Omit> Omit for &T {
    fn is_omitted(&self) -> bool {
        (*self).is_omitted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::Contact;
    use serde_json::json;

    #[test]
    fn the_profile_is_flat_in_json_and_unknown_fields_are_refused() {
        let json = json!({ "id": "00000000-0000-0000-0000-000000000001", "name": "Ann", "birth_date": { "day": 1 } });
        let contact: Contact = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(contact.profile.name.as_deref(), Some("Ann"));
        let mut expected = json;
        expected["state"] = json!("open");
        assert_eq!(serde_json::to_value(&contact).unwrap(), expected);
        expected["nam"] = json!("Ann");
        let error = serde_json::from_value::<Contact>(expected).unwrap_err().to_string();
        assert!(error.starts_with("unknown field `nam`, expected one of `id`"), "{error}");
    }

    #[test]
    fn blank_values_are_filled_and_others_replaced_by_overwrite_only() {
        let given = Profile { name: Some("Ann".into()), language: Some("en".into()), ..Profile::default() };
        let stored = Profile { name: Some("Bob".into()), language: Some(" ".into()), ..Profile::default() };
        let mut filled = given.clone();
        filled.retain_changes(&stored, false);
        assert_eq!((filled.name, filled.language.as_deref()), (None, Some("en")));
        let mut overwritten = given.clone();
        overwritten.retain_changes(&stored, true);
        assert_eq!(overwritten, given);
        overwritten.retain_changes(&given, true);
        assert!(overwritten.is_empty());
    }
}
