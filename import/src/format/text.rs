//! CSV, TSV and other text with a delimiter, in any encoding.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use std::collections::VecDeque;
use std::io::{self, Read, Seek};

use crate::error::ListError;
use crate::options::Delimiter;
use crate::sheet::{Cell, Row, column_letters};

/// How a text is read.
#[derive(Clone, Debug)]
pub(crate) struct TextShape {
    pub(crate) encoding: &'static Encoding,
    pub(crate) delimiter: Delimiter,
    /// The first line is `sep=;`. It is not a row: spreadsheets hide it.
    pub(crate) separator_line: bool,
}

/// Returns the encoding that a byte order mark names, or that the zero bytes of UTF-16 show.
pub(crate) fn marked_encoding(head: &[u8]) -> Option<&'static Encoding> {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return Some(encoding);
    }
    let pairs = head.chunks_exact(2);
    let (mut high, mut low) = (0, 0);
    for pair in pairs.clone() {
        high += usize::from(pair[0] == 0);
        low += usize::from(pair[1] == 0);
    }
    // Titles, digits and delimiters are ASCII in every language. A file with few of them is not a list.
    let enough = |zeros: usize, others: usize| zeros > 3 && zeros * 10 > pairs.len() && zeros > others * 4;
    match (enough(high, low), enough(low, high)) {
        (true, _) => Some(UTF_16BE),
        (_, true) => Some(UTF_16LE),
        _ => None,
    }
}

/// Finds the encoding of text without a mark. Returns true if it is a guess.
pub(crate) fn find_encoding(input: &mut (impl Read + Seek)) -> Result<(&'static Encoding, bool), ListError> {
    input.rewind()?;
    let (mut characters, mut bad) = (0_u64, 0_u64);
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let mut buffer = vec![0; 1 << 16];
    let mut kept = 0;
    loop {
        let read = match input.read(&mut buffer[kept..]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let last = read == 0;
        detector.feed(&buffer[kept..kept + read], last);
        let mut rest = &buffer[..kept + read];
        loop {
            let (valid, skip) = match std::str::from_utf8(rest) {
                Ok(_) => (rest.len(), None),
                Err(e) => (e.valid_up_to(), Some(e.error_len())),
            };
            // The first bytes of characters that are not ASCII.
            characters += rest[..valid].iter().filter(|byte| **byte >= 0xc0).count() as u64;
            rest = &rest[valid..];
            match skip {
                Some(Some(length)) => {
                    bad += 1;
                    rest = &rest[length..];
                }
                // The end of the buffer splits a character.
                Some(None) if !last => break,
                Some(None) => {
                    bad += 1;
                    rest = &[];
                }
                None => break,
            }
        }
        kept = rest.len();
        let start = buffer[..].len().min(kept);
        let tail: Vec<u8> = rest.to_vec();
        buffer[..start].copy_from_slice(&tail);
        if last {
            break;
        }
    }
    // Almost valid: reading it names the first bad byte.
    if bad <= characters {
        return Ok((UTF_8, false));
    }
    Ok((detector.guess(None, Utf8Detection::Deny), true))
}

/// Decodes the first bytes of a file, to recognize its format.
pub(crate) fn decoded(encoding: &'static Encoding, head: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = encoding.new_decoder_with_bom_removal();
    text.reserve(decoder.max_utf8_buffer_length(head.len()).unwrap_or_default());
    let _progress = decoder.decode_to_string(head, &mut text, false);
    text
}

/// Returns the delimiter of a first line `sep=;`.
pub(crate) fn separator_line(start: &str) -> Option<Delimiter> {
    let line = start.split(['\r', '\n']).next().unwrap_or_default();
    // A spreadsheet that saves the file again pads the line with delimiters, or quotes it.
    let line = line.trim_matches(['"', ' ']);
    let rest = line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).and(line.get(4..))?;
    Delimiter::ALL.into_iter().find(|delimiter| rest.as_bytes().first() == Some(&delimiter.byte()))
}

/// The rows of a text, one at a time.
pub(crate) struct TextRows<R> {
    csv: csv::Reader<Cleaner<R>>,
    record: csv::StringRecord,
    last_row: u64,
}

impl<R: Read> TextRows<R> {
    pub(crate) fn new(input: R, shape: &TextShape, row_bytes: usize) -> Self {
        let delimiter = shape.delimiter.byte();
        let csv = csv::ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .delimiter(delimiter)
            .from_reader(Cleaner::new(input, shape, row_bytes));
        Self { csv, record: csv::StringRecord::new(), last_row: 1 }
    }

    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, ListError> {
        let read = self.csv.read_record(&mut self.record);
        let cleaner = self.csv.get_mut();
        let encoding = cleaner.encoding;
        let bad = |row, column| ListError::BadText { row, column: column_letters(column), encoding: encoding.name() };
        match read {
            Ok(true) => {}
            Ok(false) => {
                return match cleaner.problem.take() {
                    Some(problem) => Err(problem),
                    None if cleaner.malformed => Err(bad(self.last_row, 0)),
                    None => Ok(None),
                };
            }
            Err(e) => {
                let other = |e: csv::Error| match e.into_kind() {
                    csv::ErrorKind::Io(e) => ListError::Io(e),
                    e => ListError::Io(io::Error::other(format!("{e:?}"))),
                };
                return Err(cleaner.problem.take().unwrap_or_else(|| other(e)));
            }
        }
        let number = cleaner.rows.pop_front().unwrap_or(self.last_row);
        self.last_row = number;
        if cleaner.malformed
            && let Some(column) = self.record.iter().position(|cell| cell.contains(char::REPLACEMENT_CHARACTER))
        {
            return Err(bad(number, column));
        }
        let cell = |text: &str| if text.is_empty() { Cell::Blank } else { Cell::text(text) };
        Ok(Some(Row { number, cells: self.record.iter().map(cell).collect() }))
    }
}

/// Decodes text to UTF-8, removes the spaces before an opening quote, and records the row of each record.
///
/// Rows are numbered as in a spreadsheet: empty lines count, and line breaks within quotes do not.
struct Cleaner<R> {
    input: R,
    encoding: &'static Encoding,
    decoder: Decoder,
    /// True after bytes that are not text in the encoding.
    malformed: bool,
    raw: Vec<u8>,
    decoded: Vec<u8>,
    /// Text that is not read yet, from `position`.
    ready: Vec<u8>,
    position: usize,
    ended: bool,
    delimiter: u8,
    skips_line: bool,
    spaces: usize,
    state: State,
    row: u64,
    row_bytes: usize,
    max_row_bytes: usize,
    /// The rows of the records that are not read yet.
    rows: VecDeque<u64>,
    problem: Option<ListError>,
}

/// The state before the next byte.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// At the start of a row.
    Row,
    /// At the start of a row, after a carriage return. A line feed here does not end another row.
    Return,
    /// At the start of a cell, perhaps after spaces.
    Cell,
    /// In an unquoted cell.
    Plain,
    /// In a quoted cell.
    Quoted,
    /// After a quote in a quoted cell.
    Quote,
}

impl<R: Read> Cleaner<R> {
    fn new(input: R, shape: &TextShape, max_row_bytes: usize) -> Self {
        Self {
            input,
            encoding: shape.encoding,
            decoder: shape.encoding.new_decoder_with_bom_removal(),
            malformed: false,
            raw: vec![0; CHUNK],
            decoded: vec![0; CHUNK * 3 + 16],
            ready: Vec::with_capacity(CHUNK * 3),
            position: 0,
            ended: false,
            delimiter: shape.delimiter.byte(),
            skips_line: shape.separator_line,
            spaces: 0,
            state: State::Row,
            row: 1,
            row_bytes: 0,
            max_row_bytes,
            rows: VecDeque::new(),
            problem: None,
        }
    }

    /// Decodes the next bytes. At the end of the input, checks that no quote is open.
    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.position = 0;
        let read = self.input.read(&mut self.raw)?;
        let last = read == 0;
        let mut from = 0;
        loop {
            let (result, consumed, written, malformed) =
                self.decoder.decode_to_utf8(&self.raw[from..read], &mut self.decoded, last);
            self.malformed |= malformed;
            from += consumed;
            for n in 0..written {
                self.push(self.decoded[n])?;
            }
            if result == CoderResult::InputEmpty {
                break;
            }
        }
        if last {
            self.ended = true;
            self.flush_spaces();
            if self.state == State::Quoted {
                return self.refuse(ListError::OpenQuote { row: self.row });
            }
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) -> io::Result<()> {
        if self.skips_line {
            self.skips_line = !matches!(byte, b'\r' | b'\n');
            if byte == b'\r' {
                self.state = State::Return;
            }
            return Ok(());
        }
        let starts = matches!(self.state, State::Row | State::Return);
        if starts && !matches!(byte, b'\r' | b'\n') {
            self.rows.push_back(self.row);
            self.row_bytes = 0;
        }
        self.row_bytes += 1;
        if self.row_bytes > self.max_row_bytes {
            return self.refuse(ListError::RowTooLong { row: self.row, limit: self.max_row_bytes });
        }
        let at_start = starts || self.state == State::Cell;
        if at_start && byte == b' ' {
            self.spaces += 1;
            self.state = State::Cell;
            return Ok(());
        }
        if at_start && byte == b'"' {
            self.spaces = 0;
        }
        self.flush_spaces();
        self.state = match (self.state, byte) {
            (State::Return, b'\n') => State::Row,
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => State::Quoted,
            (_, b'"') if at_start => State::Quoted,
            (_, b'\r') => {
                self.row += 1;
                State::Return
            }
            (_, b'\n') => {
                self.row += 1;
                State::Row
            }
            (_, byte) if byte == self.delimiter => State::Cell,
            _ => State::Plain,
        };
        self.ready.push(byte);
        Ok(())
    }

    fn flush_spaces(&mut self) {
        self.ready.resize(self.ready.len() + self.spaces, b' ');
        self.spaces = 0;
    }

    fn refuse(&mut self, problem: ListError) -> io::Result<()> {
        self.problem = Some(problem);
        Err(io::Error::other("the list is refused"))
    }
}

impl<R: Read> Read for Cleaner<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.ready.len() && !self.ended {
            match self.fill() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                filled => filled?,
            }
        }
        let length = buffer.len().min(self.ready.len() - self.position);
        buffer[..length].copy_from_slice(&self.ready[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

const CHUNK: usize = 1 << 13;
