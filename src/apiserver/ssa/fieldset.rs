//! Sets of field paths and their `fieldsV1` encoding. It must not know of objects or schemas, except to complete a
//! set with the named fields above its members.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::types::{Form, Type, TypeRef};
use crate::apiserver::schema::{go_json, go_number, go_quote};

/// A JSON value with the total order that field sets have: numbers, strings, booleans, lists, maps, null.
#[derive(Debug, Clone)]
pub(crate) struct Item(pub(crate) Value);

impl Item {
    fn rank(&self) -> u8 {
        match self.0 {
            Value::Number(_) => 0,
            Value::String(_) => 1,
            Value::Bool(_) => 2,
            Value::Array(_) => 3,
            Value::Object(_) => 4,
            Value::Null => 5,
        }
    }

    /// The value as paths in messages show it.
    fn words(&self) -> String {
        match &self.0 {
            Value::String(text) => go_quote(text),
            Value::Number(number) => go_number(number),
            other => go_json(other),
        }
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
            },
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
                self.0.to_string().cmp(&other.0.to_string())
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Item {}

/// One step of a field path, cheap to clone. The order of the variants is the order in sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathElement {
    /// A field of a map.
    Field(Arc<str>),
    /// The item of a list that has these keys, sorted by name.
    Key(Arc<[(Arc<str>, Item)]>),
    /// The item of a set that has this value.
    Value(Item),
    /// The item of a list at this index.
    Index(i64),
}

impl PathElement {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Key(keys) => {
                let pairs: Vec<String> = keys
                    .iter()
                    .map(|(name, item)| format!("{}:{}", Value::from(&**name), go_json(&item.0)))
                    .collect();
                format!("k:{{{}}}", pairs.join(","))
            }
            Self::Value(item) => format!("v:{}", go_json(&item.0)),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// `Ok(None)` for kinds of steps that are not known here.
    fn decode(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(format!("missing colon: {text}"));
        };
        let json = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|error| format!("path element {text:?}: {error}"))
        };
        Ok(Some(match kind {
            "f" => Self::Field(rest.into()),
            "v" => Self::Value(Item(json(rest)?)),
            "i" => Self::Index(
                rest.parse()
                    .map_err(|error| format!("path element {text:?}: {error}"))?,
            ),
            "k" => match json(rest)? {
                Value::Object(map) => Self::Key(map.into_iter().map(|(k, v)| (k.into(), Item(v))).collect()),
                _ => return Err(format!("path element {text:?}: the keys are not an object")),
            },
            _ => return Ok(None),
        }))
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let pairs: Vec<String> = keys
                    .iter()
                    .map(|(name, item)| format!("{name}={}", item.words()))
                    .collect();
                write!(f, "[{}]", pairs.join(","))
            }
            Self::Value(item) => write!(f, "[={}]", item.words()),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A set of field paths. A path may be in it without those below or above it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    members: BTreeSet<PathElement>,
    /// Sets of what lies below; none of them is empty.
    children: BTreeMap<PathElement, Self>,
}

impl FieldSet {
    pub(crate) fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Adds what lies below a step that is not in the set yet, and the step itself if it is a member.
    pub(crate) fn put(&mut self, element: PathElement, below: Self, member: bool) {
        if !below.is_empty() {
            self.children.insert(element.clone(), below);
        }
        if member {
            self.members.insert(element);
        }
    }

    /// The set of these paths of plain fields.
    pub(crate) fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<PathElement> = path
                .iter()
                .map(|name| PathElement::Field((*name).into()))
                .collect();
            set.insert(&path);
        }
        set
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }

    pub(crate) fn has(&self, element: &PathElement) -> bool {
        self.members.contains(element)
    }

    /// Whether the path is a member.
    pub(crate) fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.contains(rest)),
        }
    }

    pub(crate) fn below(&self, element: &PathElement) -> Option<&Self> {
        self.children.get(element)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &PathElement> {
        self.members.iter()
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = (&PathElement, &Self)> {
        self.children.iter()
    }

    /// Adds all of another set.
    pub(crate) fn add(&mut self, other: &Self) {
        self.members.extend(other.members.iter().cloned());
        for (element, child) in &other.children {
            match self.children.get_mut(element) {
                Some(mine) => mine.add(child),
                None => {
                    self.children.insert(element.clone(), child.clone());
                }
            }
        }
    }

    /// The set with all of another one.
    pub(crate) fn with(mut self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        self.take_in(other);
        self
    }

    fn take_in(&mut self, mut other: Self) {
        self.members.append(&mut other.members);
        for (element, child) in other.children {
            match self.children.get_mut(&element) {
                Some(mine) => mine.take_in(child),
                None => {
                    self.children.insert(element, child);
                }
            }
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let children = self.children.iter().filter_map(|(element, child)| {
            let child = child.intersection(other.children.get(element)?);
            (!child.is_empty()).then(|| (element.clone(), child))
        });
        Self {
            children: children.collect(),
            members: self.members.intersection(&other.members).cloned().collect(),
        }
    }

    /// What is in this set and not in the other; a path that the other has takes nothing below it away.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.subtract(other);
        out
    }

    /// Leaves [`FieldSet::difference`].
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.subtract_members(other);
        self.children.retain(|element, child| {
            if let Some(theirs) = other.children.get(element) {
                child.subtract(theirs);
            }
            !child.is_empty()
        });
    }

    /// Leaves what is neither in the other set nor below one of its members.
    pub(crate) fn subtract_recursively(&mut self, other: &Self) {
        self.subtract_members(other);
        self.children.retain(|element, child| {
            if other.members.contains(element) {
                return false;
            }
            if let Some(theirs) = other.children.get(element) {
                child.subtract_recursively(theirs);
            }
            !child.is_empty()
        });
    }

    fn subtract_members(&mut self, other: &Self) {
        if !other.members.is_empty() {
            self.members.retain(|element| !other.members.contains(element));
        }
    }

    /// Whether all of `other` is in this set too, and with each item of a list the fields that tell it apart.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other
            .members
            .iter()
            .all(|element| self.members.contains(element) && self.tells_apart(element))
            && other.children.iter().all(|(element, child)| {
                let mine = self.children.get(element);
                mine.is_some_and(|mine| mine.covers(child)) && self.tells_apart(element)
            })
    }

    fn tells_apart(&self, element: &PathElement) -> bool {
        let PathElement::Key(keys) = element else {
            return true;
        };
        self.children.get(element).is_some_and(|fields| {
            let mut names = keys.iter().map(|(name, _)| PathElement::Field(Arc::clone(name)));
            names.all(|name| fields.members.contains(&name))
        })
    }

    /// Adds the named fields that lie above members: what is inside them is theirs.
    pub(crate) fn with_named_fields(&self, of: Option<&Type>) -> Self {
        let mut out = Self {
            members: self.members.clone(),
            children: BTreeMap::new(),
        };
        for (element, child) in &self.children {
            let mut child_type: Option<&TypeRef> = None;
            if let Some(of) = of {
                match (element, &of.map, &of.list) {
                    (PathElement::Field(name), Some(map), _) => {
                        if map.fields.contains_key(&**name) {
                            out.members.insert(element.clone());
                        }
                        child_type = map.field(name);
                    }
                    (PathElement::Key(_), _, Some(list)) => child_type = Some(&list.element),
                    _ => {}
                }
            }
            out.children.insert(
                element.clone(),
                child.with_named_fields(child_type.map(TypeRef::get)),
            );
        }
        out
    }

    /// Calls `visit` for each member, those of a level before those below it.
    pub(crate) fn each(&self, visit: &mut impl FnMut(&[PathElement])) {
        self.each_below(&mut Vec::new(), visit);
    }

    fn each_below(&self, path: &mut Vec<PathElement>, visit: &mut impl FnMut(&[PathElement])) {
        for element in &self.members {
            path.push(element.clone());
            visit(path);
            path.pop();
        }
        for (element, child) in &self.children {
            path.push(element.clone());
            child.each_below(path, visit);
            path.pop();
        }
    }

    /// The set as `fieldsV1`.
    pub(crate) fn encode(&self) -> Value {
        Value::Object(self.encode_map(false))
    }

    fn encode_map(&self, itself: bool) -> Map<String, Value> {
        let mut map = Map::new();
        if itself {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for element in &self.members {
            if !self.children.contains_key(element) {
                map.insert(element.encode(), Value::Object(Map::new()));
            }
        }
        for (element, child) in &self.children {
            let child = child.encode_map(self.members.contains(element));
            map.insert(element.encode(), Value::Object(child));
        }
        map
    }

    /// Reads `fieldsV1`. Kinds of path elements that are not known are left out.
    pub(crate) fn decode(fields: &Value) -> Result<Self, String> {
        match fields {
            Value::Null => Ok(Self::default()),
            Value::Object(map) => Self::decode_map(map, 0).map(|(set, _)| set),
            _ => Err("fieldsV1 is not an object".to_owned()),
        }
    }

    /// Returns what lies below, and whether the path itself is a member.
    fn decode_map(map: &Map<String, Value>, depth: usize) -> Result<(Self, bool), String> {
        if depth > 512 {
            return Err("fieldsV1 nests too deep".to_owned());
        }
        let mut set = Self::default();
        let mut itself = false;
        for (key, value) in map {
            if key == "." {
                itself = true;
                continue;
            }
            let Some(element) = PathElement::decode(key)? else {
                continue;
            };
            let Value::Object(value) = value else {
                return Err(format!("the value of {key:?} in fieldsV1 is not an object"));
            };
            let (child, member) = Self::decode_map(value, depth + 1)?;
            if member {
                set.members.insert(element.clone());
            }
            if !child.is_empty() {
                set.children.insert(element, child);
            }
        }
        let member = itself || set.is_empty();
        Ok((set, member))
    }
}

/// A path as messages show it, such as `.spec.parts[name="p"].n`.
pub(crate) fn path_words(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}

/// The step to an item of a list, or why it has none.
pub(crate) fn item_element(list: &super::types::ListOf, item: &Value) -> Result<PathElement, String> {
    if list.atomic {
        return Err("invalid indexing of non-associative list".to_owned());
    }
    if list.keys.is_empty() {
        return match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".to_owned())
            }
            scalar => Ok(PathElement::Value(Item(scalar.clone()))),
        };
    }
    let map = match item {
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        Value::Object(map) => map,
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let Form::Map(element) = list.element.get().form(Some(item)).0 else {
        return Err("associative list may not have non-map types".to_owned());
    };
    let mut keys: Vec<(Arc<str>, Item)> = list
        .keys
        .iter()
        .filter_map(|key| {
            let value = map.get(key).or_else(|| element.defaults.get(key))?;
            Some((key.as_str().into(), Item(value.clone())))
        })
        .collect();
    if keys.is_empty() {
        let names: Vec<String> = list.keys.iter().map(|key| go_quote(key)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] \
             (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    keys.sort();
    Ok(PathElement::Key(keys.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_v1_survives_a_round_trip() {
        let fields = json!({
            "f:metadata": {"f:finalizers": {".": {}, "v:\"differ.test/f\"": {}}, "f:labels": {}},
            "f:spec": {".": {}, "f:parts": {"k:{\"name\":\"p\"}": {".": {}, "f:n": {}}}, "i:3": {}}
        });
        let set = FieldSet::decode(&fields).unwrap();
        assert_eq!(set.encode(), fields);
    }

    #[test]
    fn unknown_steps_are_left_out_and_broken_ones_refused() {
        assert_eq!(
            FieldSet::decode(&json!({"z:new": {}, "f:a": {}}))
                .unwrap()
                .encode(),
            json!({"f:a": {}})
        );
        for broken in [
            json!({"fa": {}}),
            json!({"v:{": {}}),
            json!({"i:x": {}}),
            json!({"f:a": 1}),
            json!([]),
        ] {
            assert!(FieldSet::decode(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn differences_leave_or_take_what_lies_below() {
        let set = FieldSet::decode(&json!({"f:a": {".": {}, "f:b": {}}})).unwrap();
        let a = FieldSet::of_fields(&[&["a"]]);
        assert_eq!(set.difference(&a).encode(), json!({"f:a": {"f:b": {}}}));
        let mut left = set;
        left.subtract_recursively(&a);
        assert!(left.is_empty());
    }

    #[test]
    fn a_set_covers_what_is_in_it_if_its_items_can_be_told_apart() {
        let set = |fields: Value| FieldSet::decode(&fields).unwrap();
        let item = r#"k:{"name":"p"}"#;
        let all =
            set(json!({"f:a": {".": {}, "f:b": {}}, "f:parts": {item: {".": {}, "f:name": {}, "f:n": {}}}}));
        for (other, wanted) in [
            (json!({}), true),
            (json!({"f:a": {}}), true),
            (json!({"f:a": {"f:b": {}}, "f:parts": {item: {"f:n": {}}}}), true),
            (json!({"f:parts": {item: {}}}), true),
            (json!({"f:a": {"f:c": {}}}), false),
            (json!({"f:parts": {}}), false),
            (json!({"f:parts": {r#"k:{"name":"q"}"#: {}}}), false),
        ] {
            assert_eq!(all.covers(&set(other.clone())), wanted, "{other}");
        }
        let nameless = set(json!({"f:parts": {item: {".": {}, "f:n": {}}}}));
        assert!(!nameless.covers(&nameless));
    }

    #[test]
    fn paths_read_as_in_conflicts() {
        let path = [
            PathElement::Field("spec".into()),
            PathElement::Field("parts".into()),
            PathElement::Key(
                [
                    ("name".into(), Item(json!("p"))),
                    ("port".into(), Item(json!(80))),
                ]
                .into(),
            ),
            PathElement::Value(Item(json!("a"))),
        ];
        assert_eq!(path_words(&path), r#".spec.parts[name="p",port=80][="a"]"#);
    }
}
