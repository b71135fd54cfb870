//! Lists of keys, one list for each kind of key.

use serde::{Deserialize, Deserializer, Serialize};

use super::KeyKind;
use crate::text::Text;

/// Keys of contacts: external ids, phones and emails. Each list is sorted and contains each key once.
///
/// ```
/// use enroll::contact::{ContactKeys, KeyKind};
///
/// let keys = ContactKeys::from_iter([(KeyKind::Phone, "+12025550187"), (KeyKind::Phone, "+12025550123")]);
/// assert_eq!(keys.phones(), ["+12025550123", "+12025550187"]);
/// assert!(keys.get(KeyKind::Email).is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContactKeys {
    external_ids: Vec<Text>,
    phones: Vec<Text>,
    emails: Vec<Text>,
}

impl ContactKeys {
    /// Sorts the lists, one for each kind in the order of [`KeyKind::ALL`], and removes duplicates.
    #[must_use]
    pub fn new(lists: [Vec<Text>; 3]) -> Self {
        let [external_ids, phones, emails] = lists.map(|mut keys| {
            keys.sort_unstable();
            keys.dedup();
            keys
        });
        Self { external_ids, phones, emails }
    }

    /// Returns the keys of a kind.
    #[must_use]
    pub fn get(&self, kind: KeyKind) -> &[Text] {
        match kind {
            KeyKind::ExternalId => &self.external_ids,
            KeyKind::Phone => &self.phones,
            KeyKind::Email => &self.emails,
        }
    }

    /// Returns the external ids. They are compared byte by byte.
    #[must_use]
    pub fn external_ids(&self) -> &[Text] {
        &self.external_ids
    }

    /// Returns the phone numbers, in E.164.
    #[must_use]
    pub fn phones(&self) -> &[Text] {
        &self.phones
    }

    /// Returns the comparison keys of the email addresses.
    #[must_use]
    pub fn emails(&self) -> &[Text] {
        &self.emails
    }

    /// Returns each kind with its keys, in the order of [`KeyKind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (KeyKind, &[Text])> {
        KeyKind::ALL.into_iter().map(|kind| (kind, self.get(kind)))
    }

    /// Returns true if all lists are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().all(|(_, keys)| keys.is_empty())
    }
}

impl<T: Into<Text>> FromIterator<(KeyKind, T)> for ContactKeys {
    fn from_iter<I: IntoIterator<Item = (KeyKind, T)>>(keys: I) -> Self {
        let mut lists = [const { Vec::new() }; 3];
        for (kind, key) in keys {
            lists[kind as usize].push(key.into());
        }
        Self::new(lists)
    }
}

impl<'de> Deserialize<'de> for ContactKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Lists {
            external_ids: Vec<Text>,
            phones: Vec<Text>,
            emails: Vec<Text>,
        }
        let Lists { external_ids, phones, emails } = Lists::deserialize(deserializer)?;
        Ok(Self::new([external_ids, phones, emails]))
    }
}
