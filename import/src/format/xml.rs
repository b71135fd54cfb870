//! The XML of spreadsheets, as a stream.

use quick_xml::events::{BytesEnd, BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use std::borrow::Cow;
use std::io::BufRead;

use super::broken;
use super::zipped::UnzippedLimit;
use crate::error::ListError;
use crate::inspection::Format;

/// A reader of XML. An empty element is a start and an end.
pub(crate) struct Xml<R> {
    reader: Reader<R>,
    buffer: Vec<u8>,
    format: Format,
}

/// A piece of XML.
pub(crate) enum Token<'x> {
    Start(BytesStart<'x>),
    End(BytesEnd<'x>),
    Text(Cow<'x, str>),
    /// The end of the document.
    Eof,
}

impl<R: BufRead> Xml<R> {
    pub(crate) fn new(input: R, format: Format) -> Self {
        let mut reader = Reader::from_reader(input);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new(), format }
    }

    pub(crate) fn next(&mut self) -> Result<Token<'_>, ListError> {
        let Self { reader, buffer, format } = self;
        loop {
            buffer.clear();
            let event = reader.read_event_into(buffer).map_err(|e| refused(*format, &e))?;
            return Ok(match event {
                Event::Start(start) | Event::Empty(start) => Token::Start(start.into_owned()),
                Event::End(end) => Token::End(end.into_owned()),
                Event::Text(text) => Token::Text(Cow::Owned(text.xml10_content().into_owned())),
                Event::CData(text) => Token::Text(Cow::Owned(text.into_inner().into_owned())),
                Event::GeneralRef(reference) => Token::Text(Cow::Owned(resolved(*format, &reference)?)),
                Event::Eof => Token::Eof,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            });
        }
    }

    /// Skips an element whose start was read.
    pub(crate) fn skip(&mut self) -> Result<(), ListError> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.next()? {
                Token::Start(_) => depth += 1,
                Token::End(_) => depth -= 1,
                Token::Text(_) => {}
                Token::Eof => return Err(broken(self.format, "the XML ends too early")),
            }
        }
        Ok(())
    }
}

/// Returns the value of an attribute, by its name without a prefix.
pub(crate) fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = start.attributes();
    let found =
        attributes.with_checks(false).flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(Cow::into_owned)
}

fn resolved(format: Format, reference: &BytesRef<'_>) -> Result<String, ListError> {
    if let Some(text) = quick_xml::escape::resolve_xml_entity(reference) {
        return Ok(text.to_owned());
    }
    match reference.resolve_char_ref() {
        Ok(Some(c)) => Ok(c.to_string()),
        _ => Err(broken(format, format!("the XML refers to `&{};`", reference.escape_debug()))),
    }
}

fn refused(format: Format, error: &quick_xml::Error) -> ListError {
    if let quick_xml::Error::Io(e) = error
        && let Some(UnzippedLimit(limit)) = e.get_ref().and_then(|e| e.downcast_ref())
    {
        return ListError::TooManyCells { limit: *limit, what: "unzipped bytes" };
    }
    broken(format, error.to_string())
}
