//! Validation rules in CEL (`x-kubernetes-validations`). It must not check anything that the schema itself tells.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::objects::{Key, Map as CelMap, OptionalValue};
use kube_cel::cel::{Context, Value as CelValue, functions};
use serde_json::Value;

use super::super::cel::{self, Budget, Problem, Program, duration};
use super::correlate::{OldItems, old_field};
use super::error::{FieldError, FieldErrorKind};
use super::node::{Kind, Node};
use super::reads::Reads;

/// A rule that could not be compiled.
pub(super) struct RuleFault {
    pub(super) field: &'static str,
    pub(super) source_text: String,
    pub(super) detail: String,
}

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    source: String,
    program: Program,
    message: Option<String>,
    message_program: Option<Program>,
    reason: Option<String>,
    field_path: Option<String>,
    uses_old: bool,
    optional_old: bool,
}

impl Rule {
    pub(super) fn compile(rule: &Value) -> Result<Self, RuleFault> {
        let text = |key: &str| {
            rule.get(key)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        let fault = |field, source: &str, detail: String| RuleFault {
            field,
            source_text: source.to_owned(),
            detail,
        };
        let Some(source) = text("rule") else {
            return Err(fault("rule", "", "rule is not specified".to_owned()));
        };
        let compile = |field, source: &str| {
            Program::compile(source, &["self", "oldSelf"])
                .map_err(|why| fault(field, source, format!("compilation failed: {why}")))
        };
        let program = compile("rule", &source)?;
        let message_expression = text("messageExpression");
        let message_program = match &message_expression {
            Some(expression) => Some(compile("messageExpression", expression)?),
            None => None,
        };
        let uses_old =
            program.names("oldSelf") || message_program.as_ref().is_some_and(|p| p.names("oldSelf"));
        Ok(Self {
            uses_old,
            program,
            message: text("message").map(|m| m.trim().to_owned()),
            message_program,
            reason: text("reason"),
            field_path: text("fieldPath"),
            optional_old: rule
                .get("optionalOldSelf")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            source: source.trim().to_owned(),
        })
    }

    /// Its own expression and that of its message.
    fn programs(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.program).chain(&self.message_program)
    }

    /// Whether there is what it speaks of.
    fn is_due(&self, has_old: bool) -> bool {
        !self.uses_old || has_old || self.optional_old
    }

    /// What the rule is called in messages.
    fn words(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.source)
    }
}

/// The rules of a value. They are all shown the same, so that it is made ready only once.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    all: Vec<Rule>,
    /// What they and their messages read of the value: nothing else is made ready for them.
    reads: Reads,
    /// What they read of the value as it was.
    reads_old: Reads,
}

impl Rules {
    pub(super) fn of(all: Vec<Rule>) -> Self {
        let expressions = || all.iter().flat_map(Rule::programs).map(Program::expression);
        Self {
            reads: Reads::of("self", expressions()),
            reads_old: Reads::of("oldSelf", expressions()),
            all,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Says whether one of them, or its message, needs more room than others.
    pub(super) fn are_deep(&self) -> bool {
        self.all.iter().flat_map(Rule::programs).any(Program::needs_room)
    }
}

/// What rules say of an object.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) errors: Vec<FieldError>,
    /// What an update is forgiven because it was as wrong before: it is only told.
    pub(crate) forgiven: Vec<FieldError>,
}

/// Evaluates all rules of an object.
pub(super) fn evaluate(root: &Node, object: &Value, old: Option<&Value>, so_far: &[FieldError]) -> Verdict {
    if !root.has_rules {
        return Verdict::default();
    }
    let blocking = so_far.iter().any(|error| {
        matches!(
            error.kind,
            FieldErrorKind::NotSupported(_)
                | FieldErrorKind::Required
                | FieldErrorKind::TooLong
                | FieldErrorKind::TooMany
                | FieldErrorKind::TypeInvalid
        )
    });
    if blocking {
        let detail = "some validation rules were not checked because the object was invalid; \
                      correct the existing errors to complete validation";
        return Verdict {
            errors: vec![FieldError::invalid("", Value::Null, detail)],
            forgiven: Vec::new(),
        };
    }
    cel::with_room_for(root.has_deep_rules, || {
        cel::with_functions(|context| {
            let mut run = Run {
                context,
                budget: Budget::new(),
                errors: Vec::new(),
                forgiven: Vec::new(),
                path: Vec::new(),
                over: false,
            };
            let pair = old.map(|old| Pair::new(object, old));
            run.visit(root, root, object, Past::Nothing.below(pair.as_ref()));
            Verdict {
                errors: run.errors,
                forgiven: run.forgiven,
            }
        })
    })
}

/// The evaluation of all rules of one object. They share what it may cost.
struct Run<'a, 'v> {
    context: &'a Context<'a>,
    budget: Budget,
    errors: Vec<FieldError>,
    forgiven: Vec<FieldError>,
    /// The way to the value whose rules are evaluated.
    path: Vec<Step<'v>>,
    /// Whether no further rules are to be run.
    over: bool,
}

/// A value, and what it was before the update.
struct Pair<'a> {
    now: &'a Value,
    old: &'a Value,
    /// Whether they are the same. Comparing is left for when a rule has failed, and then done once for all that fail.
    is_same: OnceCell<bool>,
}

impl<'a> Pair<'a> {
    fn new(now: &'a Value, old: &'a Value) -> Self {
        let is_same = OnceCell::new();
        Self { now, old, is_same }
    }
}

/// What is known of a value as it was before the update.
#[derive(Clone, Copy)]
enum Past<'a> {
    /// What it was itself.
    Known(&'a Pair<'a>),
    /// The nearest value around it of which that is known.
    Around(&'a Pair<'a>),
    Nothing,
}

impl<'a> Past<'a> {
    fn value(self) -> Option<&'a Value> {
        match self {
            Self::Known(pair) => Some(pair.old),
            Self::Around(_) | Self::Nothing => None,
        }
    }

    /// Whether the value fails a rule as it did before (apiextensions-apiserver: shouldRatchetError). That a rule could not
    /// be evaluated is never forgiven, so none is left out for this.
    fn forgives(self) -> bool {
        match self {
            Self::Known(pair) | Self::Around(pair) => *pair.is_same.get_or_init(|| pair.now == pair.old),
            Self::Nothing => false,
        }
    }

    /// The past of a part of the value: `pair` if it is known what that part was.
    fn below(self, pair: Option<&'a Pair<'a>>) -> Self {
        match (pair, self) {
            (Some(pair), _) => Self::Known(pair),
            (None, Self::Known(pair)) => Self::Around(pair),
            (None, past) => past,
        }
    }
}

/// A step from a value into one of its parts.
#[derive(Clone, Copy)]
enum Step<'v> {
    /// A field that the schema names.
    Field(&'v str),
    Key(&'v str),
    Item(usize),
}

impl<'v> Run<'_, 'v> {
    /// Evaluates the rules of `rules`, which is `node` or what one of its `allOf` branches says, and those below it.
    fn visit(&mut self, rules: &Node, node: &Node, value: &'v Value, past: Past<'_>) {
        if !rules.has_rules || value.is_null() || self.over {
            return;
        }
        self.run(&rules.rules, node, value, past);
        for branch in &rules.all_of {
            self.visit(branch, node, value, past);
        }
        match value {
            Value::Array(items) => {
                let Some(child) = rules.items.as_ref().filter(|c| c.has_rules) else {
                    return;
                };
                let typed = node.items.as_ref().unwrap_or(child);
                let before = OldItems::of(node, past.value());
                for (i, item) in items.iter().enumerate() {
                    let pair = before.of_item(item).map(|old| Pair::new(item, old));
                    self.step(Step::Item(i), child, typed, item, past.below(pair.as_ref()));
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    let Some(child) = rules.field(key).filter(|c| c.has_rules) else {
                        continue;
                    };
                    let step = if node.properties.contains_key(key) {
                        Step::Field(key)
                    } else {
                        Step::Key(key)
                    };
                    let pair = old_field(node, key, past.value()).map(|old| Pair::new(item, old));
                    let typed = node.field(key).unwrap_or(child);
                    self.step(step, child, typed, item, past.below(pair.as_ref()));
                }
            }
            _ => {}
        }
    }

    fn step(&mut self, step: Step<'v>, rules: &Node, node: &Node, value: &'v Value, past: Past<'_>) {
        self.path.push(step);
        self.visit(rules, node, value, past);
        self.path.pop();
    }

    /// Writes down where the value is that rules are evaluated for.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.extend([".", name]),
                Step::Key(key) => path.extend(["[", key, "]"]),
                Step::Item(index) => path.extend(["[", &index.to_string(), "]"]),
            }
        }
        path
    }

    /// Evaluates the rules of a value, but not of what is in it.
    fn run(&mut self, rules: &Rules, node: &Node, value: &Value, past: Past<'_>) {
        let old = past.value().filter(|v| !v.is_null());
        let due: Vec<&Rule> = rules.all.iter().filter(|r| r.is_due(old.is_some())).collect();
        if due.is_empty() || self.over {
            return;
        }
        let mut scope = self.context.new_inner_scope();
        let this = to_cel(value, Some(node), &rules.reads);
        self.budget.show(&mut scope, "self", this);
        // To some rules what was there before is a value, to others one that may be missing.
        let (mut plain, mut optional) = (scope.new_inner_scope(), scope.new_inner_scope());
        let asks = |is_optional| due.iter().any(|r| r.uses_old && r.optional_old == is_optional);
        let was = |old| to_cel(old, Some(node), &rules.reads_old);
        if let Some(old) = old.filter(|_| asks(false)) {
            self.budget.show(&mut plain, "oldSelf", was(old));
        }
        if asks(true) {
            let old = old.map_or_else(OptionalValue::none, |old| OptionalValue::of(was(old)));
            let old = CelValue::Opaque(Arc::new(old));
            self.budget.show(&mut optional, "oldSelf", old);
        }
        for rule in due {
            let scope = if rule.optional_old { &optional } else { &plain };
            self.judge(rule, scope, node, value, past);
            if self.over {
                return;
            }
        }
    }

    fn judge(&mut self, rule: &Rule, scope: &Context<'_>, node: &Node, value: &Value, past: Past<'_>) {
        match rule.program.run(scope, &mut self.budget) {
            Ok(CelValue::Bool(true)) => {}
            Ok(CelValue::Bool(false)) => {
                let path = self.path();
                let failed = failure(rule, scope, &mut self.budget, node, value, &path);
                if rule.uses_old || !past.forgives() {
                    self.errors.push(failed);
                } else {
                    self.forgiven.push(failed);
                }
            }
            Ok(_) => {
                let detail = format!("cel expression must evaluate to a bool: {}", rule.words());
                self.fault(node, detail);
            }
            Err(problem) => {
                self.over = matches!(problem, Problem::TooMuch | Problem::Spent);
                self.fault(node, told(&problem, rule.words()));
            }
        }
    }

    /// Tells that a rule has no value, or none that means something.
    fn fault(&mut self, node: &Node, detail: String) {
        let type_name = node.kind.map_or("", Kind::name);
        let error = FieldError::invalid(self.path(), type_name, detail);
        self.errors.push(error);
    }
}

/// Says why a rule has no value.
fn told(problem: &Problem, words: &str) -> String {
    match problem {
        Problem::Spent => problem.to_string(),
        Problem::TooMuch => format!(
            "'{problem}': no further validation rules will be run due to call cost exceeds limit for rule: {words}"
        ),
        Problem::Failed(why) if why.starts_with("no such overload") => format!(
            "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {words}"
        ),
        Problem::Failed(why) => format!("{why} evaluating rule: {words}"),
    }
}

fn failure(
    rule: &Rule,
    scope: &Context<'_>,
    budget: &mut Budget,
    node: &Node,
    value: &Value,
    path: &str,
) -> FieldError {
    let said = rule
        .message_program
        .as_ref()
        .and_then(|program| match program.run(scope, budget) {
            Ok(CelValue::String(text)) => {
                let text = text.trim();
                (!text.is_empty() && !text.contains('\n')).then(|| text.to_owned())
            }
            _ => None,
        });
    let detail = said
        .or_else(|| rule.message.clone())
        .unwrap_or_else(|| format!("failed rule: {}", rule.source));
    let field = match &rule.field_path {
        Some(tail) => {
            let tail = tail.replace("['", "[").replace("']", "]");
            match (path, tail.strip_prefix('.').unwrap_or(&tail)) {
                ("", tail) => tail.to_owned(),
                (path, tail) if tail.starts_with('[') => format!("{path}{tail}"),
                (path, tail) => format!("{path}.{tail}"),
            }
        }
        None => path.to_owned(),
    };
    // Objects and lists are too long for a message.
    let shown = (!matches!(node.kind, Some(Kind::Object | Kind::Array))).then(|| value.clone());
    let kind = match rule.reason.as_deref() {
        Some("FieldValueRequired") => FieldErrorKind::Required,
        Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
        Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
        _ => FieldErrorKind::Invalid,
    };
    FieldError::new(field, kind, shown, detail)
}

/// A value as rules see it, with the types of its schema. What is not read may be missing.
fn to_cel(value: &Value, node: Option<&Node>, reads: &Reads) -> CelValue {
    if matches!(reads, Reads::Fields(fields) if fields.is_empty()) {
        return CelValue::Null;
    }
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(b) => CelValue::Bool(*b),
        Value::Number(n) => match (n.as_i64(), node.and_then(|n| n.kind)) {
            (Some(n), kind) if kind != Some(Kind::Number) => CelValue::Int(n),
            _ => CelValue::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => text_to_cel(text, node),
        Value::Array(items) => {
            let child = node.and_then(|n| n.items.as_deref());
            let items = items.iter().map(|item| to_cel(item, child, &Reads::Whole));
            CelValue::List(Arc::new(items.collect()))
        }
        Value::Object(map) => {
            // The keys of maps are data, those of objects are names, which CEL must be able to spell.
            let is_map = node.is_none_or(|n| n.additional.is_some() || n.properties.is_empty());
            let fields = map.iter().filter_map(|(key, value)| {
                let name = if is_map {
                    Cow::Borrowed(&**key)
                } else {
                    escape(key)
                };
                let reads = match reads {
                    Reads::Whole => reads,
                    Reads::Fields(fields) => fields.get(&*name)?,
                };
                let child = node.and_then(|n| n.field(key)).map(AsRef::as_ref);
                let value = to_cel(value, child, reads);
                Some((Key::String(Arc::new(name.into_owned())), value))
            });
            let fields: HashMap<Key, CelValue> = fields.collect();
            CelValue::Map(CelMap {
                map: Arc::new(fields),
            })
        }
    }
}

fn text_to_cel(text: &str, node: Option<&Node>) -> CelValue {
    let plain = || CelValue::String(Arc::new(text.to_owned()));
    let format = node
        .filter(|n| !n.int_or_string)
        .and_then(|n| n.format.as_deref());
    let time = |text: String| functions::timestamp(Arc::new(text)).ok();
    let typed = match format {
        Some("date-time" | "datetime") => time(text.to_owned()),
        Some("date") => time(format!("{text}T00:00:00Z")),
        Some("duration") => duration::parse_words(text).and_then(duration::value),
        Some("byte") => {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
            bytes.map(|bytes| CelValue::Bytes(Arc::new(bytes)))
        }
        _ => None,
    };
    typed.unwrap_or_else(plain)
}

/// Spells a property name so that CEL can read it.
fn escape(name: &str) -> Cow<'_, str> {
    const RESERVED: [&str; 21] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ];
    if RESERVED.contains(&name) {
        return Cow::Owned(format!("__{name}__"));
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return Cow::Borrowed(name);
    }
    let name = name
        .replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__");
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::node::Compiler;
    use super::*;

    fn schema() -> Value {
        let text = json!({"type": "string"});
        let part = json!({"type": "object", "properties": {"name": text, "for": text, "since": {"type": "string", "format": "date-time"},
            "count": {"type": "integer"}, "a-b": text, "labels": {"type": "object", "additionalProperties": text}}});
        json!({"type": "object", "properties": {"spec": part, "status": part, "parts": {"type": "array", "items": part}}})
    }

    /// What a rule says of an object if it is shown what it reads, and if it is shown everything.
    fn both(rule: &Value, object: &Value, old: Option<&Value>) -> [Vec<String>; 2] {
        let mut schema = schema();
        schema["x-kubernetes-validations"] = json!([rule]);
        [false, true].map(|everything| {
            let mut compiler = Compiler::default();
            let mut node = compiler.node(&schema, "", 0);
            assert!(compiler.errors.is_empty(), "{:?}", compiler.errors);
            if everything {
                let rules = &mut Arc::get_mut(&mut node).unwrap().rules;
                (rules.reads, rules.reads_old) = (Reads::Whole, Reads::Whole);
            }
            let errors = evaluate(&node, object, old, &[]).errors;
            errors.iter().map(ToString::to_string).collect()
        })
    }

    #[test]
    fn a_rule_that_is_shown_no_more_than_it_reads_says_the_same() {
        let full = json!({"kind": "Thing", "spec": {"name": "a", "for": "b", "since": "2026-01-02T03:04:05Z", "count": 3, "a-b": "c",
            "labels": {"a-b": "x", "in": "y", "c": "z"}}, "status": {"name": "a", "count": 4}, "parts": [{"name": "p"}, {"name": "q"}]});
        let objects = [
            json!({}),
            json!({"spec": {}}),
            json!({"spec": null, "status": {"name": null}}),
            json!({"spec": {"name": "a", "count": 1}, "status": {"count": 9, "labels": {}}, "parts": []}),
            full,
        ];
        for rule in [
            "self.spec.name == 'a'",
            "has(self.spec)",
            "has(self.spec) && has(self.spec.name)",
            "!has(self.spec) || !has(self.spec.labels) || size(self.spec.labels) > 1",
            "self.spec.a__dash__b == 'c' && self.spec.__for__ == 'b'",
            "self.spec.labels['a-b'] == 'x' && self['spec']['labels']['in'] == 'y'",
            "self.spec.labels.all(k, k in self.status.labels || self.spec.labels[k] != '')",
            "has(self.status.labels) ? self.status.labels == {} : self.spec == self.status",
            "self.spec.since > timestamp('2025-01-01T00:00:00Z')",
            "self.parts.exists(p, p.name == self.spec.name) || self.parts[0].name == 'p'",
            "self.spec.name.size() + self.status.count > 4",
            "oldSelf.hasValue() && oldSelf.value().spec.name == self.spec.name",
            "oldSelf.orValue(self).spec == self.spec",
            "has(self.kind) && self.kind == 'Thing'",
            "self.exists(k, k == 'spec')",
            "self.spec.name.first",
            "oldSelf.spec.name == self.spec.name",
            "!has(oldSelf.spec) || oldSelf.spec == self.spec",
            "self == oldSelf",
        ] {
            for optional in [false, true] {
                let rule = json!({"rule": rule, "optionalOldSelf": optional,
                                  "messageExpression": "'count is ' + string(self.status.count)"});
                for object in &objects {
                    for old in std::iter::once(None).chain(objects.iter().map(Some)) {
                        let [narrow, whole] = both(&rule, object, old);
                        assert_eq!(narrow, whole, "{rule} of {object}, was {old:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_fails_as_before_is_forgiven_but_not_what_cannot_be_evaluated() {
        let object = json!({"spec": {"count": 1}});
        let failed = both(&json!({"rule": "self.spec.count > 1"}), &object, Some(&object));
        assert_eq!(failed, [Vec::<String>::new(), Vec::new()]);
        let [told, _] = both(&json!({"rule": "self.spec.name == 'a'"}), &object, Some(&object));
        assert_eq!(
            told,
            ["<nil>: Invalid value: \"object\": no such key: name evaluating rule: self.spec.name == 'a'"]
        );
    }

    #[test]
    fn rules_below_a_branch_of_all_are_evaluated_with_the_types_around() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"since": {"type": "string", "format": "date-time"}, "parts": {"type": "array", "items": {"type": "string"}}},
            "allOf": [{"properties": {
                "since": {"x-kubernetes-validations": [{"rule": "self > timestamp('2026-01-01T00:00:00Z')"}]},
                "parts": {"items": {"allOf": [{"x-kubernetes-validations": [{"rule": "self != 'bad'"}]}]}}}}]}}});
        let mut compiler = Compiler::default();
        let node = compiler.node(&schema, "", 0);
        let object = json!({"spec": {"since": "2025-01-01T00:00:00Z", "parts": ["good", "bad"]}});
        let told = |old: Option<&Value>| -> Vec<String> {
            let errors = evaluate(&node, &object, old, &[]).errors;
            errors.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told(None),
            [
                "spec.parts[1]: Invalid value: \"bad\": failed rule: self != 'bad'",
                "spec.since: Invalid value: \"2025-01-01T00:00:00Z\": failed rule: self > timestamp('2026-01-01T00:00:00Z')"
            ]
        );
        assert_eq!(told(Some(&object)), Vec::<String>::new(), "they failed before");
        assert_eq!(evaluate(&node, &object, Some(&object), &[]).forgiven.len(), 2);
    }

    #[test]
    fn rules_with_and_without_a_past_stand_side_by_side() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": [
            {"rule": "self.n > 1"}, {"rule": "self.n > oldSelf.n"},
            {"rule": "oldSelf.hasValue() && self.n > oldSelf.value().n + 1", "optionalOldSelf": true}]});
        let mut compiler = Compiler::default();
        let node = compiler.node(&schema, "", 0);
        let failed = |now: i64, old: Option<i64>| -> Vec<String> {
            let old = old.map(|n| json!({"n": n}));
            let errors = evaluate(&node, &json!({"n": now}), old.as_ref(), &[]).errors;
            errors
                .iter()
                .map(|e| e.to_string().rsplit("n ").next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(failed(1, None), ["> 1", "+ 1"]);
        assert_eq!(failed(2, Some(2)), ["> oldSelf.n", "+ 1"]);
        assert_eq!(failed(3, Some(2)), ["+ 1"]);
        assert_eq!(failed(4, Some(2)), Vec::<String>::new());
    }

    #[test]
    fn a_rule_that_costs_too_much_ends_and_no_other_is_run() {
        let parts: Vec<Value> = (0..300).map(|n| json!({"name": format!("p{n}")})).collect();
        let object = json!({"parts": parts, "spec": {"count": 1}});
        let mut schema = schema();
        let rule = "self.parts.all(a, self.parts.all(b, self.parts.all(c, a.name + b.name + c.name != '')))";
        schema["x-kubernetes-validations"] = json!([{"rule": rule}, {"rule": "self.spec.count > 1"}]);
        let mut compiler = Compiler::default();
        let node = compiler.node(&schema, "", 0);
        let told: Vec<String> = evaluate(&node, &object, None, &[])
            .errors
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [format!(
                "<nil>: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
            )]
        );
    }

    #[test]
    fn names_that_no_rule_knows_are_told_when_it_is_compiled() {
        let fault = Rule::compile(&json!({"rule": "self.spec.name == name"}))
            .err()
            .unwrap();
        assert_eq!(
            fault.detail,
            "compilation failed: ERROR: <input>:1:19: undeclared reference to 'name' (in container '')\n | self.spec.name == name\n | ..................^"
        );
    }
}
