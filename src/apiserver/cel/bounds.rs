//! Counts what the evaluation of an expression costs, and ends it when that is too much. It must not change what an expression means.
//!
//! The interpreter knows no bounds, so they are written into the expression: calls and loops are wrapped into functions that
//! count. Sizes are counted deeply, because the interpreter copies deeply.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, ListExpr, LiteralValue, MapEntryExpr,
    MapExpr, SelectExpr, StructExpr, StructFieldExpr, operators,
};
use kube_cel::cel::common::types::{CelBytes, CelDuration, CelInt, CelList, CelMap, CelOptional, CelString};
use kube_cel::cel::common::value::Val;
use kube_cel::cel::{Context, ExecutionError, FunctionContext, IdedExpr, ResolveResult, Value};

use super::functions::{self, Undecided};

/// Evaluates its first argument and counts what that costs. The others are what that one is given, under the names of [`bound`]: they are
/// evaluated once. No expression can spell the names.
const COUNTED: &str = "@counted";
/// Counts a turn of a loop, in which what was gathered so far is copied.
const TURN: &str = "@turn";
/// Turns of loops that ask whether something is true of one or of all: an error counts only if no other turn decides.
const ANY: &str = "@any";
const ALL: &str = "@all";
/// What such a loop came to.
const DECIDED: &str = "@decided";
/// Bytes of text that cost as much as one value.
const TEXT: usize = 16;
/// Comparisons of two values that cost as much as looking at one.
const COMPARED: u64 = 4;
/// What each value costs that a range makes of nothing.
const MADE: u64 = 50;

thread_local! {
    /// What is left, nothing when it was too little.
    static LEFT: Cell<Option<u64>> = const { Cell::new(Some(0)) };
    /// What has been paid for and need not be again.
    static PAID: RefCell<HashSet<String>> = RefCell::default();
}

/// Evaluates within `allowed`. Returns what was spent, nothing if that was not enough.
pub(super) fn within<T>(allowed: u64, evaluate: impl FnOnce() -> T) -> (T, Option<u64>) {
    let outer = LEFT.replace(Some(allowed));
    let paid = PAID.take();
    let outcome = evaluate();
    PAID.set(paid);
    let left = LEFT.replace(outer);
    (outcome, left.map(|left| allowed.saturating_sub(left).max(1)))
}

pub(super) fn spend(cost: u64) -> Result<(), ExecutionError> {
    let left = LEFT.get().and_then(|left| left.checked_sub(cost));
    LEFT.set(left);
    match left {
        Some(_) => Ok(()),
        None => Err(ExecutionError::function_error(COUNTED, "too expensive")),
    }
}

/// Spends on something that is paid for once in an evaluation.
pub(super) fn spend_on(what: &str, cost: u64) -> Result<(), ExecutionError> {
    let is_paid = PAID.with_borrow(|paid| paid.contains(what));
    if is_paid {
        return Ok(());
    }
    PAID.with_borrow_mut(|paid| paid.insert(what.to_owned()));
    spend(cost)
}

pub(super) fn register(context: &mut Context<'static>) {
    context.add_function(COUNTED, count);
    context.add_function(TURN, turn);
    context.add_function(ANY, |function: &FunctionContext<'_, '_>| decide(function, true));
    context.add_function(ALL, |function: &FunctionContext<'_, '_>| decide(function, false));
    context.add_function(DECIDED, decided);
}

/// One turn of a loop that `wanted` ends: what was known before, and what the turn says.
fn decide(function: &FunctionContext<'_, '_>, wanted: bool) -> ResolveResult {
    let [before, asked] = function.args else {
        return Err(ExecutionError::invalid_argument_count(2, function.args.len()));
    };
    let undecided = |why: ExecutionError| {
        let before = Value::resolve(before, function.ptx)?;
        Ok(if Undecided::in_value(&before).is_some() {
            before
        } else {
            Value::Opaque(Arc::new(Undecided(why)))
        })
    };
    match Value::resolve(asked, function.ptx) {
        Ok(Value::Bool(said)) if said == wanted => Ok(Value::Bool(said)),
        Ok(Value::Bool(_)) => Value::resolve(before, function.ptx),
        Ok(_) => undecided(ExecutionError::NoSuchOverload),
        // Nothing is evaluated any more.
        Err(why) if LEFT.get().is_none() => Err(why),
        Err(why) => undecided(why),
    }
}

fn decided(function: &FunctionContext<'_, '_>) -> ResolveResult {
    let [gathered] = function.args else {
        return Err(ExecutionError::invalid_argument_count(1, function.args.len()));
    };
    let gathered = Value::resolve(gathered, function.ptx)?;
    match Undecided::in_value(&gathered) {
        Some(Undecided(why)) => Err(why.clone()),
        None => Ok(gathered),
    }
}

fn turn(function: &FunctionContext<'_, '_>) -> ResolveResult {
    let mut cost = 1;
    for argument in function.args {
        cost += weight(Value::resolve_val(argument, function.ptx)?.as_ref());
    }
    spend(cost)?;
    Ok(Value::Bool(true))
}

fn count(function: &FunctionContext<'_, '_>) -> ResolveResult {
    let [expression, computed @ ..] = function.args else {
        return Err(ExecutionError::invalid_argument_count(1, 0));
    };
    spend(1)?;
    if computed.is_empty() {
        return count_in(function.ptx, expression);
    }
    let mut scope = function.ptx.new_inner_scope();
    for (n, operand) in computed.iter().enumerate() {
        scope.add_variable_from_value(bound(n), Value::resolve(operand, function.ptx)?);
    }
    count_in(&scope, expression)
}

fn count_in(scope: &Context<'_>, expression: &IdedExpr) -> ResolveResult {
    match &expression.expr {
        Expr::Call(call) if !is_cheap(call) => {
            let operands = call.target.as_deref().into_iter().chain(&call.args);
            let multiplies = multiplies(call);
            let mut values = Vec::new();
            for operand in operands {
                // What was computed has been counted by itself.
                if multiplies || is_place(operand) {
                    values.push(Value::resolve_val(operand, scope));
                }
            }
            let values: Vec<_> = values.iter().flatten().map(Cow::as_ref).collect();
            spend(values.iter().map(|v| weight(*v)).fold(0, u64::saturating_add))?;
            if multiplies {
                spend(product(&call.func_name, &values))?;
            }
        }
        Expr::Comprehension(all) if is_place(&all.iter_range) => {
            let range = Value::resolve_val(&all.iter_range, scope)?;
            spend(weight(range.as_ref()))?;
        }
        _ => {}
    }
    let value = Value::resolve_val(expression, scope)?;
    spend(weight(value.as_ref()))?;
    if value
        .downcast_ref::<CelDuration>()
        .is_some_and(|d| d.inner().num_nanoseconds().is_none())
    {
        // Longer ones could be added to times until the interpreter gives up.
        return Err(functions::error("duration overflow"));
    }
    value.as_ref().try_into()
}

/// Says whether what a call is given is looked up, not computed: see [`operand`].
fn is_place(operand: &IdedExpr) -> bool {
    !matches!(operand.expr, Expr::Literal(_)) && !is_counted(operand)
}

fn is_counted(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Call(call) if call.func_name == COUNTED)
}

/// Says whether an expression does no more than to look something up. It can be evaluated again at no cost.
fn is_looked_up(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Ident(_) | Expr::Literal(_) => true,
        Expr::Select(select) => is_looked_up(&select.operand),
        Expr::Call(call) => {
            let looks_up = [operators::INDEX, operators::OPT_INDEX, operators::OPT_SELECT];
            looks_up.contains(&call.func_name.as_str()) && call.args.iter().all(is_looked_up)
        }
        _ => false,
    }
}

/// The name of a variable for what a call is given that was computed.
fn bound(n: usize) -> String {
    format!("@{n}")
}

/// Calls that would evaluate what they are given more than once: to find out what they cost, or because the interpreter does so.
fn is_bound(call: &CallExpr) -> bool {
    multiplies(call) || matches!(call.func_name.as_str(), "min" | "max" | "ip")
}

/// Functions whose results, or whose work, may be larger than all that they are given together.
fn multiplies(call: &CallExpr) -> bool {
    matches!(
        call.func_name.as_str(),
        "replace"
            | "join"
            | "format"
            | "range"
            | "contains"
            | "intersects"
            | "equivalent"
            | "distinct"
            | "indexOf"
            | "lastIndexOf"
            | "sort"
            | "split"
    )
}

fn text_of(value: &dyn Val) -> Option<&str> {
    value.downcast_ref::<CelString>().map(CelString::inner)
}

fn length(value: &dyn Val) -> u64 {
    let length = if let Some(text) = text_of(value) {
        text.len()
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().len()
    } else {
        1
    };
    length as u64
}

/// What a function costs that does something for each of one and each of the other.
fn product(name: &str, values: &[&dyn Val]) -> u64 {
    let texts = |count: u64, each: u64| count.saturating_mul(each / TEXT as u64 + 1);
    match (name, values) {
        ("replace", [text, from, to, ..]) => {
            let (Some(text), Some(from)) = (text_of(*text), text_of(*from)) else {
                return 1;
            };
            texts(text.matches(from).count() as u64, length(*to))
        }
        ("join", [list, separator]) => texts(length(*list), length(*separator)),
        ("format", [text, ..]) => text_of(*text).map_or(1, widths),
        ("range", values) => {
            let number = values
                .last()
                .and_then(|v| v.downcast_ref::<CelInt>())
                .map_or(0, |n| *n.inner());
            u64::try_from(number).unwrap_or(0).saturating_mul(MADE)
        }
        ("split", [text, ..]) => length(*text),
        ("distinct" | "sort", [list]) => length(*list).saturating_mul(weight(*list)) / COMPARED,
        // The third operand of `indexOf` says where to begin; the first one of `sets.contains` is the name `sets`, which has no value.
        ("indexOf" | "lastIndexOf", [one, other, ..]) | (_, [.., one, other]) => compared(*one, *other),
        _ => 1,
    }
}

/// What it costs to compare each of one with each of another.
fn compared(one: &dyn Val, other: &dyn Val) -> u64 {
    let other = length(other).max(weight(other));
    length(one).saturating_mul(other) / COMPARED
}

/// What the numbers in a format's verbs cost: `%.100f` writes a hundred digits. Those that nobody can mean cost everything.
fn widths(format: &str) -> u64 {
    let mut cost: u64 = 0;
    for verb in format.split('%').skip(1) {
        let digits: String = verb
            .chars()
            .skip_while(|c| *c == '.')
            .take_while(char::is_ascii_digit)
            .collect();
        match digits.parse::<u64>() {
            Ok(width) if width < 1000 => cost += width,
            Err(_) if digits.is_empty() => {}
            Ok(_) | Err(_) => return u64::MAX,
        }
    }
    cost
}

/// How much a value holds. What is more than is left is not looked at.
fn weight(value: &dyn Val) -> u64 {
    weight_up_to(value, LEFT.get().unwrap_or(0))
}

/// How much a value holds. What is more than `most` is not looked at.
pub(super) fn weight_up_to(value: &dyn Val, most: u64) -> u64 {
    let mut weight = 0;
    add_weight(value, most, &mut weight);
    weight
}

fn add_weight(value: &dyn Val, most: u64, weight: &mut u64) {
    *weight += 1;
    if *weight > most {
        return;
    }
    if let Some(text) = text_of(value) {
        *weight += (text.len() / TEXT) as u64;
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        *weight += (bytes.inner().len() / TEXT) as u64;
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        for item in list.inner() {
            add_weight(item.as_ref(), most, weight);
            if *weight > most {
                return;
            }
        }
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        for item in map.inner().values() {
            add_weight(item.as_ref(), most, weight);
            if *weight > most {
                return;
            }
        }
    } else if let Some(inner) = value.downcast_ref::<CelOptional>().and_then(CelOptional::inner) {
        add_weight(inner, most, weight);
    }
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: None,
            args,
        }),
    }
}

/// Returns an expression with what it costs counted.
pub(super) fn counted(expression: &IdedExpr) -> IdedExpr {
    let expr = match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => expression.expr.clone(),
        Expr::Call(made) => return counted_call(expression.id, made),
        Expr::Comprehension(all) => {
            let mut all = deciding(counted_parts(all));
            let turn = call(TURN, vec![ident(&all.accu_var)]);
            all.loop_cond = call(operators::LOGICAL_AND, vec![turn, all.loop_cond]);
            Expr::Comprehension(Box::new(all))
        }
        Expr::List(list) => Expr::List(ListExpr {
            elements: list.elements.iter().map(counted).collect(),
            optional_indices: list.optional_indices.clone(),
        }),
        Expr::Map(map) => Expr::Map(MapExpr {
            entries: map.entries.iter().map(counted_entry).collect(),
        }),
        Expr::Select(select) if select.test => Expr::Select(SelectExpr {
            operand: Box::new(counted(&select.operand)),
            ..select.clone()
        }),
        // An index lends what it finds and has no value where there are no fields; a selection copies it, and is false there.
        Expr::Select(select) => {
            let field = IdedExpr {
                id: 0,
                expr: Expr::Literal(LiteralValue::String(CelString::from(select.field.as_str()))),
            };
            return call(operators::INDEX, vec![counted(&select.operand), field]);
        }
        Expr::Struct(made) => Expr::Struct(StructExpr {
            entries: made.entries.iter().map(counted_entry).collect(),
            ..made.clone()
        }),
    };
    let is_made = matches!(expr, Expr::Comprehension(_) | Expr::List(_) | Expr::Map(_));
    let made = IdedExpr {
        id: expression.id,
        expr,
    };
    if is_made { call(COUNTED, vec![made]) } else { made }
}

fn ident(name: &str) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Ident(name.to_owned()),
    }
}

fn counted_parts(all: &ComprehensionExpr) -> ComprehensionExpr {
    ComprehensionExpr {
        iter_range: operand(&all.iter_range),
        loop_step: gathered(&all.loop_step, &all.accu_var),
        loop_cond: counted(&all.loop_cond),
        result: counted(&all.result),
        ..all.clone()
    }
}

/// Makes errors in the turns of a loop count only if no other turn decides.
fn deciding(mut all: ComprehensionExpr) -> ComprehensionExpr {
    let Expr::Call(step) = &all.loop_step.expr else {
        return all;
    };
    let name = match step.func_name.as_str() {
        operators::LOGICAL_OR => ANY,
        operators::LOGICAL_AND => ALL,
        _ => return all,
    };
    let gathers = Expr::Ident(all.accu_var.clone());
    if step.args.first().is_some_and(|first| first.expr == gathers) && all.result.expr == gathers {
        all.loop_step = call(name, step.args.clone());
        all.result = call(DECIDED, vec![all.result]);
    }
    all
}

/// Counts the step of a loop but for the adding of what it gives to what was gathered: that is counted as the turn.
fn gathered(step: &IdedExpr, gathers: &str) -> IdedExpr {
    let Expr::Call(made) = &step.expr else {
        return counted(step);
    };
    let args = match (made.func_name.as_str(), made.args.as_slice()) {
        (operators::ADD, [first, added]) if first.expr == Expr::Ident(gathers.to_owned()) => {
            vec![first.clone(), counted(added)]
        }
        (operators::CONDITIONAL, [condition, yes, no]) => {
            vec![counted(condition), gathered(yes, gathers), gathered(no, gathers)]
        }
        _ => return counted(step),
    };
    call(&made.func_name, args)
}

fn is_cheap(call: &CallExpr) -> bool {
    matches!(
        call.func_name.as_str(),
        operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::INDEX
            | operators::OPT_INDEX
            | operators::OPT_SELECT
    )
}

/// Counts what a call or a loop is given. If it is computed that is wrapped, so that who weighs it does not compute it again: what
/// lies in each other would be evaluated twice as often with each link.
fn operand(expression: &IdedExpr) -> IdedExpr {
    let counted = counted(expression);
    if is_counted(&counted) || is_looked_up(&counted) {
        counted
    } else {
        call(COUNTED, vec![counted])
    }
}

fn counted_call(id: u64, made: &CallExpr) -> IdedExpr {
    let (is_cheap, is_bound) = (is_cheap(made), is_bound(made));
    let mut computed = Vec::new();
    let mut part = |part: &IdedExpr| {
        if is_cheap {
            return counted(part);
        }
        let part = operand(part);
        if !is_bound || !is_counted(&part) {
            return part;
        }
        computed.push(part);
        ident(&bound(computed.len() - 1))
    };
    let expr = Expr::Call(CallExpr {
        func_name: made.func_name.clone(),
        target: made.target.as_deref().map(|target| Box::new(part(target))),
        args: made.args.iter().map(part).collect(),
    });
    let made_again = IdedExpr { id, expr };
    if is_cheap {
        return made_again;
    }
    computed.insert(0, made_again);
    call(COUNTED, computed)
}

fn counted_entry(entry: &IdedEntryExpr) -> IdedEntryExpr {
    let expr = match &entry.expr {
        EntryExpr::StructField(field) => EntryExpr::StructField(StructFieldExpr {
            value: counted(&field.value),
            ..field.clone()
        }),
        EntryExpr::MapEntry(entry) => EntryExpr::MapEntry(MapEntryExpr {
            key: counted(&entry.key),
            value: counted(&entry.value),
            optional: entry.optional,
        }),
    };
    IdedEntryExpr { id: entry.id, expr }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_formats_count() {
        assert_eq!(widths("%s and %.10f and 100%"), 10);
        assert_eq!(widths("%.1000000f"), u64::MAX);
        assert_eq!(widths("%.99999999999999999999999f"), u64::MAX);
    }
}
