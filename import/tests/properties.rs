//! Any table reads back the same from any format, and no bytes panic.

use enroll::uuid::Uuid;
use enroll::{EnrollmentId, ListRef, Timestamp};
use enroll_import::{List, ListError, Options, Settings, inspect};
use proptest::prelude::*;
use rust_xlsxwriter::Workbook;
use serde_json::json;
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// The cells of a person: phone, name, external id and language. Blank cells are empty.
type Person = [String; 4];

const TITLES: [&str; 4] = ["Phone", "Name", "External ID", "Language"];

fn settings() -> Settings {
    Settings::new(Timestamp::EPOCH)
}

/// Text that the rules for cells do not change: trimmed, without a text marker, and not an error of a spreadsheet.
fn cell() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[a-zA-Z0-9][a-zA-Z0-9 ,;|\t\"'=+.-]{0,12}[a-zA-Z0-9.]",
        "[a-zA-Zà-öø-ÿ]{1,8}(\n[a-z\"]{1,4})?",
        "\"[a-z]{0,3}\"\"?",
        "[0-9]{1,15}",
    ];
    prop_oneof![1 => Just(String::new()), 4 => text.prop_map(|text| text.trim().to_owned())]
}

fn people() -> impl Strategy<Value = Vec<Person>> {
    let person = ("\\+1202555[0-9]{4}", cell(), cell(), cell()).prop_map(|(phone, a, b, c)| [phone, a, b, c]);
    prop::collection::vec(person, 1..12)
}

fn read(bytes: &[u8], options: Options) -> Result<Vec<Person>, ListError> {
    let mut list = List::open(Cursor::new(bytes), options, settings())?;
    let text = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned();
    list.rows()?
        .map(|row| {
            let person = row?.expect("no row has a fault").recipient;
            Ok([text(person.phone), text(person.name), text(person.external_id), text(person.language)])
        })
        .collect()
}

#[derive(Clone, Debug)]
struct Style {
    encoding: &'static str,
    delimiter: char,
    line_end: &'static str,
    quotes_all: bool,
    says: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let encoding =
        prop::sample::select(vec!["utf-8", "utf-8 bom", "utf-16le", "utf-16le bom", "utf-16be bom", "windows-1252"]);
    let delimiter = prop::sample::select(vec![',', ';', '\t', '|']);
    let line_end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    (encoding, delimiter, line_end, any::<bool>(), any::<bool>()).prop_map(
        |(encoding, delimiter, line_end, quotes_all, says)| Style { encoding, delimiter, line_end, quotes_all, says },
    )
}

fn csv(people: &[Person], style: &Style) -> Vec<u8> {
    let mut text = String::new();
    for row in std::iter::once(TITLES.map(str::to_owned)).chain(people.iter().cloned()) {
        let quoted = row.map(|cell| {
            let special = cell.contains(['"', '\n', '\r', style.delimiter]);
            if style.quotes_all || special { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
        });
        text.push_str(&quoted.join(&style.delimiter.to_string()));
        text.push_str(style.line_end);
    }
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    match style.encoding {
        "utf-8 bom" => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        "utf-16le" => utf16(u16::to_le_bytes),
        "utf-16le bom" => [vec![0xff, 0xfe], utf16(u16::to_le_bytes)].concat(),
        "utf-16be bom" => [vec![0xfe, 0xff], utf16(u16::to_be_bytes)].concat(),
        // Each character of the strategies is below U+0100, and so one byte.
        "windows-1252" => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
        _ => text.into_bytes(),
    }
}

fn options(style: &Style) -> Options {
    let mut options = Options::default();
    // A few letters are not enough to guess an encoding of one byte.
    if style.says || style.encoding == "windows-1252" {
        options.encoding = Some(style.encoding.trim_end_matches(" bom").to_owned());
    }
    if style.says {
        options.delimiter = Some(style.delimiter.to_string().parse().unwrap());
    }
    options
}

fn xlsx(people: &[Person]) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, title) in (0..).zip(TITLES) {
        sheet.write(0, column, title).unwrap();
    }
    for (row, person) in (1..).zip(people) {
        for (column, cell) in (0..).zip(person) {
            match cell.parse::<u32>() {
                // A number reads back as its digits.
                Ok(number) if number.to_string() == *cell => sheet.write(row, column, number).unwrap(),
                _ => sheet.write(row, column, cell.as_str()).unwrap(),
            };
        }
    }
    book.save_to_buffer().unwrap()
}

fn zipped(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn ods(people: &[Person]) -> Vec<u8> {
    let mut rows = String::new();
    for row in std::iter::once(TITLES.map(str::to_owned)).chain(people.iter().cloned()) {
        rows.push_str("<table:table-row>");
        for cell in row {
            let line = |line: &str| escaped(line).replace('\t', "<text:tab/>").replace(' ', "<text:s/>");
            let lines: Vec<String> = cell.split('\n').map(line).collect();
            let paragraphs = format!("<text:p>{}</text:p>", lines.join("</text:p><text:p>"));
            let cell = match cell.parse::<u32>() {
                Ok(number) if number.to_string() == cell => {
                    format!(
                        "<table:table-cell office:value-type=\"float\" office:value=\"{cell}\">{paragraphs}</table:table-cell>"
                    )
                }
                _ if cell.is_empty() => "<table:table-cell/>".to_owned(),
                _ => format!("<table:table-cell office:value-type=\"string\">{paragraphs}</table:table-cell>"),
            };
            rows.push_str(&cell);
        }
        rows.push_str("</table:table-row>");
    }
    let content = format!(
        "<office:document-content xmlns:office=\"o\" xmlns:table=\"t\" xmlns:text=\"x\"><office:body><office:spreadsheet><table:table table:name=\"S\">{rows}</table:table></office:spreadsheet></office:body></office:document-content>"
    );
    zipped(&[("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", content.as_bytes())])
}

fn json_array(people: &[Person]) -> Vec<u8> {
    let entry = |person: &Person| json!({TITLES[0]: person[0], TITLES[1]: person[1], TITLES[2]: person[2], TITLES[3]: person[3]});
    serde_json::to_vec(&people.iter().map(entry).collect::<Vec<_>>()).unwrap()
}

/// Reads the file in every way. It may be refused.
fn read_all(bytes: &[u8]) {
    let options = Options::default();
    let inspected = inspect(Cursor::new(bytes), &options, &settings());
    let opened = List::open(Cursor::new(bytes), options, settings());
    if let Ok(mut list) = opened {
        assert!(inspected.is_ok(), "a list that opens was inspected");
        let rows = list.rows().unwrap().inspect(|row| assert!(row.is_ok())).count() as u64;
        assert_eq!(rows, list.recipients() + list.set_aside());
        let id = EnrollmentId::from_uuid(Uuid::nil());
        let requests: usize =
            list.requests(id, Timestamp::EPOCH).unwrap().map(|request| request.unwrap().rows.len()).sum();
        assert_eq!(requests as u64, list.recipients());
    }
}

/// Changes some bytes of a file, and cuts it.
fn damaged(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)], length: Option<prop::sample::Index>) -> Vec<u8> {
    for (index, byte) in changes {
        let index = index.index(bytes.len());
        bytes[index] = *byte;
    }
    if let Some(length) = length {
        bytes.truncate(length.index(bytes.len() + 1));
    }
    bytes
}

fn xls() -> Vec<u8> {
    include_bytes!("lists/xls-typed-cells/list.xls").to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_table_reads_back_the_same_from_text(people in people(), style in style()) {
        let bytes = csv(&people, &style);
        prop_assert_eq!(read(&bytes, options(&style)).unwrap(), people);
    }

    #[test]
    fn a_table_reads_back_the_same_from_spreadsheets_and_json(people in people()) {
        for bytes in [xlsx(&people), ods(&people), json_array(&people)] {
            prop_assert_eq!(&read(&bytes, Options::default()).unwrap(), &people);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0..6_usize) {
        let starts: [&[u8]; 6] = [b"", b"phone,name\n", b"[{", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\xff\xfe"];
        read_all(&[starts[start], &bytes].concat());
    }

    #[test]
    fn no_damaged_file_panics(
        people in people(),
        style in style(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        for bytes in [csv(&people, &style), xlsx(&people), ods(&people), json_array(&people), xls()] {
            read_all(&damaged(bytes, &changes, length));
        }
    }

    #[test]
    fn no_damaged_part_of_a_spreadsheet_panics(
        people in people(),
        part in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in prop::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        for bytes in [xlsx(&people), ods(&people)] {
            let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
            let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
            for n in 0..zip.len() {
                let mut file = zip.by_index(n).unwrap();
                let mut content = Vec::new();
                std::io::Read::read_to_end(&mut file, &mut content).unwrap();
                parts.push((file.name().unwrap().into_owned(), content));
            }
            let part = part.index(parts.len());
            parts[part].1 = damaged(std::mem::take(&mut parts[part].1), &changes, length);
            let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
            read_all(&zipped(&parts));
        }
    }
}

#[test]
fn the_requests_of_a_list_name_the_list_unless_there_is_only_one() {
    let at = Timestamp::from_millis(1_769_958_000_123).unwrap();
    let id = EnrollmentId::from_uuid(Uuid::from_u128(7));
    for (people, requests) in [(4000, 1), (8001, 3)] {
        let rows = (0..people).map(|n| format!("+1303{:07}\n", 2_000_000 + n)).collect::<Vec<_>>().concat();
        let mut list = List::open(Cursor::new(format!("phone\n{rows}")), Options::default(), settings()).unwrap();
        let lists: Vec<_> = list.requests(id, at).unwrap().map(|request| request.unwrap().list).collect();
        let expected = (requests > 1).then_some(ListRef { id, at });
        assert_eq!(lists, vec![expected; requests]);
    }
}
