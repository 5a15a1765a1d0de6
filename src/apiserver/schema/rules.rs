//! Validation rules in CEL (`x-kubernetes-validations`). It must not check anything that the schema itself tells.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::KubeCelExt;
use kube_cel::cel::objects::{Key, Map as CelMap, OptionalValue};
use kube_cel::cel::{Context, Program, Value as CelValue};
use serde_json::Value;

use super::correlate::{old_field, old_item};
use super::error::{FieldError, FieldErrorKind};
use super::node::{Kind, Node};

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
            Program::compile(source)
                .map_err(|error| fault(field, source, format!("compilation failed: {error}")))
        };
        let program = compile("rule", &source)?;
        let message_expression = text("messageExpression");
        let message_program = match &message_expression {
            Some(expression) => Some(compile("messageExpression", expression)?),
            None => None,
        };
        let uses_old = program.references().has_variable("oldSelf")
            || message_program
                .as_ref()
                .is_some_and(|p| p.references().has_variable("oldSelf"));
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

    /// What the rule is called in messages.
    fn words(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.source)
    }
}

/// Evaluates all rules of an object.
pub(super) fn evaluate(
    root: &Node,
    object: &Value,
    old: Option<&Value>,
    so_far: &[FieldError],
) -> Vec<FieldError> {
    if !root.has_rules {
        return Vec::new();
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
        return vec![FieldError::invalid("", Value::Null, detail)];
    }
    let mut errors = Vec::new();
    thread_local! {
        static CONTEXT: Context<'static> = Context::default().with_all();
    }
    CONTEXT.with(|context| {
        visit(context, root, object, Past::of(old), "", &mut errors);
    });
    errors
}

/// What a value was before the update.
#[derive(Clone, Copy)]
struct Past<'a> {
    /// The value itself.
    value: Option<&'a Value>,
    /// Whether the nearest value around it that can be told to be the same one is unchanged.
    unchanged_around: bool,
}

impl<'a> Past<'a> {
    fn of(old: Option<&'a Value>) -> Self {
        Self {
            value: old,
            unchanged_around: false,
        }
    }

    fn forgives(self, now: &Value) -> bool {
        self.value.map_or(self.unchanged_around, |old| old == now)
    }

    fn below(self, now: &Value, value: Option<&'a Value>) -> Self {
        Self {
            unchanged_around: self.forgives(now),
            value,
        }
    }
}

fn visit(
    context: &Context<'_>,
    node: &Node,
    value: &Value,
    past: Past<'_>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if !node.has_rules || value.is_null() {
        return;
    }
    run(context, node, node, value, past, path, errors);
    for branch in &node.all_of {
        run(context, branch, node, value, past, path, errors);
    }
    match value {
        Value::Array(items) => {
            let Some(child) = &node.items else { return };
            for (i, item) in items.iter().enumerate() {
                let past = past.below(value, old_item(node, item, past.value));
                visit(context, child, item, past, &format!("{path}[{i}]"), errors);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let (child, path) = match node.properties.get(key) {
                    Some(child) if path.is_empty() => (child, key.clone()),
                    Some(child) => (child, format!("{path}.{key}")),
                    None => match node.additional_schema() {
                        Some(child) => (child, format!("{path}[{key}]")),
                        None => continue,
                    },
                };
                visit(
                    context,
                    child,
                    item,
                    past.below(value, old_field(node, key, past.value)),
                    &path,
                    errors,
                );
            }
        }
        _ => {}
    }
}

/// Evaluates the rules of `rules`, which is `node` or one of its `allOf` branches.
fn run(
    context: &Context<'_>,
    rules: &Node,
    node: &Node,
    value: &Value,
    past: Past<'_>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if rules.rules.is_empty() {
        return;
    }
    let type_name = node.kind.map_or("", Kind::name);
    let this = to_cel(value, Some(node));
    let old = past.value.filter(|v| !v.is_null()).map(|v| to_cel(v, Some(node)));
    for rule in &rules.rules {
        if rule.uses_old && old.is_none() && !rule.optional_old {
            continue;
        }
        let mut scope = context.new_inner_scope();
        scope.add_variable_from_value("self", this.clone());
        if rule.optional_old {
            let old = old.clone().map_or_else(OptionalValue::none, OptionalValue::of);
            scope.add_variable_from_value("oldSelf", CelValue::Opaque(Arc::new(old)));
        } else if let Some(old) = &old {
            scope.add_variable_from_value("oldSelf", old.clone());
        }
        match rule.program.execute(&scope) {
            Ok(CelValue::Bool(true)) => {}
            Ok(CelValue::Bool(false)) => {
                if rule.uses_old || !past.forgives(value) {
                    errors.push(failure(rule, &scope, node, value, path));
                }
            }
            Ok(_) => {
                let detail = format!("cel expression must evaluate to a bool: {}", rule.words());
                errors.push(FieldError::invalid(path, type_name, detail));
            }
            Err(error) => {
                let detail = format!("{error} evaluating rule: {}", rule.words());
                errors.push(FieldError::invalid(path, type_name, detail));
            }
        }
    }
}

fn failure(rule: &Rule, scope: &Context<'_>, node: &Node, value: &Value, path: &str) -> FieldError {
    let said = rule
        .message_program
        .as_ref()
        .and_then(|program| match program.execute(scope) {
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

/// A value as rules see it, with the types of its schema.
fn to_cel(value: &Value, node: Option<&Node>) -> CelValue {
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
            CelValue::List(Arc::new(items.iter().map(|item| to_cel(item, child)).collect()))
        }
        Value::Object(map) => {
            // The keys of maps are data, those of objects are names, which CEL must be able to spell.
            let is_map = node.is_none_or(|n| n.additional.is_some() || n.properties.is_empty());
            let fields: HashMap<Key, CelValue> = map
                .iter()
                .map(|(key, value)| {
                    let child = node.and_then(|n| n.field(key)).map(AsRef::as_ref);
                    let key = if is_map { key.clone() } else { escape(key) };
                    (Key::String(Arc::new(key)), to_cel(value, child))
                })
                .collect();
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
    let call = |program: &Result<Program, _>| match program {
        Ok(program) => {
            let mut context = Context::default();
            context.add_variable_from_value("text", plain());
            program.execute(&context).ok()
        }
        Err(()) => None,
    };
    thread_local! {
        static TIMESTAMP: Result<Program, ()> = Program::compile("timestamp(text)").map_err(|_| ());
        static DURATION: Result<Program, ()> = Program::compile("duration(text)").map_err(|_| ());
    }
    let typed = match format {
        Some("date-time" | "datetime") => TIMESTAMP.with(call),
        Some("date") => {
            let moment = CelValue::String(Arc::new(format!("{text}T00:00:00Z")));
            TIMESTAMP.with(|program| {
                let mut context = Context::default();
                context.add_variable_from_value("text", moment.clone());
                program.as_ref().ok().and_then(|p| p.execute(&context).ok())
            })
        }
        Some("duration") => DURATION.with(call),
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
fn escape(name: &str) -> String {
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
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
