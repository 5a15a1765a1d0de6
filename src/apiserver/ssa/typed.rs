//! Walks over values with their types: checking, listing the fields, comparing, merging and taking fields out. It must
//! not know of managers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::fieldset::{FieldSet, Item, PathElement, item_element, path_words};
use super::types::{Form, ListOf, MapOf, Scalar, Type, TypeRef, same_form};
use crate::apiserver::schema::{go_number, go_quote};

/// A value that does not have the form that its type asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeError {
    pub(crate) path: String,
    pub(crate) words: String,
}

/// Joins type errors as they are told to users.
pub(crate) fn join_errors(errors: &[TypeError]) -> String {
    let one = |e: &TypeError| {
        if e.path.is_empty() {
            e.words.clone()
        } else {
            format!("{}: {}", e.path, e.words)
        }
    };
    match errors {
        [error] => one(error),
        errors => {
            let lines: Vec<String> = errors.iter().map(|e| format!("\n  {}", one(e))).collect();
            format!("errors:{}", lines.concat())
        }
    }
}

/// The way to a value. Steps are only made of it where one is told: most values have nothing to tell.
#[derive(Clone, Copy)]
enum Path<'a> {
    Root,
    Field(&'a Self, &'a str),
    Element(&'a Self, &'a PathElement),
}

impl Path<'_> {
    fn elements(&self) -> Vec<PathElement> {
        let (mut at, mut out) = (self, Vec::new());
        loop {
            at = match at {
                Self::Root => break,
                Self::Field(above, name) => {
                    out.push(PathElement::Field((*name).into()));
                    above
                }
                Self::Element(above, element) => {
                    out.push((*element).clone());
                    above
                }
            };
        }
        out.reverse();
        out
    }
}

/// Checks that a value has the form of its type; `duplicates` allows items to occur twice.
pub(crate) fn check(of: &Type, value: &Value, duplicates: bool) -> Vec<TypeError> {
    let mut checker = Checker {
        duplicates,
        errors: Vec::new(),
    };
    checker.check(of, value, Path::Root);
    checker.errors
}

struct Checker {
    duplicates: bool,
    errors: Vec<TypeError>,
}

impl Checker {
    fn fault(&mut self, path: Path<'_>, words: String) {
        self.errors.push(TypeError {
            path: path_words(&path.elements()),
            words,
        });
    }

    fn check(&mut self, of: &Type, value: &Value, path: Path<'_>) {
        match (of.form(Some(value)).0, value) {
            (_, Value::Null) | (Form::None, _) => {}
            (Form::Scalar(scalar), value) => {
                if let Some(words) = scalar_fault(scalar, value) {
                    self.fault(path, words);
                }
            }
            (Form::List(list), Value::Array(items)) => self.list(list, items, path),
            (Form::List(_), other) => {
                self.fault(path, format!("expected list, got &{{{}}}", go_plain(other)));
            }
            (Form::Map(map), Value::Object(fields)) => self.map(map, fields, path),
            (Form::Map(_), other) => self.fault(path, format!("expected map, got &{{{}}}", go_plain(other))),
        }
    }

    fn list(&mut self, list: &ListOf, items: &[Value], path: Path<'_>) {
        let mut seen: std::collections::BTreeSet<PathElement> = std::collections::BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let element = if list.atomic {
                PathElement::Index(i64::try_from(i).unwrap_or(i64::MAX))
            } else {
                match item_element(list, item) {
                    Ok(element) => element,
                    Err(words) => return self.fault(path, format!("element {i}: {words}")),
                }
            };
            if !list.atomic && !self.duplicates && !seen.insert(element.clone()) {
                self.fault(path, format!("duplicate entries for key {element}"));
            }
            self.check(list.element.get(), item, Path::Element(&path, &element));
        }
    }

    fn map(&mut self, map: &MapOf, fields: &Map<String, Value>, path: Path<'_>) {
        for (key, value) in fields {
            let path = Path::Field(&path, key);
            match map.field(key) {
                Some(of) => self.check(of.get(), value, path),
                None => self.fault(path, "field not declared in schema".to_owned()),
            }
        }
    }
}

fn scalar_fault(scalar: Scalar, value: &Value) -> Option<String> {
    match (scalar, value) {
        (_, Value::Null)
        | (Scalar::Numeric, Value::Number(_))
        | (Scalar::Text, Value::String(_))
        | (Scalar::Boolean, Value::Bool(_))
        | (Scalar::Any, Value::Number(_) | Value::String(_) | Value::Bool(_)) => None,
        (Scalar::Numeric, _) => Some(format!("expected numeric (int or float), got {}", go_type(value))),
        (Scalar::Text, _) => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            go_source(value)
        )),
        (Scalar::Boolean, _) => Some(format!("expected boolean, got &{{{}}}", go_plain(value))),
        (Scalar::Any, _) => Some(format!("expected any scalar, got &{{{}}}", go_plain(value))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%v` shows it.
fn go_plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => go_number(n),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_plain(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// A value as Go's `%#v` shows it.
fn go_source(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Array(items) => {
            format!(
                "[]interface {{}}{{{}}}",
                items.iter().map(go_source).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{}:{}", go_quote(k), go_source(v)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => go_plain(other),
    }
}

/// Whether two values are equal; `1` and `1.0` are.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y || (x.is_f64() || y.is_f64()) && x.as_f64() == y.as_f64()
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| equal(a, b)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, a)| y.get(k).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// The fields that a value sets.
pub(crate) fn field_set(of: &Type, value: &Value) -> FieldSet {
    fields_of(of, value).0
}

/// The fields below a value, and whether it is one itself.
fn fields_of(of: &Type, value: &Value) -> (FieldSet, bool) {
    match (of.form(Some(value)).0, value) {
        (Form::Scalar(_), _) => (FieldSet::default(), true),
        (Form::List(list), _) if list.atomic => (FieldSet::default(), true),
        (Form::Map(map), _) if map.atomic => (FieldSet::default(), true),
        (Form::List(list), Value::Array(items)) => (fields_of_items(list, items), false),
        (Form::Map(map), Value::Object(fields)) => {
            let mut set = FieldSet::default();
            for (key, value) in fields {
                let Some(of) = map.field(key) else { continue };
                let (below, itself) = fields_of(of.get(), value);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let member = itself || empty || !map.fields.contains_key(key);
                set.put(PathElement::Field(key.as_str().into()), below, member);
            }
            (set, false)
        }
        _ => (FieldSet::default(), false),
    }
}

fn fields_of_items(list: &ListOf, items: &[Value]) -> FieldSet {
    let elements: Vec<Option<PathElement>> = items.iter().map(|item| item_element(list, item).ok()).collect();
    let mut times = std::collections::BTreeMap::new();
    for element in elements.iter().flatten() {
        *times.entry(element).or_insert(0_usize) += 1;
    }
    let mut set = FieldSet::default();
    for (element, item) in elements.iter().zip(items) {
        let Some(element) = element else { continue };
        // Of items that occur twice only the item is listed: what is in which of them has no name.
        let below = if times.get(element) == Some(&1) {
            fields_of(list.element.get(), item).0
        } else {
            FieldSet::default()
        };
        set.put(element.clone(), below, true);
    }
    set
}

/// What changed between two values. No field is in two of the sets.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) removed: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) added: FieldSet,
}

impl Comparison {
    /// Leaves out these fields and all below them.
    pub(crate) fn without(mut self, fields: &FieldSet) -> Self {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            set.subtract_recursively(fields);
        }
        self
    }
}

/// Compares two values of one type.
pub(crate) fn compare(of: &Type, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    compare_at(of, Some(old), Some(new), Path::Root, &mut out);
    out
}

fn compare_at(of: &Type, old: Option<&Value>, new: Option<&Value>, path: Path<'_>, out: &mut Comparison) {
    if old.is_some() && old == new {
        return;
    }
    let (old_form, new_form) = (of.form(old), of.form(new));
    let leaf = if new.is_none() {
        compare_form(old_form.0, old, new, path, out)
    } else if old.is_none() || same_form(old_form, new_form) {
        compare_form(new_form.0, old, new, path, out)
    } else {
        compare_form(old_form.0, old, new, path, out);
        compare_form(new_form.0, old, new, path, out)
    };
    if !leaf {
        match (old, new) {
            (None, _) => out.added.insert(&path.elements()),
            (_, None) => out.removed.insert(&path.elements()),
            _ => {}
        }
    }
}

/// Returns whether the value was compared as a whole.
fn compare_form(
    form: Form<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: Path<'_>,
    out: &mut Comparison,
) -> bool {
    match form {
        Form::Scalar(_) => compare_leaf(old, new, path, out),
        Form::List(list) => {
            let (olds, news) = (items_of(old), items_of(new));
            if list.atomic || (olds.is_empty() && news.is_empty()) {
                return compare_leaf(old, new, path, out);
            }
            compare_items(list, olds, news, path, out);
            false
        }
        Form::Map(map) => {
            let (olds, news) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = |fields: Option<&Map<String, Value>>| fields.is_none_or(Map::is_empty);
            if map.atomic || (empty(olds) && empty(news)) {
                return compare_leaf(old, new, path, out);
            }
            for key in keys_of(olds, news) {
                let Some(of) = map.field(key) else { continue };
                let (old, new) = (olds.and_then(|m| m.get(key)), news.and_then(|m| m.get(key)));
                compare_at(of.get(), old, new, Path::Field(&path, key), out);
            }
            false
        }
        Form::None => true,
    }
}

fn compare_leaf(old: Option<&Value>, new: Option<&Value>, path: Path<'_>, out: &mut Comparison) -> bool {
    match (old, new) {
        (None, _) => out.added.insert(&path.elements()),
        (_, None) => out.removed.insert(&path.elements()),
        (Some(old), Some(new)) if !equal(old, new) => out.modified.insert(&path.elements()),
        _ => {}
    }
    true
}

fn items_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn keys_of<'a>(
    old: Option<&'a Map<String, Value>>,
    new: Option<&'a Map<String, Value>>,
) -> impl Iterator<Item = &'a String> {
    let olds = old.into_iter().flat_map(Map::keys);
    let news = new.into_iter().flat_map(Map::keys);
    olds.chain(news.filter(move |key| old.is_none_or(|old| !old.contains_key(*key))))
}

fn compare_items(list: &ListOf, olds: &[Value], news: &[Value], path: Path<'_>, out: &mut Comparison) {
    type Found<'a> = BTreeMap<PathElement, (Vec<&'a Value>, Vec<&'a Value>)>;
    let mut found: Found<'_> = BTreeMap::new();
    for item in olds {
        if let Ok(element) = item_element(list, item) {
            found.entry(element).or_default().0.push(item);
        }
    }
    for item in news {
        if let Ok(element) = item_element(list, item) {
            found.entry(element).or_default().1.push(item);
        }
    }
    let of = list.element.get();
    for (element, (old, new)) in found {
        let path = Path::Element(&path, &element);
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => {
                compare_at(of, old.first().copied(), new.first().copied(), path, out);
            }
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || !old.iter().zip(&new).all(|(a, b)| equal(a, b)) {
                    out.modified.insert(&path.elements());
                }
            }
            ([_, _, ..], new) => {
                if let [new] = new {
                    compare_at(of, None, Some(new), path, out);
                }
                out.removed.insert(&path.elements());
            }
            (old, _) => {
                if let [old] = old {
                    compare_at(of, Some(old), None, path, out);
                }
                out.added.insert(&path.elements());
            }
        }
    }
}

/// Lays `over` on `base`: fields of both are those of `over`, none is removed.
pub(crate) fn merge(of: &Type, base: &Value, over: &Value) -> Result<Value, Vec<TypeError>> {
    let mut walk = Merger { errors: Vec::new() };
    let merged = walk.merge(of, Some(base), Some(over), Path::Root);
    if walk.errors.is_empty() {
        Ok(merged.unwrap_or(Value::Null))
    } else {
        Err(walk.errors)
    }
}

struct Merger {
    errors: Vec<TypeError>,
}

impl Merger {
    fn merge(
        &mut self,
        of: &Type,
        base: Option<&Value>,
        over: Option<&Value>,
        path: Path<'_>,
    ) -> Option<Value> {
        // What only one of them has was checked as a whole, and stays as it is.
        if base.is_none() || over.is_none() {
            return over.or(base).cloned();
        }
        let form = of.form(over).0;
        let whole = || over.cloned();
        match form {
            Form::Scalar(_) | Form::None => whole(),
            Form::List(list) => {
                let (bases, overs) = (items_of(base), items_of(over));
                if list.atomic || (bases.is_empty() && overs.is_empty()) {
                    return whole();
                }
                let items = self.items(list, bases, overs, path);
                (!items.is_empty()).then_some(Value::Array(items))
            }
            Form::Map(map) => {
                let (bases, overs) = (base.and_then(Value::as_object), over.and_then(Value::as_object));
                let empty = |fields: Option<&Map<String, Value>>| fields.is_none_or(Map::is_empty);
                if map.atomic || (empty(bases) && empty(overs)) {
                    return whole();
                }
                let mut fields = Map::new();
                for key in keys_of(bases, overs) {
                    let (base, over) = (bases.and_then(|m| m.get(key)), overs.and_then(|m| m.get(key)));
                    let value = match map.field(key) {
                        Some(of) => self.merge(of.get(), base, over, Path::Field(&path, key)),
                        None => over.or(base).cloned(),
                    };
                    if let Some(value) = value {
                        fields.insert(key.clone(), value);
                    }
                }
                (!fields.is_empty()).then_some(Value::Object(fields))
            }
        }
    }

    fn fault(&mut self, path: Path<'_>, words: String) {
        self.errors.push(TypeError {
            path: path_words(&path.elements()),
            words,
        });
    }

    /// The steps to the items. Items that have none are told and left out.
    fn elements(
        &mut self,
        list: &ListOf,
        items: &[Value],
        duplicates: bool,
        path: Path<'_>,
    ) -> Vec<PathElement> {
        let mut out: Vec<PathElement> = Vec::with_capacity(items.len());
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            match item_element(list, item) {
                Ok(element) if !duplicates && !seen.insert(element.clone()) => {
                    self.fault(path, format!("duplicate entries for key {element}"));
                }
                Ok(element) => out.push(element),
                Err(words) => self.fault(path, format!("element {i}: {words}")),
            }
        }
        out
    }

    /// Merges items. Their order is that of `over` for items that both have; others keep their place.
    fn items(&mut self, list: &ListOf, bases: &[Value], overs: &[Value], path: Path<'_>) -> Vec<Value> {
        let over_elements = self.elements(list, overs, false, path);
        let base_elements = self.elements(list, bases, true, path);
        if !self.errors.is_empty() {
            return Vec::new();
        }
        // Lists can have 100,000 items, so they are not searched for each.
        let over_known: BTreeSet<&PathElement> = over_elements.iter().collect();
        let in_over = |element: &PathElement| over_known.contains(element);
        let mut places: BTreeMap<&PathElement, Option<usize>> = BTreeMap::new();
        for (at, element) in base_elements.iter().enumerate() {
            // Items that occur twice are not merged with, but replaced.
            places
                .entry(element)
                .and_modify(|place| *place = None)
                .or_insert(Some(at));
        }
        let in_base = |element: &PathElement| places.get(element).copied().flatten();
        let mut shared = over_elements
            .iter()
            .filter(|e| places.contains_key(e))
            .collect::<Vec<_>>()
            .into_iter();
        let mut next_shared = shared.next();
        let mut done: BTreeSet<&PathElement> = BTreeSet::new();
        let mut out = Vec::new();
        let of: &TypeRef = &list.element;
        let (mut b, mut o) = (0, 0);
        while b < bases.len() || o < overs.len() {
            if b < bases.len() && o < overs.len() {
                let element = &base_elements[b];
                if *element == over_elements[o] {
                    done.insert(element);
                    out.extend(self.merge(
                        of.get(),
                        in_base(element).map(|i| &bases[i]),
                        Some(&overs[o]),
                        Path::Element(&path, element),
                    ));
                    b += 1;
                    o += 1;
                    next_shared = shared.next();
                    continue;
                }
                if in_over(element) && next_shared.is_some_and(|next| next != element) {
                    b += 1;
                    continue;
                }
            }
            if b < bases.len() {
                let element = &base_elements[b];
                if !in_over(element) {
                    out.extend(self.merge(of.get(), Some(&bases[b]), None, Path::Element(&path, element)));
                    b += 1;
                    continue;
                } else if done.contains(element) {
                    b += 1;
                }
            }
            if o < overs.len() {
                let element = &over_elements[o];
                done.insert(element);
                out.extend(self.merge(
                    of.get(),
                    in_base(element).map(|i| &bases[i]),
                    Some(&overs[o]),
                    Path::Element(&path, element),
                ));
                o += 1;
                if next_shared == Some(element) {
                    next_shared = shared.next();
                }
            }
        }
        out
    }
}

/// Takes the fields of `set` out of a value. What is left of a container that loses everything is null.
pub(crate) fn remove(of: &Type, value: &Value, set: &FieldSet) -> Value {
    match (of.form(Some(value)).0, value) {
        (Form::Scalar(_), value) => value.clone(),
        (Form::List(list), Value::Array(items)) if !list.atomic && !items.is_empty() => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let element = item_element(list, item).unwrap_or(PathElement::Value(Item(Value::Null)));
                if set.has(&element) {
                    continue;
                }
                out.push(match set.below(&element) {
                    Some(below) => remove(list.element.get(), item, below),
                    None => item.clone(),
                });
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Array(out)
            }
        }
        (Form::Map(map), Value::Object(fields)) if !map.atomic && !fields.is_empty() => {
            let mut out = Map::new();
            for (key, value) in fields {
                let element = PathElement::Field(key.as_str().into());
                if set.has(&element) {
                    continue;
                }
                let kept = match (set.below(&element), map.field(key)) {
                    (Some(below), Some(of)) => remove(of.get(), value, below),
                    _ => value.clone(),
                };
                out.insert(key.clone(), kept);
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Object(out)
            }
        }
        _ => Value::Null,
    }
}

/// Fits a set to a schema that has changed since: of what is one value now, the whole is owned.
pub(crate) fn reconcile(of: &Type, mut set: FieldSet) -> FieldSet {
    let mut walk = Reconciler {
        path: Vec::new(),
        whole: FieldSet::default(),
    };
    walk.visit(of, Some(&set), false);
    let whole = walk.whole;
    if !whole.is_empty() {
        set.subtract_recursively(&whole);
        set = set.with(whole);
    }
    set
}

struct Reconciler {
    path: Vec<PathElement>,
    whole: FieldSet,
}

impl Reconciler {
    fn visit(&mut self, of: &Type, set: Option<&FieldSet>, whole: bool) {
        match of.form(None).0 {
            Form::Map(map) if map.is_deduced() => {}
            Form::Map(map) if map.atomic => {
                if !whole && set.is_some_and(|s| !s.is_empty()) {
                    self.whole.insert(&self.path);
                }
            }
            Form::Map(map) => self.below(set, |element| match element {
                PathElement::Field(name) => map.field(name),
                _ => map.element.as_ref(),
            }),
            Form::List(list) if list.atomic => {
                if !whole {
                    self.whole.insert(&self.path);
                }
            }
            Form::List(list) => self.below(set, |_| Some(&list.element)),
            Form::Scalar(_) | Form::None => {}
        }
    }

    fn below<'a>(&mut self, set: Option<&FieldSet>, of: impl Fn(&PathElement) -> Option<&'a TypeRef>) {
        let Some(set) = set else { return };
        let only_children = set
            .children()
            .map(|(element, _)| element)
            .filter(|element| !set.has(element));
        let all: Vec<&PathElement> = only_children.chain(set.members()).collect();
        for element in all {
            let Some(of) = of(element) else { continue };
            let child = set.below(element);
            self.path.push(element.clone());
            self.visit(of.get(), child, set.has(element) && child.is_none());
            self.path.pop();
        }
    }
}
