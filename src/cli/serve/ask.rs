//! What a client asks for.

use serde_json::Value;

/// The most alternatives beside the best output.
pub(super) const MOST_ALTERNATIVES: usize = 15;

/// A request to translate.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ask {
    pub texts: Vec<String>,
    /// Whether the answer is a list, as the texts were.
    pub list: bool,
    /// Language codes, `None` for any.
    pub source: Option<String>,
    pub target: Option<String>,
    /// Outputs beside the best one.
    pub alternatives: usize,
    /// Whether the answer is a stream of events.
    pub stream: bool,
}

impl Ask {
    /// Reads the body of a request: JSON, or a form where the content type says so.
    ///
    /// # Errors
    /// A message for the client.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Self, String> {
        if content_type.trim_start().starts_with("application/x-www-form-urlencoded") {
            let fields = form_urlencoded::parse(body);
            return Self::of(
                fields.map(|(name, value)| (name.into_owned(), Value::from(value.into_owned()))),
            );
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Self::of(fields),
            Ok(_) => Err("the body is no JSON object".to_owned()),
            Err(error) => Err(format!("the body is no JSON: {error}")),
        }
    }

    fn of(fields: impl IntoIterator<Item = (String, Value)>) -> Result<Self, String> {
        let mut ask = Self::default();
        let mut asked = false;
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("q", Value::String(text)) => {
                    asked = true;
                    ask.texts.push(text);
                }
                ("q", Value::Array(texts)) => {
                    let text = |text: Value| text.as_str().map(str::to_owned);
                    let texts: Option<Vec<String>> = texts.into_iter().map(text).collect();
                    ask.texts = texts.ok_or("q is no text and no list of texts")?;
                    (asked, ask.list) = (true, true);
                }
                ("source", Value::String(code)) => ask.source = language(&code),
                ("target", Value::String(code)) => ask.target = language(&code),
                ("alternatives", value) => ask.alternatives = alternatives(&value)?,
                ("stream", Value::Bool(stream)) => ask.stream = stream,
                ("stream", Value::String(stream)) => ask.stream = stream == "true",
                ("format", Value::String(format)) if format != "text" => {
                    return Err(format!("format {format} is not offered: send text"));
                }
                ("format", Value::String(_)) | ("api_key", _) => {}
                ("q" | "source" | "target" | "stream" | "format", _) => {
                    return Err(format!("{name} has a value of the wrong type"));
                }
                _ => {}
            }
        }
        ask.list |= ask.texts.len() > 1;
        match (asked, ask.stream && ask.list) {
            (false, _) => Err("q is missing: the text, or a list of texts".to_owned()),
            (_, true) => Err("a stream answers one text, not a list".to_owned()),
            _ => Ok(ask),
        }
    }
}

/// A language code, `None` for one that is to be found out: whatever the model reads.
fn language(code: &str) -> Option<String> {
    Some(code.to_lowercase()).filter(|code| !code.is_empty() && code != "auto")
}

fn alternatives(value: &Value) -> Result<usize, String> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number
        .and_then(|number| usize::try_from(number).ok())
        .filter(|&number| number <= MOST_ALTERNATIVES)
        .ok_or_else(|| format!("alternatives is {value}; it may be 0 to {MOST_ALTERNATIVES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    #[test]
    fn json_and_forms_say_the_same() {
        let json = Ask::parse(JSON, br#"{"q": "a b", "source": "EN", "target": "de", "alternatives": 2}"#);
        let form = Ask::parse(FORM, b"q=a+b&source=en&target=de&alternatives=2&api_key=");
        assert_eq!(json, form);
        let asked = json.unwrap();
        assert_eq!((asked.texts, asked.list, asked.alternatives), (vec!["a b".to_owned()], false, 2));
        assert_eq!((asked.source.as_deref(), asked.target.as_deref()), (Some("en"), Some("de")));
        let list = Ask::parse(JSON, br#"{"q": ["a"], "source": "auto"}"#).unwrap();
        assert_eq!((list.list, list.source), (true, None));
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        for (body, words) in [
            ("", "no JSON"),
            ("[1]", "no JSON object"),
            ("{}", "q is missing"),
            (r#"{"q": 1}"#, "q has"),
            (r#"{"q": ["a", 1]}"#, "q is no text"),
            (r#"{"q": "a", "target": 1}"#, "target has"),
            (r#"{"q": "a", "format": "html"}"#, "format html"),
            (r#"{"q": "a", "alternatives": 16}"#, "alternatives is 16"),
            (r#"{"q": "a", "alternatives": -1}"#, "alternatives is -1"),
            (r#"{"q": ["a"], "stream": true}"#, "one text"),
        ] {
            let error = Ask::parse(JSON, body.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{body}: {error}");
        }
    }
}
