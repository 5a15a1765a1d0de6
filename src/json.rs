//! Where the parts of a JSON text begin and end, without a tree of them. `serde_json` finds the ends, so what is no JSON is an error.
//!
//! Its own type for that, `RawValue`, is not used: with it an object whose first key is a certain text means something else everywhere.

use std::marker::PhantomData;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Deserializer, Error};

/// The fields of an object, in their order: keys, and values as they are written.
///
/// # Errors
/// Each step fails where the text is no object.
pub(crate) fn fields(text: &str) -> Parts<'_, Field> {
    Parts::new(text, '{')
}

/// The items of a list, in their order, as they are written.
///
/// # Errors
/// Each step fails where the text is no list.
pub(crate) fn items(text: &str) -> Parts<'_, Item> {
    Parts::new(text, '[')
}

/// Stands for a field of an object.
pub(crate) struct Field;
/// Stands for an item of a list.
pub(crate) struct Item;

/// Goes through the parts of an object or of a list.
pub(crate) struct Parts<'a, Of> {
    /// What was not read yet; nothing after the end.
    rest: Option<&'a str>,
    /// What comes before the next part.
    before: char,
    of: PhantomData<Of>,
}

impl<'a, Of> Parts<'a, Of> {
    fn new(text: &'a str, opens: char) -> Self {
        Self {
            rest: Some(text),
            before: opens,
            of: PhantomData,
        }
    }

    /// Goes to the next part; `one` reads it and says what follows. After a failure nothing comes any more.
    fn step<T>(
        &mut self,
        closes: char,
        one: impl FnOnce(&'a str) -> Result<(T, &'a str), Error>,
    ) -> Option<Result<T, Error>> {
        let rest = self.rest.take()?.trim_start_matches(WHITE);
        let is_first = self.before != ',';
        let is_over = |rest: &str| rest.trim_matches(WHITE).is_empty();
        if !is_first && let Some(after) = rest.strip_prefix(closes) {
            return (!is_over(after)).then(|| Err(unlike()));
        }
        let Some(rest) = rest.strip_prefix(self.before) else {
            return Some(Err(unlike()));
        };
        let rest = rest.trim_start_matches(WHITE);
        if is_first && let Some(after) = rest.strip_prefix(closes) {
            return (!is_over(after)).then(|| Err(unlike()));
        }
        self.before = ',';
        Some(one(rest).map(|(part, rest)| {
            self.rest = Some(rest);
            part
        }))
    }
}

impl<'a> Iterator for Parts<'a, Field> {
    type Item = Result<(String, &'a str), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step('}', |rest| {
            let (key, rest) = first::<String>(rest)?;
            let key = key.0;
            let rest = rest
                .trim_start_matches(WHITE)
                .strip_prefix(':')
                .ok_or_else(unlike)?;
            let (value, rest) = first::<IgnoredAny>(rest)?;
            Ok(((key, value.1), rest))
        })
    }
}

impl<'a> Iterator for Parts<'a, Item> {
    type Item = Result<&'a str, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(']', |rest| {
            first::<IgnoredAny>(rest).map(|(value, rest)| (value.1, rest))
        })
    }
}

/// White space of JSON.
const WHITE: [char; 4] = [' ', '\n', '\r', '\t'];

/// Reads the value at the beginning of a text; returns it, how it is written, and what follows.
fn first<'a, T: Deserialize<'a>>(text: &'a str) -> Result<((T, &'a str), &'a str), Error> {
    let text = text.trim_start_matches(WHITE);
    let mut values = Deserializer::from_str(text).into_iter::<T>();
    let value = values.next().ok_or_else(unlike)??;
    let (written, rest) = text.split_at(values.byte_offset());
    Ok(((value, written), rest))
}

fn unlike() -> Error {
    serde::de::Error::custom("it is not written as an object or a list")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read_fields(text: &str) -> Result<Value, Error> {
        let read = |field: Result<(String, &str), Error>| {
            let (key, value) = field?;
            Ok((key, serde_json::from_str::<Value>(value)?))
        };
        fields(text)
            .map(read)
            .collect::<Result<serde_json::Map<_, _>, _>>()
            .map(Value::Object)
    }

    fn read_items(text: &str) -> Result<Value, Error> {
        let read = |item: Result<&str, Error>| serde_json::from_str::<Value>(item?);
        items(text)
            .map(read)
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array)
    }

    #[test]
    fn parts_are_found_as_they_are_written() {
        let text = r#" { "a\"}" : [1, {"b": "]"}] , "c":"\\" ,"d": -0.10 , "": null } "#;
        let found: Vec<_> = fields(text).map(Result::unwrap).collect();
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(
            found,
            [
                ("a\"}", r#"[1, {"b": "]"}]"#),
                ("c", r#""\\""#),
                ("d", "-0.10"),
                ("", "null")
            ]
        );
        let found: Vec<_> = items("[ 1,\"a,b\" ,{\"c\":[ ]} ,7\n]")
            .map(Result::unwrap)
            .collect();
        assert_eq!(found, ["1", "\"a,b\"", "{\"c\":[ ]}", "7"]);
        assert_eq!(fields("{ }").count() + items("[]").count(), 0);
    }

    #[test]
    fn a_key_that_means_something_elsewhere_is_one_like_any_other() {
        let text = r#"{"$serde_json::private::RawValue":"{\"a\":1}"}"#;
        let found: Vec<_> = fields(text).map(Result::unwrap).collect();
        assert_eq!(
            found,
            [("$serde_json::private::RawValue".to_owned(), r#""{\"a\":1}""#)]
        );
        let read: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn what_is_no_json_is_an_error_as_it_is_for_everybody() {
        for text in [
            "",
            "{",
            "}",
            "[",
            "]",
            "{]",
            "[}",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "[1]]",
            "[] x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1}}",
            "{\"a\":1]",
            "[\"a]",
            "[tru]",
            "[01]",
            "[\u{a0}1]",
        ] {
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
            assert!(read_fields(text).is_err() && read_items(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parts_are_those_that_a_tree_has(keys: Vec<String>, numbers: Vec<f64>, pretty: bool) {
            let items = json!(numbers.iter().map(|n| json!({ "n": n, "s": keys })).collect::<Vec<_>>());
            let fields = json!(keys.iter().zip(&numbers).collect::<std::collections::BTreeMap<_, _>>());
            let write = |value: &Value| if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
            proptest::prop_assert_eq!(read_items(&write(&items).unwrap()).unwrap(), items);
            proptest::prop_assert_eq!(read_fields(&write(&fields).unwrap()).unwrap(), fields);
        }
    }
}
