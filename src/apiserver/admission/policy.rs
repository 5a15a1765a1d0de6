//! Policies and bindings as they are configured, their expressions compiled. It must not look at requests.

use serde_json::Value;

use super::super::cel::{OF_A_WRITE, Program};
use super::super::object::meta;
use super::super::schema::Reads;
use super::conditions::Conditions;
use super::matching::Matching;
use super::variables::Needs;

/// A `ValidatingAdmissionPolicy`.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) matching: Matching,
    pub(crate) conditions: Conditions,
    pub(crate) may_fail: bool,
    /// Version and kind of the objects that say more.
    pub(crate) params: Option<(String, String)>,
    pub(crate) variables: Vec<(String, Expression)>,
    pub(crate) validations: Vec<Validation>,
    /// What all expressions together read.
    pub(crate) reads: Needs,
}

/// An expression, or why there is none.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) source: String,
    pub(crate) program: Result<Program, String>,
    /// The variables of the policy that it reads.
    pub(crate) variables: Reads,
}

/// What must be true, and what is said if it is not.
#[derive(Debug)]
pub(crate) struct Validation {
    pub(crate) expression: Expression,
    pub(crate) message: String,
    pub(crate) message_expression: Option<Expression>,
    pub(crate) reason: String,
}

/// A `ValidatingAdmissionPolicyBinding`.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) matching: Matching,
    pub(crate) actions: Vec<String>,
    pub(crate) param_ref: Value,
}

impl Expression {
    fn of(source: &str) -> Self {
        let program = Program::compile(source, &OF_A_WRITE);
        Self {
            source: source.trim().to_owned(),
            variables: Reads::of("variables", program.iter().map(Program::expression)),
            program,
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

impl Policy {
    pub(crate) fn of(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
        let may_fail = text(spec, "failurePolicy") == "Ignore";
        let kind = spec.get("paramKind").filter(|k| k.is_object());
        let mut made = Self {
            name: meta::name(policy).to_owned(),
            matching: Matching::of_resources(&spec["matchConstraints"], false),
            conditions: Conditions::of(&spec["matchConditions"], may_fail),
            may_fail,
            params: kind.map(|k| (text(k, "apiVersion").to_owned(), text(k, "kind").to_owned())),
            variables: list("variables")
                .iter()
                .map(|v| (text(v, "name").to_owned(), Expression::of(text(v, "expression"))))
                .collect(),
            validations: list("validations").iter().map(Validation::of).collect(),
            reads: Needs::default(),
        };
        made.reads = Needs::of(made.conditions.programs().chain(made.programs()));
        made
    }

    /// Returns all expressions but the conditions.
    fn programs(&self) -> impl Iterator<Item = &Program> {
        let variables = self.variables.iter().map(|(_, expression)| expression);
        let validations = self
            .validations
            .iter()
            .flat_map(|v| std::iter::once(&v.expression).chain(&v.message_expression));
        variables
            .chain(validations)
            .filter_map(|expression| expression.program.as_ref().ok())
    }
}

impl Validation {
    fn of(validation: &Value) -> Self {
        let expression = text(validation, "messageExpression");
        let reason = text(validation, "reason");
        Self {
            expression: Expression::of(text(validation, "expression")),
            message: text(validation, "message").trim().to_owned(),
            message_expression: (!expression.is_empty()).then(|| Expression::of(expression)),
            reason: if reason.is_empty() { "Invalid" } else { reason }.to_owned(),
        }
    }
}

impl Binding {
    pub(crate) fn of(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: meta::name(binding).to_owned(),
            matching: Matching::of_resources(&spec["matchResources"], true),
            actions: actions.filter_map(Value::as_str).map(str::to_owned).collect(),
            param_ref: spec["paramRef"].clone(),
        }
    }
}
