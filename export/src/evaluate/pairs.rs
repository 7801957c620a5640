//! Reading sources and their references.
//!
//! Two formats are told apart by their first line, which is in braces or not. TSV has `source<TAB>reference[<TAB>reference ...]` lines; JSON
//! lines have an object each, with the source under `source` or `src`, or else as its only string, and a list of
//! references under `refs`, `references` or `target`.

use serde_json::{Map, Value};
use siskin::{Error, ErrorKind, Result};

/// A source and its references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The source text.
    pub source: String,
    /// Its references: at least one, none of them empty.
    pub references: Vec<String>,
}

/// Reads pairs. White space around texts is dropped, and so are empty references beside others. With a `separator`
/// every reference column of TSV can hold several references, as in `p1 | p2`.
///
/// # Errors
/// [`ErrorKind::InvalidUtf8`] or [`ErrorKind::InvalidOption`], with the line, for text that is no pair: a score over
/// fewer rows than the file has would not be the file's. The same where there is no line at all.
pub fn parse(bytes: &[u8], separator: Option<&str>) -> Result<Vec<Pair>> {
    let lines = text_lines(bytes)?;
    let json = lines.first().is_some_and(|line| line.starts_with('{') && line.trim_end().ends_with('}'));
    let parse = |(i, line): (usize, &&str)| {
        let pair = if json { json_pair(line) } else { tsv_pair(line, separator) };
        pair.map_err(|error| error.at(format_args!("line {}", i + 1)))
    };
    let pairs = lines.iter().enumerate().map(parse).collect::<Result<Vec<Pair>>>()?;
    if pairs.is_empty() { Err(invalid("there are no lines")) } else { Ok(pairs) }
}

/// The lines of a text file, without their ends `\n` or `\r\n`.
///
/// # Errors
/// [`ErrorKind::InvalidUtf8`], with the place.
pub fn text_lines(bytes: &[u8]) -> Result<Vec<&str>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let message =
            format!("not UTF-8 at byte {}: is it compressed, or another encoding?", error.valid_up_to());
        Error::new(ErrorKind::InvalidUtf8, message)
    })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(if text.is_empty() {
        Vec::new()
    } else {
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect()
    })
}

fn tsv_pair(line: &str, separator: Option<&str>) -> Result<Pair> {
    let mut columns = line.split('\t');
    let source = columns.next().unwrap_or_default();
    let references = columns.flat_map(|column| match separator {
        Some(separator) => column.split(separator).collect(),
        None => vec![column],
    });
    pair(source, references)
}

fn json_pair(line: &str) -> Result<Pair> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| invalid(error.to_string()))?;
    let references = ["refs", "references", "target"].iter().find_map(|key| object.get(*key)?.as_array());
    let references = references.ok_or_else(|| invalid("no list `refs`, `references` or `target`"))?;
    pair(json_source(&object)?, references.iter().filter_map(Value::as_str))
}

fn json_source(object: &Map<String, Value>) -> Result<&str> {
    let named = ["source", "src"].iter().find_map(|key| object.get(*key)?.as_str());
    let mut strings = object.values().filter_map(Value::as_str);
    match (named, strings.next(), strings.next()) {
        (Some(source), ..) | (None, Some(source), None) => Ok(source),
        _ => Err(invalid("which text is the source? Name it `source`")),
    }
}

fn pair<'a>(source: &str, references: impl Iterator<Item = &'a str>) -> Result<Pair> {
    let references = references.map(str::trim).filter(|reference| !reference.is_empty());
    let references: Vec<String> = references.map(str::to_owned).collect();
    if references.is_empty() {
        return Err(invalid("no reference; write source, TAB, reference, or a JSON object with `refs`"));
    }
    Ok(Pair { source: source.trim().to_owned(), references })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &str, references: &[&str]) -> Pair {
        Pair {
            source: source.into(),
            references: references.iter().map(|&reference| reference.into()).collect(),
        }
    }

    #[test]
    fn columns_are_references() -> Result<()> {
        let text = "a\tb\r\nc d \t e\t\tf\n";
        assert_eq!(parse(text.as_bytes(), None)?, [pair("a", &["b"]), pair("c d", &["e", "f"])]);
        let text = "word\tW ER1 D | W ER0 D\tw";
        assert_eq!(parse(text.as_bytes(), Some(" | "))?, [pair("word", &["W ER1 D", "W ER0 D", "w"])]);
        assert_eq!(parse(text.as_bytes(), None)?, [pair("word", &["W ER1 D | W ER0 D", "w"])]);
        assert_eq!(parse(b"{a\tb\n\tc", None)?, [pair("{a", &["b"]), pair("", &["c"])]);
        Ok(())
    }

    #[test]
    fn json_lines_name_source_and_references() -> Result<()> {
        let text = r#"{"en": "a", "refs": ["b", "c"]}
{"id": "7", "source": "d", "references": ["e"]}"#;
        assert_eq!(parse(text.as_bytes(), None)?, [pair("a", &["b", "c"]), pair("d", &["e"])]);
        Ok(())
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "there are no lines"),
            (b"a\tb\nc", "line 2: no reference"),
            (b"a\t ", "line 1: no reference"),
            (b"a\t\xff", "not UTF-8 at byte 2"),
            (b"{\"en\": \"a\"}", "line 1: no list `refs`"),
            (b"{\"en\": \"a\", \"de\": \"b\", \"refs\": [\"c\"]}", "line 1: which text is the source?"),
            (b"{\"en\": }", "line 1: expected value"),
        ];
        for (text, expected) in cases {
            let error = parse(text, None).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
