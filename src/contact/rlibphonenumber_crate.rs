//! The one file that knows `rlibphonenumber`.

use rlibphonenumber::{PHONE_NUMBER_UTIL, ParseError, PhoneNumberFormat};

use super::phone::{PhoneFault, PhoneNormalizer, PhoneNumber, Region, guard};

/// The engine's own normalizer: Google's libphonenumber, in Rust.
#[derive(Clone, Copy, Debug, Default)]
pub struct Libphonenumber;

impl PhoneNormalizer for Libphonenumber {
    fn normalize(&self, text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneFault> {
        guard(text)?;
        let phone = parse(text, region)?;
        // Some Belarusian numbers lose a leading `8 10` each time that they are read. All that are known begin so.
        if phone.as_str().starts_with("+375") && parse(phone.as_str(), None).as_ref() != Ok(&phone) {
            return Err(PhoneFault::NoSuchNumber);
        }
        Ok(phone)
    }

    fn region(&self, phone: &PhoneNumber) -> Option<Region> {
        let number = PHONE_NUMBER_UTIL.parse(phone.as_str(), None).ok()?;
        let region = PHONE_NUMBER_UTIL.get_region_for_number(&number)?;
        Region::new(&region.as_region_str()).ok()
    }
}

fn parse(text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneFault> {
    let region = region.and_then(|region| rlibphonenumber::Region::from_code(region.as_str()).ok());
    let number = PHONE_NUMBER_UTIL.parse(text, region).map_err(|e| match e {
        ParseError::InvalidCountryCode => PhoneFault::UnknownCountry,
        ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneFault::TooShort,
        ParseError::TooLongNsn => PhoneFault::TooLong,
        ParseError::NotANumber(_) => PhoneFault::NotANumber,
    })?;
    if !PHONE_NUMBER_UTIL.is_valid_number(&number) {
        return Err(PhoneFault::NoSuchNumber);
    }
    PhoneNumber::from_e164(&PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164)).ok_or(PhoneFault::NoSuchNumber)
}
