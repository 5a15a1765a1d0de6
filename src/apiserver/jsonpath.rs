//! The part of Kubernetes' `JSONPath` that printer columns use: fields, indexes, slices, wildcards and filters such as
//! `.metadata.ownerReferences[?(@.kind=="Machine")].name`. It must not print; it only finds values.

use serde_json::Value;

/// Why a path cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// A bracket or quote is never closed.
    #[error("unterminated {0}")]
    Open(&'static str),
    /// Something stands where it has no meaning.
    #[error("unrecognized character in action: {0:?}")]
    Unexpected(String),
    /// Filters stand within filters too many times.
    #[error("filters are nested too deeply")]
    TooDeep,
}

/// Filters within filters.
const DEEPEST: usize = 16;

/// A compiled path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Deep(String),
    Filter(Path, Option<(Comparison, Operand)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    Path(Path),
}

impl Path {
    /// Reads a path such as `.spec.size`, with or without braces around it.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.trim();
        let text = text
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .unwrap_or(text)
            .trim();
        let mut reader = Reader { rest: text, depth: 0 };
        let path = reader.path()?;
        if reader.rest.is_empty() {
            Ok(path)
        } else {
            Err(PathError::Unexpected(reader.rest.to_owned()))
        }
    }

    /// Returns all values that the path leads to; none where a field is missing.
    pub(crate) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.from(value)).collect();
        }
        found
    }
}

impl Step {
    fn from<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let all = || -> Vec<&'a Value> {
            match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(fields) => fields.values().collect(),
                _ => Vec::new(),
            }
        };
        match self {
            Self::Field(name) => value.get(name.as_str()).into_iter().collect(),
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                place(*index, items.len())
                    .and_then(|at| items.get(at))
                    .into_iter()
                    .collect()
            }
            Self::Slice(from, to) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let bound = |at: Option<i64>, default| {
                    at.map_or(default, |at| place(at, items.len()).unwrap_or(0).min(items.len()))
                };
                let (from, to) = (bound(*from, 0), bound(*to, items.len()));
                items.get(from..to.max(from)).unwrap_or_default().iter().collect()
            }
            Self::All => all(),
            Self::Deep(name) => {
                let mut found: Vec<&Value> = value.get(name.as_str()).into_iter().collect();
                found.extend(all().into_iter().flat_map(|inner| self.from(inner)));
                found
            }
            Self::Filter(path, test) => all()
                .into_iter()
                .filter(|item| {
                    let left = path.find(item);
                    match test {
                        None => !left.is_empty(),
                        Some((comparison, Operand::Literal(right))) => {
                            left.first().is_some_and(|left| comparison.holds(left, right))
                        }
                        Some((comparison, Operand::Path(right))) => {
                            match (left.first(), right.find(item).first()) {
                                (Some(left), Some(right)) => comparison.holds(left, right),
                                _ => false,
                            }
                        }
                    }
                })
                .collect(),
        }
    }
}

/// Turns an index, negative from the end, into a place.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering;
        let order = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::More => order == Some(Ordering::Greater),
            Self::MoreOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// Filters around the present place.
    depth: usize,
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads steps until something that belongs to no path.
    fn path(&mut self) -> Result<Path, PathError> {
        let mut steps = Vec::new();
        if !self.take("$") {
            self.take("@");
        }
        loop {
            if self.take("..") {
                steps.push(Step::Deep(self.name()));
            } else if self.rest.starts_with(".[") {
                self.take(".");
            } else if self.take(".") {
                if self.take("*") {
                    steps.push(Step::All);
                    continue;
                }
                let name = self.name();
                if name.is_empty() {
                    if !self.rest.is_empty() {
                        return Err(PathError::Unexpected(self.rest.to_owned()));
                    }
                } else {
                    steps.push(Step::Field(name));
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else if steps.is_empty() && self.rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                steps.push(Step::Field(self.name()));
            } else {
                return Ok(Path(steps));
            }
        }
    }

    /// Reads a field name; a backslash takes the next character as it is.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
                '.' | '[' | ']' | ' ' | '=' | '!' | '<' | '>' | ')' | '(' | '|' | '&' => {
                    self.rest = &self.rest[at..];
                    return name;
                }
                _ => name.push(c),
            }
        }
        self.rest = "";
        name
    }

    fn bracket(&mut self) -> Result<Step, PathError> {
        if self.take("?(") {
            if self.depth == DEEPEST {
                return Err(PathError::TooDeep);
            }
            self.depth += 1;
            let filter = self.filter();
            self.depth -= 1;
            return filter;
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let name = self.quoted(quote)?;
            return if self.take("]") {
                Ok(Step::Field(name))
            } else {
                Err(PathError::Open("array"))
            };
        }
        let (inside, rest) = self.rest.split_once(']').ok_or(PathError::Open("array"))?;
        self.rest = rest;
        let inside = inside.trim();
        let number = |text: &str| -> Result<Option<i64>, PathError> {
            let text = text.trim();
            if text.is_empty() {
                return Ok(None);
            }
            text.parse()
                .map(Some)
                .map_err(|_| PathError::Unexpected(text.to_owned()))
        };
        if inside == "*" {
            return Ok(Step::All);
        }
        match inside.split_once(':') {
            Some((from, to)) => Ok(Step::Slice(number(from)?, number(to)?)),
            None => number(inside)?
                .map(Step::Index)
                .ok_or_else(|| PathError::Unexpected(inside.to_owned())),
        }
    }

    fn filter(&mut self) -> Result<Step, PathError> {
        self.skip_spaces();
        let left = self.path()?;
        self.skip_spaces();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::MoreOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        let comparison = comparisons
            .into_iter()
            .find(|(token, _)| self.take(token))
            .map(|(_, c)| c);
        let test = match comparison {
            None => None,
            Some(comparison) => {
                self.skip_spaces();
                Some((comparison, self.operand()?))
            }
        };
        self.skip_spaces();
        if self.take(")]") {
            Ok(Step::Filter(left, test))
        } else {
            Err(PathError::Open("filter"))
        }
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => Ok(Operand::Literal(self.quoted(quote)?.into())),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path()?)),
            _ => {
                let end = self.rest.find([')', ' ']).ok_or(PathError::Open("filter"))?;
                let (literal, rest) = self.rest.split_at(end);
                self.rest = rest;
                serde_json::from_str(literal)
                    .map(Operand::Literal)
                    .map_err(|_| PathError::Unexpected(literal.to_owned()))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text);
                }
                _ => text.push(c),
            }
        }
        Err(PathError::Open("quote"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(path: &str, value: &Value) -> Vec<Value> {
        Path::parse(path)
            .expect("readable")
            .find(value)
            .into_iter()
            .cloned()
            .collect()
    }

    #[test]
    fn values_are_found_by_fields_indexes_and_filters() {
        let value = json!({"a": {"b.c": 1, "d": [1, 2, 3]}, "owners": [
            {"kind": "Machine", "name": "m", "n": 1}, {"kind": "Node", "name": "o", "n": 2}]});
        for (path, wanted) in [
            (".a.d[0]", vec![json!(1)]),
            (".a.d[-1]", vec![json!(3)]),
            (".a.d[1:]", vec![json!(2), json!(3)]),
            (".a.d[*]", vec![json!(1), json!(2), json!(3)]),
            (".a['b.c']", vec![json!(1)]),
            (".a.b\\.c", vec![json!(1)]),
            (r#".owners[?(@.kind=="Machine")].name"#, vec![json!("m")]),
            (".owners[?(@.kind != 'Machine')].name", vec![json!("o")]),
            (".owners[?(@.n > 1)].name", vec![json!("o")]),
            (".owners[?(@.missing)].name", vec![]),
            ("{.owners[0].name}", vec![json!("m")]),
            ("..name", vec![json!("m"), json!("o")]),
            (".missing.more", vec![]),
            (".a.d[7]", vec![]),
            ("a.d[0]", vec![json!(1)]),
        ] {
            assert_eq!(found(path, &value), wanted, "{path}");
        }
    }

    #[test]
    fn a_bad_path_is_refused() {
        for path in [".a[", ".a['b]", ".a[?(@.b==]", ".a[x]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
        for (opened, closed) in [(".a[?(@", ")]"), (".a[?(@.b==@", ")]")] {
            let nested = |times| format!("{}{}", opened.repeat(times), closed.repeat(times));
            assert!(Path::parse(&nested(DEEPEST)).is_ok());
            assert!(matches!(Path::parse(&nested(100_000)), Err(PathError::TooDeep)));
        }
    }
}
