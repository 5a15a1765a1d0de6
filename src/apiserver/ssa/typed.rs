//! Walks over values with their types: checking, listing the fields, comparing, merging and taking fields out. It must
//! not know of managers.

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

/// Checks that a value has the form of its type; `duplicates` allows items to occur twice.
pub(crate) fn check(of: &Type, value: &Value, duplicates: bool) -> Vec<TypeError> {
    let mut checker = Checker {
        duplicates,
        path: Vec::new(),
        errors: Vec::new(),
    };
    checker.check(of, value);
    checker.errors
}

struct Checker {
    duplicates: bool,
    path: Vec<PathElement>,
    errors: Vec<TypeError>,
}

impl Checker {
    fn fault(&mut self, words: String) {
        self.errors.push(TypeError {
            path: path_words(&self.path),
            words,
        });
    }

    fn check(&mut self, of: &Type, value: &Value) {
        match (of.form(Some(value)).0, value) {
            (_, Value::Null) | (Form::None, _) => {}
            (Form::Scalar(scalar), value) => {
                if let Some(words) = scalar_fault(scalar, value) {
                    self.fault(words);
                }
            }
            (Form::List(list), Value::Array(items)) => self.list(list, items),
            (Form::List(_), other) => self.fault(format!("expected list, got &{{{}}}", go_plain(other))),
            (Form::Map(map), Value::Object(fields)) => self.map(map, fields),
            (Form::Map(_), other) => self.fault(format!("expected map, got &{{{}}}", go_plain(other))),
        }
    }

    fn list(&mut self, list: &ListOf, items: &[Value]) {
        let mut seen: std::collections::BTreeSet<PathElement> = std::collections::BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let element = if list.atomic {
                PathElement::Index(i64::try_from(i).unwrap_or(i64::MAX))
            } else {
                match item_element(list, item) {
                    Ok(element) => element,
                    Err(words) => return self.fault(format!("element {i}: {words}")),
                }
            };
            if !list.atomic && !seen.insert(element.clone()) && !self.duplicates {
                self.fault(format!("duplicate entries for key {element}"));
            }
            self.path.push(element);
            self.check(list.element.get(), item);
            self.path.pop();
        }
    }

    fn map(&mut self, map: &MapOf, fields: &Map<String, Value>) {
        for (key, value) in fields {
            self.path.push(PathElement::Field(key.clone()));
            match map.field(key) {
                Some(of) => self.check(of.get(), value),
                None => self.fault("field not declared in schema".to_owned()),
            }
            self.path.pop();
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
    let mut set = FieldSet::default();
    list_fields(of, value, &mut Vec::new(), &mut set);
    set
}

fn list_fields(of: &Type, value: &Value, path: &mut Vec<PathElement>, set: &mut FieldSet) {
    match (of.form(Some(value)).0, value) {
        (Form::Scalar(_), _) => set.insert(path),
        (Form::List(list), value) => {
            if list.atomic {
                set.insert(path);
            } else if let Value::Array(items) = value {
                list_items(list, items, path, set);
            }
        }
        (Form::Map(map), value) => {
            if map.atomic {
                set.insert(path);
            } else if let Value::Object(fields) = value {
                for (key, value) in fields {
                    let Some(of) = map.field(key) else { continue };
                    path.push(PathElement::Field(key.clone()));
                    list_fields(of.get(), value, path, set);
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    if empty || !map.fields.contains_key(key) {
                        set.insert(path);
                    }
                    path.pop();
                }
            }
        }
        (Form::None, _) => {}
    }
}

fn list_items(list: &ListOf, items: &[Value], path: &mut Vec<PathElement>, set: &mut FieldSet) {
    let elements: Vec<Option<PathElement>> = items.iter().map(|item| item_element(list, item).ok()).collect();
    let mut times = std::collections::BTreeMap::new();
    for element in elements.iter().flatten() {
        *times.entry(element).or_insert(0_usize) += 1;
    }
    for (element, item) in elements.iter().zip(items) {
        let Some(element) = element else { continue };
        path.push(element.clone());
        // Of items that occur twice only the item is listed: what is in which of them has no name.
        if times.get(element) == Some(&1) {
            list_fields(list.element.get(), item, path, set);
        }
        set.insert(path);
        path.pop();
    }
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
    pub(crate) fn without(self, fields: &FieldSet) -> Self {
        Self {
            removed: self.removed.recursive_difference(fields),
            modified: self.modified.recursive_difference(fields),
            added: self.added.recursive_difference(fields),
        }
    }
}

/// Compares two values of one type.
pub(crate) fn compare(of: &Type, old: &Value, new: &Value) -> Comparison {
    let mut out = Comparison::default();
    compare_at(of, Some(old), Some(new), &mut Vec::new(), &mut out);
    out
}

fn compare_at(
    of: &Type,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<PathElement>,
    out: &mut Comparison,
) {
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
            (None, _) => out.added.insert(path),
            (_, None) => out.removed.insert(path),
            _ => {}
        }
    }
}

/// Returns whether the value was compared as a whole.
fn compare_form(
    form: Form<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<PathElement>,
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
                path.push(PathElement::Field(key.clone()));
                compare_at(
                    of.get(),
                    olds.and_then(|m| m.get(key)),
                    news.and_then(|m| m.get(key)),
                    path,
                    out,
                );
                path.pop();
            }
            false
        }
        Form::None => true,
    }
}

fn compare_leaf(
    old: Option<&Value>,
    new: Option<&Value>,
    path: &[PathElement],
    out: &mut Comparison,
) -> bool {
    match (old, new) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        (Some(old), Some(new)) if !equal(old, new) => out.modified.insert(path),
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

fn compare_items(
    list: &ListOf,
    olds: &[Value],
    news: &[Value],
    path: &mut Vec<PathElement>,
    out: &mut Comparison,
) {
    type Found<'a> = std::collections::BTreeMap<PathElement, (Vec<&'a Value>, Vec<&'a Value>)>;
    let mut found: Found<'_> = std::collections::BTreeMap::new();
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
        path.push(element);
        match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => {
                compare_at(of, old.first().copied(), new.first().copied(), path, out);
            }
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || !old.iter().zip(&new).all(|(a, b)| equal(a, b)) {
                    out.modified.insert(path);
                }
            }
            ([_, _, ..], new) => {
                if let [new] = new {
                    compare_at(of, None, Some(new), path, out);
                }
                out.removed.insert(path);
            }
            (old, _) => {
                if let [old] = old {
                    compare_at(of, Some(old), None, path, out);
                }
                out.added.insert(path);
            }
        }
        path.pop();
    }
}

/// Lays `over` on `base`: fields of both are those of `over`, none is removed.
pub(crate) fn merge(of: &Type, base: &Value, over: &Value) -> Result<Value, Vec<TypeError>> {
    let mut walk = Merger {
        path: Vec::new(),
        errors: Vec::new(),
    };
    let merged = walk.merge(of, Some(base), Some(over));
    if walk.errors.is_empty() {
        Ok(merged.unwrap_or(Value::Null))
    } else {
        Err(walk.errors)
    }
}

struct Merger {
    path: Vec<PathElement>,
    errors: Vec<TypeError>,
}

impl Merger {
    fn merge(&mut self, of: &Type, base: Option<&Value>, over: Option<&Value>) -> Option<Value> {
        let form = match over {
            None => of.form(base).0,
            Some(_) => of.form(over).0,
        };
        let whole = || over.or(base).cloned();
        match form {
            Form::Scalar(_) | Form::None => whole(),
            Form::List(list) => {
                let (bases, overs) = (items_of(base), items_of(over));
                if list.atomic || (bases.is_empty() && overs.is_empty()) {
                    return whole();
                }
                let items = self.items(list, bases, overs);
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
                    self.path.push(PathElement::Field(key.clone()));
                    let value = match map.field(key) {
                        Some(of) => self.merge(of.get(), base, over),
                        None => over.or(base).cloned(),
                    };
                    self.path.pop();
                    if let Some(value) = value {
                        fields.insert(key.clone(), value);
                    }
                }
                (!fields.is_empty()).then_some(Value::Object(fields))
            }
        }
    }

    fn fault(&mut self, words: String) {
        self.errors.push(TypeError {
            path: path_words(&self.path),
            words,
        });
    }

    /// The steps to the items. Items that have none are told and left out.
    fn elements(&mut self, list: &ListOf, items: &[Value], duplicates: bool) -> Vec<PathElement> {
        let mut out: Vec<PathElement> = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            match item_element(list, item) {
                Ok(element) if !duplicates && out.contains(&element) => {
                    self.fault(format!("duplicate entries for key {element}"));
                }
                Ok(element) => out.push(element),
                Err(words) => self.fault(format!("element {i}: {words}")),
            }
        }
        out
    }

    /// Merges items. Their order is that of `over` for items that both have; others keep their place.
    fn items(&mut self, list: &ListOf, bases: &[Value], overs: &[Value]) -> Vec<Value> {
        let over_elements = self.elements(list, overs, false);
        let base_elements = self.elements(list, bases, true);
        if !self.errors.is_empty() {
            return Vec::new();
        }
        let in_over = |element: &PathElement| over_elements.iter().position(|e| e == element);
        // Items that occur twice are not merged with, but replaced.
        let in_base = |element: &PathElement| {
            let mut places = (0..bases.len()).filter(|i| base_elements[*i] == *element);
            match (places.next(), places.next()) {
                (Some(place), None) => Some(place),
                _ => None,
            }
        };
        let mut shared = over_elements
            .iter()
            .filter(|e| base_elements.contains(e))
            .collect::<Vec<_>>()
            .into_iter();
        let mut next_shared = shared.next();
        let mut done: Vec<&PathElement> = Vec::new();
        let mut out = Vec::new();
        let of: &TypeRef = &list.element;
        let (mut b, mut o) = (0, 0);
        while b < bases.len() || o < overs.len() {
            if b < bases.len() && o < overs.len() {
                let element = &base_elements[b];
                if *element == over_elements[o] {
                    done.push(element);
                    out.extend(self.item(of, element, in_base(element).map(|i| &bases[i]), Some(&overs[o])));
                    b += 1;
                    o += 1;
                    next_shared = shared.next();
                    continue;
                }
                if in_over(element).is_some() && next_shared.is_some_and(|next| next != element) {
                    b += 1;
                    continue;
                }
            }
            if b < bases.len() {
                let element = &base_elements[b];
                if in_over(element).is_none() {
                    out.extend(self.item(of, element, Some(&bases[b]), None));
                    b += 1;
                    continue;
                } else if done.contains(&element) {
                    b += 1;
                }
            }
            if o < overs.len() {
                let element = &over_elements[o];
                done.push(element);
                out.extend(self.item(of, element, in_base(element).map(|i| &bases[i]), Some(&overs[o])));
                o += 1;
                if next_shared == Some(element) {
                    next_shared = shared.next();
                }
            }
        }
        out
    }

    fn item(
        &mut self,
        of: &TypeRef,
        element: &PathElement,
        base: Option<&Value>,
        over: Option<&Value>,
    ) -> Option<Value> {
        self.path.push(element.clone());
        let merged = self.merge(of.get(), base, over);
        self.path.pop();
        merged
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
                let element = PathElement::Field(key.clone());
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
pub(crate) fn reconcile(of: &Type, set: &FieldSet) -> FieldSet {
    let mut walk = Reconciler {
        path: Vec::new(),
        whole: FieldSet::default(),
    };
    walk.visit(of, Some(set), false);
    if walk.whole.is_empty() {
        set.clone()
    } else {
        set.recursive_difference(&walk.whole).union(&walk.whole)
    }
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
