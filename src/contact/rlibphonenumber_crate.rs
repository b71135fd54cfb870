//! The only file that uses `rlibphonenumber`.

use rlibphonenumber::{PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat, PhoneNumberType};

use super::phone::{PhoneError, PhoneNormalizer, PhoneNumber, Region, guard};

/// The default normalizer: Google's libphonenumber in Rust.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libphonenumber;

impl Libphonenumber {
    /// Compiles the patterns of these regions now. Otherwise the first number of a region compiles them.
    ///
    /// A process compiles the patterns of a region once: about 10 ms with the feature `phone-regex`, and half a
    /// millisecond without it, on a slow machine. A host can call this at its start, on a separate thread, for the
    /// regions of its senders and recipients. `docs/performance.md` has the figures.
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
            // A number is compared with the patterns of each kind. Mobile comes last, so a mobile number compiles all.
            for kind in [PhoneNumberType::Mobile, PhoneNumberType::FixedLine] {
                let example = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(known, kind);
                let Ok(example) = example else { continue };
                for format in [PhoneNumberFormat::National, PhoneNumberFormat::International] {
                    // Only the compilation matters, not the result.
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
        // Some Belarusian numbers lose a leading `8 10` each time that they are read. All known ones start with it.
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

    fn calling_code(&self, region: &Region) -> Option<u16> {
        let known = rlibphonenumber::Region::from_code(region.as_str()).ok()?;
        PHONE_NUMBER_UTIL.get_country_code_for_region(known)?.try_into().ok()
    }

    fn is_service_number(&self, phone: &PhoneNumber) -> bool {
        let number = PHONE_NUMBER_UTIL.parse(phone.as_str(), None);
        let kind = number.map(|number| PHONE_NUMBER_UTIL.get_number_type(&number));
        kind.is_ok_and(|kind| {
            matches!(kind, PhoneNumberType::TollFree | PhoneNumberType::SharedCost | PhoneNumberType::UAN)
        })
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
