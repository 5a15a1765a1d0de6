//! Label and field selectors: what requests say, and whether an object is meant.
//! It must not know which fields a kind may be selected by.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::Value;

use super::super::builtin::meta::{label_value_problems, qualified_name_problems};

/// A label selector. Empty: everything matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    Absent,
    Greater,
    Less,
}

impl Labels {
    /// Says whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether an object with these labels is meant.
    pub(crate) fn matches<'a>(&self, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|r| r.matches(labels(&r.key)))
    }

    /// Returns it as it stands in objects; nothing where it asks for numbers, which objects can't.
    pub(crate) fn in_an_object(&self) -> Option<LabelSelector> {
        let mut equal = BTreeMap::new();
        let mut others = Vec::new();
        for Requirement {
            key,
            operator,
            values,
        } in &self.0
        {
            if let (Operator::In, 1, Some(value)) = (operator, values.len(), values.first()) {
                equal.insert(key.clone(), value.clone());
                continue;
            }
            let word = match operator {
                Operator::In => "In",
                Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::Absent => "DoesNotExist",
                Operator::Greater | Operator::Less => return None,
            };
            others.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: word.to_owned(),
                values: (!values.is_empty()).then(|| values.iter().cloned().collect()),
            });
        }
        Some(LabelSelector {
            match_labels: (!equal.is_empty()).then_some(equal),
            match_expressions: (!others.is_empty()).then_some(others),
        })
    }

    /// Reads a selector as it stands in objects: `matchLabels` and `matchExpressions`.
    ///
    /// # Errors
    /// Says what can't be read.
    pub(crate) fn of(selector: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let equal = selector["matchLabels"].as_object().into_iter().flatten();
        let equal = equal.map(|(key, value)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: BTreeSet::from([text(value)]),
        });
        let mut requirements: Vec<Requirement> = equal.collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::Absent,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            let values = expression["values"].as_array().into_iter().flatten();
            requirements.push(Requirement {
                key: text(&expression["key"]),
                operator,
                values: values.map(text).collect(),
            });
        }
        if requirements.iter().any(Requirement::lacks_values) {
            let why = "for 'in', 'notin' operators, values set can't be empty";
            return Err(format!("values: Invalid value: []: {why}"));
        }
        let checked = requirements.into_iter().map(Requirement::checked);
        checked.collect::<Result<_, _>>().map(Self)
    }

    /// Reads a selector such as `a=1,b!=2,c in (x,y),!d`.
    ///
    /// # Errors
    /// Says what was found and what was expected, in the API server's words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            tokens: lex(text),
            at: 0,
        };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                Token::Word(_) | Token::Not => {
                    let requirement = parser
                        .requirement()
                        .map_err(|e| format!("unable to parse requirement: {e}"))?;
                    requirements.push(requirement);
                    match parser.next() {
                        Token::End => return Ok(Self(requirements)),
                        Token::Comma => {
                            if !matches!(parser.peek(), Token::Word(_) | Token::Not) {
                                return Err(format!(
                                    "found '{}', expected: identifier after ','",
                                    parser.peek().text()
                                ));
                            }
                        }
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.text()
                            ));
                        }
                    }
                }
                Token::End => return Ok(Self(requirements)),
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = |text: &str| text.parse::<i64>().ok();
        let against = || self.values.first().and_then(|v| number(v));
        match (self.operator, value) {
            (Operator::Exists, found) => found.is_some(),
            (Operator::Absent, found) => found.is_none(),
            (Operator::In, found) => found.is_some_and(|v| self.values.contains(v)),
            (Operator::NotIn, found) => found.is_none_or(|v| !self.values.contains(v)),
            (Operator::Greater, found) => found.and_then(number).zip(against()).is_some_and(|(a, b)| a > b),
            (Operator::Less, found) => found.and_then(number).zip(against()).is_some_and(|(a, b)| a < b),
        }
    }

    fn lacks_values(&self) -> bool {
        matches!(self.operator, Operator::In | Operator::NotIn) && self.values.is_empty()
    }

    fn checked(self) -> Result<Self, String> {
        if let Some(problem) = qualified_name_problems(&self.key).into_iter().next() {
            return Err(format!("key: Invalid value: {:?}: {problem}", self.key));
        }
        for (index, value) in self.values.iter().enumerate() {
            if let Some(problem) = label_value_problems(value).into_iter().next() {
                let key = &self.key;
                return Err(format!(
                    "values[{index}][{key}]: Invalid value: {value:?}: {problem}"
                ));
            }
        }
        Ok(self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
    Comma,
    Unknown(String),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Unknown(text) => text,
            Self::Not => "!",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::End => "",
        }
    }
}

fn lex(text: &str) -> Vec<Token> {
    const SPECIAL: &str = "=!(),<>";
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else { break };
        if SPECIAL.contains(first) {
            let (token, length) = match rest.as_bytes() {
                [b'=', b'=', ..] => (Token::DoubleEquals, 2),
                [b'!', b'=', ..] => (Token::NotEquals, 2),
                [b'=', ..] => (Token::Equals, 1),
                [b'!', ..] => (Token::Not, 1),
                [b'(', ..] => (Token::Open, 1),
                [b')', ..] => (Token::Close, 1),
                [b',', ..] => (Token::Comma, 1),
                [b'<', ..] => (Token::Less, 1),
                [b'>', ..] => (Token::Greater, 1),
                _ => (Token::Unknown(first.to_string()), 1),
            };
            tokens.push(token);
            rest = &rest[length..];
        } else {
            let end = rest
                .find(|c: char| SPECIAL.contains(c) || matches!(c, ' ' | '\t' | '\r' | '\n'))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    tokens.push(Token::End);
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        if let Some(problem) = qualified_name_problems(&key).into_iter().next() {
            return Err(format!("key: Invalid value: {key:?}: {problem}"));
        }
        let exists = matches!(self.peek(), Token::End | Token::Comma);
        if negated || exists {
            let operator = if negated {
                Operator::Absent
            } else {
                Operator::Exists
            };
            return Ok(Requirement {
                key,
                operator,
                values: BTreeSet::new(),
            });
        }
        let (operator, many) = match self.next() {
            Token::Word(word) if word == "in" => (Operator::In, true),
            Token::Word(word) if word == "notin" => (Operator::NotIn, true),
            Token::Equals | Token::DoubleEquals => (Operator::In, false),
            Token::NotEquals => (Operator::NotIn, false),
            Token::Greater => (Operator::Greater, false),
            Token::Less => (Operator::Less, false),
            other => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    other.text()
                ));
            }
        };
        let values = if many { self.values()? } else { self.exact_value()? };
        if matches!(operator, Operator::Greater | Operator::Less)
            && let Some(bad) = values.iter().find(|v| v.parse::<i64>().is_err())
        {
            return Err(format!(
                "values[0][{key}]: Invalid value: {bad:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ));
        }
        Requirement {
            key,
            operator,
            values,
        }
        .checked()
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>, String> {
        match self.peek().clone() {
            Token::End | Token::Comma => Ok(BTreeSet::from([String::new()])),
            Token::Word(word) => {
                self.next();
                Ok(BTreeSet::from([word]))
            }
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Open => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        match self.peek() {
            // An empty set is that of the empty value.
            Token::Close => {
                self.next();
                return Ok(BTreeSet::from([String::new()]));
            }
            Token::Word(_) | Token::Comma => {}
            other => {
                return Err(format!(
                    "found '{}', expected: ',', ')' or identifier",
                    other.text()
                ));
            }
        }
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.insert(word);
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => {
                            self.next();
                            return Ok(values);
                        }
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek() {
                        Token::Close => {
                            values.insert(String::new());
                            self.next();
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.next();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
    }
}

/// A field selector. Empty: everything matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<FieldTerm>);

/// One condition of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldTerm {
    /// Path such as `metadata.name`.
    pub(crate) field: String,
    /// Whether the field must be equal to the value; else it must not.
    pub(crate) equal: bool,
    /// The value.
    pub(crate) value: String,
}

impl Fields {
    /// Reads a selector such as `metadata.name=a,status.phase!=Running`.
    ///
    /// # Errors
    /// Says what was not understood, in the API server's words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            if part.is_empty() {
                continue;
            }
            let Some((field, equal, value)) = split_term(part) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            terms.push(FieldTerm {
                field: field.to_owned(),
                equal,
                value: unescape(value)?,
            });
        }
        Ok(Self(terms))
    }

    /// Says whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the conditions.
    pub(crate) fn terms(&self) -> &[FieldTerm] {
        &self.0
    }

    /// Says whether an object is meant whose fields `value_of` tells.
    pub(crate) fn matches(&self, value_of: impl Fn(&str) -> String) -> bool {
        self.0
            .iter()
            .all(|term| (value_of(&term.field) == term.value) == term.equal)
    }

    /// Returns a selector that also asks for this name.
    pub(crate) fn and_name(mut self, name: &str) -> Self {
        self.0.push(FieldTerm {
            field: "metadata.name".to_owned(),
            equal: true,
            value: name.to_owned(),
        });
        self
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    let (equal, value) = match rest.as_bytes() {
        [b'!', b'=', ..] => (false, &rest[2..]),
        [b'=', b'=', ..] => (true, &rest[2..]),
        [b'=', ..] => (true, &rest[1..]),
        _ => return None,
    };
    Some((field, equal, value))
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{next}"
                    ));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {c}"
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn label_selectors_choose() {
        let object = labels(&[("a", "1"), ("n", "5"), ("x.test/b", "")]);
        let yes = [
            "",
            "a",
            "a=1",
            "a==1",
            "a!=2",
            "zz!=2",
            "a in (1,2)",
            "a notin (2)",
            "!zz",
            "x.test/b=",
            "n>4",
            "n<6,a",
            "zz notin (1)",
            "x.test/b in (,a)",
        ];
        let no = [
            "a=2",
            "!a",
            "zz",
            "a in ()",
            "a in (2,3)",
            "a notin (1)",
            "n>5",
            "a=1,zz",
        ];
        for text in yes {
            assert!(
                Labels::parse(text)
                    .unwrap()
                    .matches(|k| object.get(k).map(String::as_str)),
                "{text}"
            );
        }
        for text in no {
            assert!(
                !Labels::parse(text)
                    .unwrap()
                    .matches(|k| object.get(k).map(String::as_str)),
                "{text}"
            );
        }
    }

    #[test]
    fn selectors_in_objects_choose() {
        use serde_json::json;
        let object = labels(&[("a", "1"), ("b", "")]);
        let matches =
            |selector: &Value| Labels::of(selector).map(|s| s.matches(|k| object.get(k).map(String::as_str)));
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for selector in [
            json!({}),
            json!({"matchLabels": {"a": "1", "b": ""}}),
            expression("b", "In", &[""]),
            expression("a", "NotIn", &[""]),
            expression("a", "Exists", &[]),
            expression("c", "DoesNotExist", &[]),
        ] {
            assert_eq!(matches(&selector), Ok(true), "{selector}");
        }
        for selector in [
            json!({"matchLabels": {"a": ""}}),
            expression("a", "In", &[""]),
            expression("b", "NotIn", &[""]),
            expression("c", "Exists", &[]),
        ] {
            assert_eq!(matches(&selector), Ok(false), "{selector}");
        }
        for selector in [
            expression("a", "Is", &["1"]),
            expression("a", "In", &[]),
            expression("a b", "Exists", &[]),
            json!({"matchLabels": {"a": "not a value"}}),
        ] {
            assert!(matches(&selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn label_selector_errors_are_those_of_the_api_server() {
        let error = |text| Labels::parse(text).unwrap_err();
        assert_eq!(error("a==,"), "found '', expected: identifier after ','");
        assert_eq!(
            error("a b"),
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
        );
        assert_eq!(
            error(",a"),
            "found ',', expected: !, identifier, or 'end of string'"
        );
        assert_eq!(
            error("a in x"),
            "unable to parse requirement: found 'x' expected: '('"
        );
        assert!(error("a=b c").starts_with("found 'c', expected: ','"));
    }

    #[test]
    fn field_selectors_choose() {
        let value = |field: &str| {
            if field == "metadata.name" {
                "n1".to_owned()
            } else {
                String::new()
            }
        };
        assert!(Fields::parse("metadata.name=n1").unwrap().matches(value));
        assert!(!Fields::parse("metadata.name!=n1").unwrap().matches(value));
        assert!(Fields::parse("metadata.name==n1,other=").unwrap().matches(value));
        assert_eq!(Fields::parse(r"a=x\,y").unwrap().terms()[0].value, "x,y");
        assert!(Fields::parse("nonsense").is_err());
    }
}
