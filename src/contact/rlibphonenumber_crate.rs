//! The one file that knows `rlibphonenumber`.

use rlibphonenumber::{PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, PhoneNumberType};

use super::phone::{PhoneError, PhoneNormalizer, PhoneNumber, Region, guard};

/// The engine's own normalizer: Google's libphonenumber, in Rust.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libphonenumber;

impl Libphonenumber {
    /// Compiles the patterns of these regions now, rather than at the first number of each.
    ///
    /// A process pays for them once and keeps them: some 10 ms a region with the feature `phone-regex`, half a
    /// millisecond without it, on a slow machine. A host that answers requests calls this before the first, on a thread of its own if
    /// it likes: for the regions of its senders, or of its recipients where it knows them. A region that has no numbers
    /// costs nothing. `docs/performance.md` has the figures.
    ///
    /// ```
    /// use enroll::contact::{Libphonenumber, Region};
    ///
    /// Libphonenumber.warm_up([Region::new("US")?, Region::new("RW")?]);
    /// # Ok::<(), enroll::contact::RegionError>(())
    /// ```
    pub fn warm_up(&self, regions: impl IntoIterator<Item = Region>) {
        for region in regions {
            let Ok(known) = rlibphonenumber::Region::from_code(region.as_str()) else { continue };
            // A number is held against the patterns of one kind after the other: of a mobile one, which comes last,
            // against all.
            for kind in [PhoneNumberType::Mobile, PhoneNumberType::FixedLine] {
                let example = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(known, kind);
                let Ok(example) = example else { continue };
                for format in [PhoneNumberFormat::National, PhoneNumberFormat::International] {
                    // What it is does not matter, only that it was read.
                    let _: Result<PhoneNumber, PhoneError> =
                        self.normalize(&PHONE_NUMBER_UTIL.format(&example, format), Some(&region));
                }
            }
        }
    }
}

impl PhoneNormalizer for Libphonenumber {
    fn normalize(&self, text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneError> {
        guard(text)?;
        let phone = parse(text, region)?;
        // Some Belarusian numbers lose a leading `8 10` each time that they are read. All that are known begin so.
        if phone.as_str().starts_with("+375") && parse(phone.as_str(), None).as_ref() != Ok(&phone) {
            return Err(PhoneError::NoSuchNumber);
        }
        Ok(phone)
    }

    fn region(&self, phone: &PhoneNumber) -> Option<Region> {
        let number = PHONE_NUMBER_UTIL.parse(phone.as_str(), None).ok()?;
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&number)?;
        Region::new(&region.as_region_str()).ok()
    }
}

fn parse(text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneError> {
    let region = region.and_then(|region| rlibphonenumber::Region::from_code(region.as_str()).ok());
    let number = PHONE_NUMBER_UTIL.parse(text, region).map_err(|e| match e {
        ParseError::InvalidCountryCode => PhoneError::UnknownCountry,
        ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::TooShort,
        ParseError::TooLongNsn => PhoneError::TooLong,
        ParseError::NotANumber(_) => PhoneError::NotANumber,
    })?;
    if !PHONE_NUMBER_UTIL.is_valid_number(&number) {
        return Err(PhoneError::NoSuchNumber);
    }
    PhoneNumber::from_e164(&PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164)).ok_or(PhoneError::NoSuchNumber)
}
