//! The only file that uses `phonenumber`.

use phonenumber::country;
use phonenumber::{Mode, ParseError};

use super::phone::{PhoneError, PhoneNormalizer, PhoneNumber, Region, guard};

/// A normalizer that wraps the `phonenumber` crate.
///
/// Some of its results differ from Google's libphonenumber, and it is slow on numbers of many countries. The figures
/// are in `docs/decisions/0001-phone-crate.md`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PhonenumberCrate;

impl PhoneNormalizer for PhonenumberCrate {
    fn normalize(&self, text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneError> {
        guard(text)?;
        // A number with `+` must not depend on the region. With a region, the crate removes the region's prefix.
        let international = text.trim_start().starts_with(['+', '\u{ff0b}']);
        let region = region.filter(|_| !international).and_then(|region| region.as_str().parse::<country::Id>().ok());
        let number = phonenumber::parse(region, text).map_err(|e| match e {
            ParseError::InvalidCountryCode => PhoneError::UnknownCountry,
            ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::TooShort,
            ParseError::TooLong => PhoneError::TooLong,
            _ => PhoneError::NotANumber,
        })?;
        if !phonenumber::is_valid(&number) {
            return Err(PhoneError::NoSuchNumber);
        }
        PhoneNumber::from_e164(&number.format().mode(Mode::E164).to_string()).ok_or(PhoneError::NoSuchNumber)
    }

    fn region(&self, phone: &PhoneNumber) -> Option<Region> {
        let number = phonenumber::parse(None, phone.as_str()).ok()?;
        Region::new(number.country().id()?.as_ref()).ok()
    }

    fn calling_code(&self, region: &Region) -> Option<u16> {
        phonenumber::metadata::DATABASE.by_id(region.as_str()).map(phonenumber::Metadata::country_code)
    }

    fn is_service_number(&self, phone: &PhoneNumber) -> bool {
        use phonenumber::Type::{SharedCost, TollFree, Uan};
        let number = phonenumber::parse(None, phone.as_str());
        number.is_ok_and(|number| {
            matches!(number.number_type(&phonenumber::metadata::DATABASE), TollFree | SharedCost | Uan)
        })
    }
}
