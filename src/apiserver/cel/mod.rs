//! Expressions in CEL: compiled and checked once, evaluated within bounds. What their variables mean, others know.
//! It must not evaluate anything without a budget: an expression is data that a client sent.

mod bounds;
mod check;
pub(crate) mod duration;
mod functions;
mod literals;
mod quantity;
mod times;
mod value;

use std::cell::Cell;
use std::fmt;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{self, Context, IdedExpr, Value as CelValue};

pub(crate) use self::value::of_json;

/// What may be spent on one object, or on one policy for one request. A unit is about what it takes to look at one value.
pub(crate) const BUDGET: u64 = 10_000_000;
/// What a single evaluation may spend of it.
const CALL: u64 = 5_000_000;
/// What may be spent to find out what an expression without variables says.
const CONSTANT: u64 = 10_000;
/// Characters of an expression.
const LONGEST: usize = 100_000;
/// Links of an expression (operators and the like), and how deep they may lie in each other.
const LINKS: usize = 5000;
const DEPTH: usize = 150;
/// How deep brackets may lie in each other.
const BRACKETS: usize = 150;
/// Deeper ones are evaluated where there is more room: who evaluates an expression goes as deep as it is, as does who reads it.
const SHALLOW: usize = 25;
const ROOM: usize = 256 << 20;

/// The variables of expressions about a write: conditions know the first three, those of policies five, the rest of a policy all.
pub(crate) const OF_A_WRITE: [&str; 6] = [
    "object",
    "oldObject",
    "request",
    "params",
    "namespaceObject",
    "variables",
];

/// What is left to be spent.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(BUDGET)
    }

    /// For what an expression says whatever it is asked about.
    pub(crate) fn of_a_constant() -> Self {
        Self(CONSTANT)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// Shows a value to expressions. What it holds was converted and copied for them, which costs as much as to look at it.
    pub(crate) fn show(&mut self, scope: &mut Context<'_>, name: &str, value: CelValue) {
        scope.add_variable_from_value(name, value);
        if let Some(shown) = scope.get_variable(name) {
            self.0 = self
                .0
                .saturating_sub(bounds::weight_up_to(shown.as_ref(), self.0));
        }
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It costs more than a single evaluation may.
    TooMuch,
    /// It costs more than was left.
    Spent,
    /// Something in it does not fit together.
    Failed(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMuch => "operation cancelled: actual cost limit exceeded",
            Self::Spent => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
            }
            Self::Failed(why) => why,
        })
    }
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Program {
    written: IdedExpr,
    /// The same with everything that costs something counted.
    bounded: IdedExpr,
    depth: usize,
}

thread_local! {
    /// Whether this thread has room for what goes deep.
    static ROOMY: Cell<bool> = const { Cell::new(false) };
}

/// Does something that goes deep. Nothing if the system has no room for it.
fn with_room<T: Send>(f: impl FnOnce() -> T + Send) -> Option<T> {
    let roomy = || {
        ROOMY.set(true);
        f()
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(ROOM);
        builder.spawn_scoped(scope, roomy).ok()?.join().ok()
    })
}

/// Does something that evaluates many expressions, where there is room for those that need it: once, not for each of them.
pub(crate) fn with_room_for<T: Send>(is_deep: bool, f: impl Fn() -> T + Sync) -> T {
    if is_deep && !ROOMY.get() {
        with_room(&f).unwrap_or_else(f)
    } else {
        f()
    }
}

impl Program {
    /// Compiles an expression that knows `variables`.
    ///
    /// # Errors
    /// Why it can't be, as Go's compiler tells it.
    pub(crate) fn compile(source: &str, variables: &[&str]) -> Result<Self, String> {
        let size = source.chars().count();
        if size > LONGEST {
            return Err(format!(
                "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {size}, limit {LONGEST}"
            ));
        }
        let too_deep = || format!("ERROR: <input>:-1:0: expression recursion limit exceeded: {DEPTH}");
        let links = source.bytes().filter(|b| b"+-*/%<>=!.?[".contains(b)).count();
        let links = links + source.matches(" in ").count();
        if links > LINKS || check::brackets(source) > BRACKETS {
            return Err(too_deep());
        }
        with_room(|| {
            let written = parse(source)?;
            let depth = check::depth(&written);
            if depth > DEPTH {
                return Err(too_deep());
            }
            check::check(source, &written, variables)?;
            let bounded = bounds::counted(&written);
            Ok(Self {
                written,
                bounded,
                depth,
            })
        })
        .unwrap_or_else(|| Err(too_deep()))
    }

    /// Returns the expression as it was written.
    pub(crate) fn expression(&self) -> &IdedExpr {
        &self.written
    }

    /// Says whether it is evaluated where there is more room: see [`with_room_for`].
    pub(crate) fn needs_room(&self) -> bool {
        self.depth > SHALLOW
    }

    /// Says whether a variable is named in it.
    pub(crate) fn names(&self, variable: &str) -> bool {
        self.written.references().has_variable(variable)
    }

    /// Evaluates the expression in a scope of [`with_functions`]'s context.
    ///
    /// # Errors
    /// It has no value, or costs too much.
    pub(crate) fn run(&self, scope: &Context<'_>, budget: &mut Budget) -> Result<CelValue, Problem> {
        if budget.is_spent() {
            return Err(Problem::Spent);
        }
        let allowed = budget.0.min(CALL);
        let evaluate = || bounds::within(allowed, || cel::Value::resolve(&self.bounded, scope));
        let (outcome, spent) = if self.needs_room() && !ROOMY.get() {
            let too_little = || Problem::Failed("there is not enough memory to evaluate it".to_owned());
            with_room(evaluate).ok_or_else(too_little)?
        } else {
            evaluate()
        };
        budget.0 = budget.0.saturating_sub(spent.unwrap_or(allowed));
        match spent {
            None if allowed < CALL => Err(Problem::Spent),
            None => Err(Problem::TooMuch),
            Some(_) => outcome.map_err(|e| Problem::Failed(value::short(&e))),
        }
    }
}

fn parse(source: &str) -> Result<IdedExpr, String> {
    let plain = literals::plain(source);
    Parser::new().parse(&plain).map_err(|error| {
        // What is told shows the expression as it was written, if that fails as well.
        let told = Parser::new().parse(source).err().unwrap_or(error);
        // Go's compiler puts a space before the lines that show the place.
        told.to_string().replace("\n|", "\n |")
    })
}

/// Gives `f` a context with all functions that expressions may call. It is made once for each thread.
pub(crate) fn with_functions<T>(f: impl FnOnce(&Context<'static>) -> T) -> T {
    thread_local! {
        static CONTEXT: Context<'static> = {
            let mut context = Context::default().with_all();
            functions::register(&mut context);
            quantity::register(&mut context);
            times::register(&mut context);
            bounds::register(&mut context);
            context
        };
    }
    CONTEXT.with(f)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn run(source: &str) -> Result<CelValue, Problem> {
        let program = Program::compile(source, &["self"]).map_err(Problem::Failed)?;
        let numbers: Vec<u32> = (0..3000).collect();
        let this = json!({"list": numbers, "text": "x".repeat(100_000), "small": [1, 2, 3], "map": {"a": 1}});
        with_functions(|context| {
            let mut scope = context.new_inner_scope();
            scope.add_variable_from_value("self", of_json(&this));
            program.run(&scope, &mut Budget::new())
        })
    }

    #[test]
    fn what_is_counted_has_the_same_value() {
        for source in [
            "self.small.map(x, x * 2).filter(x, x > 2) == [4, 6]",
            "self.small.exists(x, x == 2) && self.small.all(x, x < 4) && self.small.exists_one(x, x > 2)",
            "self.small.map(x, self.small.map(y, x + y)).size() == 3",
            "'a-b'.replace('-', '+') == 'a+b' && 'a,b'.split(',').join('-') == 'a-b'",
            "'%s is %d'.format(['a', 5]) == 'a is 5'",
            "has(self.map.a) && !has(self.map.b) && self.map.all(k, k == 'a')",
            "optional.of(self.small).orValue([]) == [1, 2, 3]",
            "quantity('1Ki').isGreaterThan(quantity('1k')) && 'abc'.matches('^a.c$')",
            "2 in self.small && !(9 in self.small) && (true ? 1 : 2) == 1 && -self.small[0] == -1",
            "timestamp('2026-01-01T00:00:00Z') < timestamp('2026-01-02T00:00:00Z')",
            "sets.contains([1, 2, 3], [2]) && lists.range(3) == [0, 1, 2]",
            "self.small.sum() == 6 && self.text.size() == 100000",
        ] {
            assert_eq!(run(source), Ok(CelValue::Bool(true)), "{source}");
        }
    }

    #[test]
    fn functions_do_what_they_do_in_go() {
        for source in [
            "b'abc'.contains(b'') && b'abc'.contains(b'c') && 'abc'.contains('b')",
            "'äöü'.size() == 3 && size('日本') == 2 && size(b'ä') == 2",
            "[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b'] && [].sort() == []",
            "[2.0, double('NaN'), 1.0].sort()[0] == 1.0",
            "type(1) == int && type('a') == string && type([]) == list && type({}) == map && type(null) == null_type",
            "type(type(1)) == type && type(1) != string && type(1.0) == double && type(true) == bool",
            "bool('true') && !bool('f') && bool(true)",
            "'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b22'.find('[0-9]+') == '1' && 'a1b2'.findAll('[0-9]', 1) == ['1']",
            "'é'.matches('^\\\\W$') && 'a'.matches('^[^[]+$') && !'٣'.matches('\\\\d')",
            "duration('1h30m') == duration('5400s') && string(duration('-1.5s')) == '-1.5s'",
            "!format.datetime().validate('2026-01-01T00:00:00Z').hasValue()",
            "format.datetime().validate('2026-01-0éT00:00:00Z').hasValue()",
            "format.date().validate('202é-01-0').hasValue() && format.datetime().validate('2026-01-01T00:0é:00Z').hasValue()",
            "format.uri().validate('https://é.de').hasValue() == false",
            "has(self.map.a) && !has(self.text.a) && self.map.a == 1 && optional.of(self.map).a.value() == 1",
            "timestamp('2026-01-01T00:00:00Z') + duration('24h') == timestamp('2026-01-02T00:00:00Z')",
        ] {
            assert_eq!(run(source), Ok(CelValue::Bool(true)), "{source}");
        }
    }

    /// Which of these is not true.
    fn untrue(sources: &[&'static str]) -> Vec<(&'static str, Result<CelValue, Problem>)> {
        let outcomes = sources.iter().map(|source| (*source, run(source)));
        outcomes
            .filter(|(_, outcome)| *outcome != Ok(CelValue::Bool(true)))
            .collect()
    }

    #[test]
    fn times_are_those_of_go() {
        let wrong = untrue(&[
            "timestamp('2026-01-01T00:00:00+02:00').getHours() == 22",
            "timestamp('2026-01-01T00:00:00+02:00').getFullYear() == 2025",
            "timestamp('2026-01-01T00:00:00Z').getHours('+05:30') == 5",
            "timestamp('2026-01-01T00:00:00Z').getMinutes('-05:30') == 30",
            "timestamp('2026-01-01T00:00:00Z').getHours('-05:30') == 18",
            "timestamp('2026-01-01T00:00:00Z').getHours('02:00') == 2",
            "timestamp('2026-01-01T00:00:00Z').getHours('UTC') == 0",
            "timestamp('2026-01-01T00:00:00Z').getMonth('-01:00') == 11",
            "timestamp('2026-01-01T00:00:00Z').getMonth() == 0",
            "timestamp('2026-03-04T05:06:07.089Z').getDate() == 4",
            "timestamp('2026-03-04T05:06:07.089Z').getDayOfMonth() == 3",
            "timestamp('2026-03-04T05:06:07.089Z').getDayOfYear() == 62",
            "timestamp('2026-03-04T05:06:07.089Z').getDayOfWeek() == 3",
            "timestamp('2026-03-04T05:06:07.089Z').getSeconds() == 7",
            "timestamp('2026-03-04T05:06:07.089Z').getMilliseconds() == 89",
            "timestamp('1969-12-31T23:59:59.25Z').getMilliseconds() == 250",
            "timestamp('0001-01-01T00:00:00Z').getFullYear() == 1",
            "timestamp('9999-12-31T23:59:59Z').getDayOfYear() == 364",
            "duration('720h').getMilliseconds() == 2592000000",
            "duration('2400000h').getSeconds() == 8640000000",
            "duration('90m').getHours() == 1 && duration('-90m').getHours() == -1 && duration('90m').getMinutes() == 90",
            "duration('1.5s').getMilliseconds() == 1500",
            "string(timestamp('2026-01-01T00:00:00Z')) == '2026-01-01T00:00:00Z'",
            "string(timestamp('2026-01-01T00:00:00.120+02:00')) == '2026-01-01T00:00:00.12+02:00'",
            "string(timestamp('2026-01-01T00:00:00-05:30')) == '2026-01-01T00:00:00-05:30'",
            "string(duration('1h')) == '3600s' && string(duration('1ms')) == '0.001s'",
            "timestamp(timestamp('2026-01-01T00:00:00Z')) == timestamp('2026-01-01T00:00:00Z')",
            "timestamp(1767225600) == timestamp('2026-01-01T00:00:00Z')",
            "timestamp(253402300799) == timestamp('9999-12-31T23:59:59Z') && timestamp(-1).getSeconds() == 59",
            "int(timestamp('2026-01-01T00:00:00Z')) == 1767225600 && int(timestamp('1969-12-31T23:59:59.5Z')) == -1",
            "duration(duration('1h')) == duration('1h') && int(duration('1s')) == 1000000000",
        ]);
        assert_eq!(wrong, []);
        let zone = run("timestamp('2026-06-30T22:30:00Z').getDate('Europe/Berlin') == 1");
        let refused = |why: &Problem| why.to_string().contains("time zone");
        assert!(zone.as_ref().is_ok_and(|v| *v == CelValue::Bool(true)) || zone.as_ref().is_err_and(refused));
    }

    #[test]
    fn values_are_made_into_others_as_in_go() {
        let wrong = untrue(&[
            "string(true) == 'true' && string(1) == '1' && string(2u) == '2' && string('a') == 'a'",
            "string(1.5) == '1.5' && string(1000000.0) == '1e+06' && string(0.00001) == '1e-05' && string(123456.0) == '123456'",
            "string(b'abc') == 'abc' && string(ip('1.2.3.4')) == '1.2.3.4'",
            "int('-5') == -5 && int(5u) == 5 && int(5.9) == 5 && int(-5.9) == -5 && int(5) == 5",
            "uint('5') == 5u && uint(5) == 5u && uint(5.9) == 5u",
            "bool('true') && !bool('false') && bool(true)",
        ]);
        assert_eq!(wrong, []);
        for source in [
            "int(double('NaN')) == 0",
            "uint(double('NaN')) == 0u",
            "int(9223372036854775808.0) > 0",
            "string(b'\\xff') == ''",
            "timestamp('2026-01-01t00:00:00z').getHours() == 0",
            "timestamp('2026-01-01T00:00:60Z').getHours() == 0",
            "timestamp('0000-01-01T00:00:00Z').getHours() == 0",
            "timestamp(253402300800).getHours() == 0",
            "timestamp('2026-01-01T00:00:00Z').getHours('Nowhere/City') == 0",
            "timestamp('2026-01-01T00:00:00Z').getHours('+5h:00') == 0",
            "duration('1h').getHours('UTC') == 1",
            "duration('1h').getFullYear() == 0",
        ] {
            assert!(
                matches!(run(source), Err(Problem::Failed(_))),
                "{source}: {:?}",
                run(source)
            );
        }
    }

    #[test]
    fn texts_are_read_as_in_go() {
        let wrong = untrue(&[
            r#"'\"'.size() == 1 && "\'".size() == 1 && '\''.size() == 1 && "\"".size() == 1"#,
            r#"'a"b'.contains('\"') && "a'b".contains("\'")"#,
            r#"'\\"'.size() == 2 && r'\"'.size() == 2 && r'a\'.size() == 2"#,
            "'''a'b''' == \"a'b\" && \"\"\"a\"\"b\"\"\".size() == 4 && '''a''b'''.size() == 4",
            r#"b'\"'.size() == 1 && b'\n'.size() == 1 && b'''ab''' == b'ab' && br'\n'.size() == 2"#,
            r"'1.2'.matches(r'^\d\.\d$') && '1.2'.matches('^\\d\\.\\d$')",
        ]);
        assert_eq!(wrong, []);
    }

    #[test]
    fn quantities_are_those_of_go() {
        let wrong = untrue(&[
            "quantity('1e39').isGreaterThan(quantity('1')) && quantity('-1e39').isLessThan(quantity('1'))",
            "quantity('9999999999999999999999999999999999999G').compareTo(quantity('9999999999999999999999999999999999998G')) == 1",
            "!isQuantity(' 1 ') && !isQuantity('1 ') && !isQuantity('') && isQuantity('1e39') && isQuantity('-1.5Mi')",
            "quantity('1Ki') == quantity('1024') && quantity('1.5') == quantity('1500m') && quantity('1') != quantity('2')",
            "quantity('50k').add(20) == quantity('50020') && quantity('50k').sub(quantity('20')).sub(20) == quantity('49960')",
            "quantity('1k').isInteger() && quantity('1k').asInteger() == 1000 && !quantity('1m').isInteger()",
            "quantity('-1').sign() == -1 && quantity('0').sign() == 0 && quantity('50.5').asApproximateFloat() == 50.5",
            "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.2.3').compareTo(semver('1.2.3')) == 0",
        ]);
        assert_eq!(wrong, []);
        let sum = "quantity('170141183460469231731687303715884105727')";
        for (source, why) in [
            (format!("{sum}.add({sum}).sign() == 1"), "quantity overflow"),
            (
                "quantity('1e39').asInteger() > 0".to_owned(),
                "cannot convert value to integer",
            ),
            (
                "quantity(' 1 ').sign() == 1".to_owned(),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            ("quantity('1').isLessThan(1)".to_owned(), "no such overload"),
        ] {
            assert_eq!(run(&source), Err(Problem::Failed(why.to_owned())), "{source}");
        }
    }

    #[test]
    fn what_fails_says_why() {
        let endless = "[duration('2562047h')].map(d, d + d).map(d, d + d).map(d, d + d).map(d, d + d).map(d, d + d)\
                       .map(d, d + d).map(d, d + d).map(d, d + d).map(d, d + d).map(d, d + d).map(d, d + d)";
        for (source, why) in [
            (
                "timestamp('9999-12-31T00:00:00Z') + duration('2562047h') > timestamp('2026-01-01T00:00:00Z')",
                "timestamp overflow",
            ),
            (
                &format!("timestamp('2026-01-01T00:00:00Z') + {endless}[0] != null"),
                "duration overflow",
            ),
            (
                "timestamp('9999-12-31T00:00:00Z') - timestamp('0001-01-01T00:00:00Z') > duration('1s')",
                "duration overflow",
            ),
            ("9223372036854775807 + 1 > 0", "integer overflow"),
            ("[9223372036854775807, 1].sum() > 0", "integer overflow"),
            (
                "[1, 'a', 2.0].sort() == []",
                "list elements must have the same type",
            ),
            ("self.map.b == 1", "no such key: b"),
            ("self.nothing.b == 1", "no such key: nothing"),
            ("!self.text.locked", "no such overload"),
            ("!null.locked", "no such overload"),
            (
                "duration('10000000000h') > duration('1s')",
                "type conversion error from 'string' to 'google.protobuf.Duration'",
            ),
            ("bool('yes')", "type conversion error from 'string' to 'bool'"),
        ] {
            assert_eq!(run(source), Err(Problem::Failed(why.to_owned())), "{source}");
        }
    }

    #[test]
    fn an_error_of_one_does_not_decide_for_all() {
        for (source, said) in [
            ("[{}, {'a': 1}].exists(x, x.a == 1)", true),
            ("[{'a': 1}, {}].exists(x, x.a == 1)", true),
            ("[{}, {'a': 2}].all(x, x.a == 1)", false),
            ("[{'a': 2}, {}].all(x, x.a == 1)", false),
            (
                "[[{}, {'a': 1}], []].all(l, l.exists(x, x.a == 1) || l == [])",
                true,
            ),
        ] {
            assert_eq!(run(source), Ok(CelValue::Bool(said)), "{source}");
        }
        for source in [
            "[{'a': 2}, {}].exists(x, x.a == 1)",
            "[{}, {'a': 1}].all(x, x.a == 1)",
            "[{}, {}].all(x, x.a == 1)",
        ] {
            let why = "no such key: a".to_owned();
            assert_eq!(run(source), Err(Problem::Failed(why)), "{source}");
        }
    }

    #[test]
    fn what_may_be_deep_can_be_evaluated() {
        let sum = format!("1{} == 140", " + 1".repeat(139));
        assert_eq!(run(&sum), Ok(CelValue::Bool(true)));
        let nested = format!("{}true{}", "[1].all(x, ".repeat(20), ")".repeat(20));
        assert_eq!(run(&nested), Ok(CelValue::Bool(true)));
        let many = vec!["self.small[0] == 1"; 500].join(" && ");
        assert_eq!(run(&many), Ok(CelValue::Bool(true)));
    }

    #[test]
    fn nothing_takes_for_ever() {
        let started = Instant::now();
        for source in [
            "self.list.all(x, self.list.all(y, self.list.all(z, x + y + z >= 0)))",
            "self.list.all(x, self.list == self.list)",
            "self.list.map(x, self.list.map(y, self.list)).size() > 0",
            "self.text.replace('', self.text).size() > 0",
            "self.text.split('').join(self.text).size() > 0",
            "self.text.replace('x', 'yy').replace('', self.text).size() > 0",
            "self.list.all(x, (x >= 0 ? self.list : []) == self.list)",
            "self.list.all(x, [self.list][0].size() > 0)",
            "self.text.replace('x', 'xx').replace('x', 'xx').replace('x', 'xx').replace('x', 'xx').replace('x', 'xx')\
             .replace('x', 'xx').replace('x', 'xx').replace('x', 'xx').replace('x', 'xx').size() > 0",
            "[self.text].map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a)\
             .map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a)\
             .map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).map(a, a + a).size() == 1",
            "lists.range(1000000000).size() > 0",
            "lists.range(1000000).size() > 0",
            "self.list.all(x, self.text.indexOf('y', 1) < 0)",
            "self.list.all(x, self.text.lastIndexOf(self.text + 'y', x) < 0)",
            "self.list.all(x, 'a'.matches('(a{1,' + string(x + 1) + '}){1000}') || true)",
            "self.list.all(x, self.list.all(y, self.list.all(z, self.text.size() > 0)))",
            "self.list.all(x, self.text.matches('(x+x+)+y') || true)",
            "self.list.all(x, self.list.all(y, self.text.startsWith('xx')))",
            "[self.list, self.list].map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a])\
             .map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).size() == 1",
        ] {
            assert_eq!(run(source), Err(Problem::TooMuch), "{source}");
        }
        // Hours without bounds; no more than to tell those apart is meant.
        assert!(started.elapsed() < Duration::from_secs(600));
    }

    #[test]
    fn what_lies_in_each_other_is_evaluated_once() {
        let links = |link: &str, times: usize| link.repeat(times);
        for source in [
            format!("self.text{}.size() == 100000", links(".replace('a', 'b')", 40)),
            format!("self.small{}.size() == 3", links(".sort()", 40)),
            format!("'a-b'{} == 'a-b'", links(".split('-').join('-')", 20)),
            format!("{}1{} >= 0", links("(true ? 1 + ", 40), links(" : 0)", 40)),
            format!(
                "{}'a'{}.size() == 1",
                links("[", 40),
                links(".replace('a', 'b')][0]", 40)
            ),
            format!(
                "{}self.small{}.size() == 3",
                links("(true ? ", 20),
                links(" : []).map(x, x)", 20)
            ),
            format!("{}1{} == 1", links("min(", 20), links(", 1)", 20)),
        ] {
            assert_eq!(run(&source), Ok(CelValue::Bool(true)), "{source}");
        }
    }

    #[test]
    fn a_budget_is_spent_by_all_who_share_it() {
        let program = Program::compile("self.all(x, self.all(y, x + y >= 0))", &["self"]).unwrap();
        let numbers: Vec<u32> = (0..500).collect();
        let outcomes: Vec<_> = with_functions(|context| {
            let mut scope = context.new_inner_scope();
            scope.add_variable_from_value("self", of_json(&json!(numbers)));
            let mut budget = Budget::new();
            (0..20).map(|_| program.run(&scope, &mut budget)).collect()
        });
        assert_eq!(outcomes.first(), Some(&Ok(CelValue::Bool(true))));
        assert_eq!(outcomes.last(), Some(&Err(Problem::Spent)));
    }
}
