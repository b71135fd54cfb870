//! What a host's own upload page does: show the columns, apply the choices of a person, show each row.
//!
//! ```sh
//! cargo run -p enroll-import --example upload_page -- contacts.xlsx "Contact no.=phone" "Company=ignore"
//! ```

use enroll::Timestamp;
use enroll_import::{Assignment, List, Options, Settings, inspect};
use std::error::Error;

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a host reads its arguments, clock and files")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: upload_page FILE [TITLE=FIELD]...")?;
    let file = std::fs::File::open(&path)?;
    let settings = Settings::new(Timestamp::try_from(std::time::SystemTime::now())?);
    let mut options = Options::default();
    for argument in arguments {
        options.mapping.extend([argument.parse::<Assignment>()?]);
    }

    let inspection = inspect(&file, &options, &settings)?;
    println!("{path}: {}, {} rows", inspection.format, inspection.rows);
    for column in &inspection.columns {
        let field = column.field.as_ref().map_or("not read".to_owned(), ToString::to_string);
        println!("  {} → {field}, for example {:?}", column.title, column.samples);
    }
    for warning in &inspection.warnings {
        println!("  note: {warning}");
    }

    for row in List::open(&file, options, settings)?.rows()? {
        match row? {
            Ok(entry) => println!("row {}: {}", entry.row, entry.recipient.phone.unwrap_or_default()),
            Err(set_aside) => println!("set aside: {set_aside}"),
        }
    }
    Ok(())
}
