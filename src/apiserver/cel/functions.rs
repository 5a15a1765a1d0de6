//! Functions in place of those of the interpreter that mean something else than Go's, or end the process. Types as values.
//! What they cost beyond what [`super::bounds`] counts they count themselves.

use std::cmp::Ordering;
use std::mem::discriminant;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{CallExpr, Expr};
use kube_cel::cel::extractors::{Arguments, This};
use kube_cel::cel::objects::Opaque;
use kube_cel::cel::{Context, ExecutionError, IdedExpr, ResolveResult, Value, functions};

use super::super::pattern::{self, Pattern};
use super::bounds;

/// Bytes of text that are matched for the price of one value.
const MATCHED: u64 = 16;

pub(super) fn register(context: &mut Context<'static>) {
    context.add_function("dyn", |value: Value| -> ResolveResult { Ok(value) });
    context.add_function("bool", to_bool);
    context.add_function("type", |value: Value| -> ResolveResult {
        Ok(Value::Opaque(Arc::new(Type::of(&value))))
    });
    for name in NAMES {
        context.add_variable_from_value(name, Value::Opaque(Arc::new(Type(name.to_owned()))));
    }
    context.add_function("contains", contains);
    context.add_function("size", size);
    context.add_function("sort", sort);
    context.add_function("sum", sum);
    context.add_function("validate", validate);
    context.add_function("matches", matches);
    context.add_function("find", find);
    context.add_function("findAll", find_all);
}

/// An error that is told as it is.
pub(super) fn error(why: &str) -> ExecutionError {
    ExecutionError::function_error(super::value::OWN, why)
}

/// Types that expressions can name.
pub(super) const NAMES: [&str; 10] = [
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
];

/// A type as a value.
#[derive(Debug, PartialEq, Eq)]
struct Type(String);

impl Opaque for Type {
    fn runtime_type_name(&self) -> &'static str {
        "type"
    }
}

impl Type {
    fn of(value: &Value) -> Self {
        let name = match value {
            Value::Int(_) => "int",
            Value::UInt(_) => "uint",
            Value::Float(_) => "double",
            Value::Bool(_) => "bool",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Null => "null_type",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Opaque(opaque) => opaque.runtime_type_name(),
            Value::Function(..) => "function",
        };
        Self(name.to_owned())
    }
}

fn to_bool(value: Value) -> ResolveResult {
    let text = match value {
        Value::Bool(_) => return Ok(value),
        Value::String(text) => text,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    match text.as_str() {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
        _ => Err(error("type conversion error from 'string' to 'bool'")),
    }
}

/// The interpreter looks for no bytes in windows of none.
fn contains(This(this): This<Value>, wanted: Value) -> ResolveResult {
    match (&this, &wanted) {
        (Value::Bytes(_), Value::Bytes(wanted)) if wanted.is_empty() => Ok(Value::Bool(true)),
        _ => functions::contains(This(this), wanted),
    }
}

/// The size of a text is that in code points.
fn size(This(this): This<Value>) -> ResolveResult {
    let size = match this {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.map.len(),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

/// What can be sorted has one type, and an order in which everything has its place.
fn sort(This(this): This<Arc<Vec<Value>>>) -> ResolveResult {
    let Some(first) = this.first() else {
        return Ok(Value::List(this));
    };
    if matches!(first, Value::List(_) | Value::Map(_) | Value::Opaque(_)) {
        return Err(ExecutionError::NoSuchOverload);
    }
    if this.iter().any(|item| discriminant(item) != discriminant(first)) {
        return Err(error("list elements must have the same type"));
    }
    let mut items = Vec::clone(&this);
    items.sort_by(|one, other| match (one, other) {
        (Value::Float(one), Value::Float(other)) => one.total_cmp(other),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        _ => one.partial_cmp(other).unwrap_or(Ordering::Equal),
    });
    Ok(Value::List(Arc::new(items)))
}

fn sum(This(this): This<Arc<Vec<Value>>>) -> ResolveResult {
    let mut items = this.iter().cloned();
    let Some(first) = items.next() else {
        return Ok(Value::Int(0));
    };
    items.try_fold(first, |sum, item| {
        match (&sum, &item) {
            (Value::Int(one), Value::Int(other)) => one.checked_add(*other).map(Value::Int),
            (Value::UInt(one), Value::UInt(other)) => one.checked_add(*other).map(Value::UInt),
            (Value::Float(one), Value::Float(other)) => return Ok(Value::Float(one + other)),
            (Value::Duration(one), Value::Duration(other)) => one
                .checked_add(other)
                .filter(|sum| sum.num_nanoseconds().is_some())
                .map(Value::Duration),
            _ => return Err(ExecutionError::NoSuchOverload),
        }
        .ok_or(ExecutionError::Overflow("add", sum, item))
    })
}

/// Asks a named format about a text. The formats of the interpreter cut texts into bytes, so they are shown none that takes several
/// for a character: no format has such a one where it looks.
#[expect(clippy::needless_pass_by_value, reason = "as the interpreter calls it")]
fn validate(This(this): This<Value>, text: Arc<String>) -> ResolveResult {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            shown.push(c);
        } else {
            shown.extend(std::iter::repeat_n('\u{7f}', c.len_utf8()));
        }
    }
    original("validate", this, &[Value::String(Arc::new(shown))])
}

/// Calls a function of the interpreter that another one stands in for.
pub(super) fn original(name: &str, this: Value, given: &[Value]) -> ResolveResult {
    thread_local! {
        static ORIGINAL: Context<'static> = Context::default().with_all();
    }
    let ident = |name: &str| IdedExpr {
        id: 0,
        expr: Expr::Ident(name.to_owned()),
    };
    let names: Vec<String> = (0..given.len()).map(|n| format!("given{n}")).collect();
    let call = IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: Some(Box::new(ident("this"))),
            args: names.iter().map(|name| ident(name)).collect(),
        }),
    };
    ORIGINAL.with(|context| {
        let mut scope = context.new_inner_scope();
        scope.add_variable_from_value("this", this);
        for (name, value) in names.into_iter().zip(given) {
            scope.add_variable_from_value(name, value.clone());
        }
        Value::resolve(&call, &scope)
    })
}

/// Returns a pattern, and counts what it costs to have it and to match a text with it.
fn counted(text: &str, source: &str) -> Result<Arc<Pattern>, ExecutionError> {
    let pattern = match pattern::kept(source) {
        Ok(pattern) => pattern,
        Err(why) => {
            bounds::spend_on(source, pattern::REFUSED)?;
            return Err(error(&why));
        }
    };
    bounds::spend_on(source, pattern.cost)?;
    bounds::spend((text.len() as u64 / MATCHED + 1).saturating_mul(pattern.factor))?;
    Ok(pattern)
}

#[expect(clippy::needless_pass_by_value, reason = "as the interpreter calls it")]
fn matches(This(this): This<Arc<String>>, source: Arc<String>) -> ResolveResult {
    Ok(Value::Bool(counted(&this, &source)?.regex.is_match(&this)))
}

#[expect(clippy::needless_pass_by_value, reason = "as the interpreter calls it")]
fn find(This(this): This<Arc<String>>, source: Arc<String>) -> ResolveResult {
    let pattern = counted(&this, &source)?;
    let found = pattern.regex.find(&this).map_or("", |found| found.as_str());
    Ok(Value::String(Arc::new(found.to_owned())))
}

fn find_all(This(this): This<Arc<String>>, Arguments(given): Arguments) -> ResolveResult {
    let (source, most) = match given.as_slice() {
        [Value::String(source)] => (source, -1),
        [Value::String(source), Value::Int(most)] => (source, *most),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    // Fewer than none: all.
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let pattern = counted(&this, source)?;
    let found = pattern.regex.find_iter(&this).take(most);
    let found = found.map(|found| Value::String(Arc::new(found.as_str().to_owned())));
    Ok(Value::List(Arc::new(found.collect())))
}

/// What a loop has gathered that asks whether something is true of one or of all: that it could not be told of one of them.
/// It only counts if no other one decides.
#[derive(Debug, PartialEq)]
pub(super) struct Undecided(pub(super) ExecutionError);

impl Eq for Undecided {}

impl Opaque for Undecided {
    fn runtime_type_name(&self) -> &'static str {
        "@undecided"
    }
}

impl Undecided {
    pub(super) fn in_value(value: &Value) -> Option<&Self> {
        match value {
            Value::Opaque(opaque) => opaque.downcast_ref(),
            _ => None,
        }
    }
}
