//! What policies say to a write. It must not change anything.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Value as CelValue};
use serde_json::Value;

use super::super::builtin::ResourceInfo;
use super::super::cel::{self, Budget, Problem, Program};
use super::super::handlers::{load, selector_text};
use super::super::object::meta;
use super::super::object::selectors::Labels;
use super::super::schema::Reads;
use super::super::status::ApiError;
use super::configured::Registered;
use super::mutating::Shown;
use super::policy::{Binding, Expression, Policy, Validation};
use super::{Attributes, variables};

/// Bytes of a message that an expression makes; a longer one is not told.
const MESSAGE: usize = 5 << 10;
/// A reason not to let a write happen.
#[derive(Debug)]
struct Denial {
    message: String,
    reason: String,
}

impl Denial {
    fn invalid(message: String) -> Self {
        Self {
            message,
            reason: "Invalid".to_owned(),
        }
    }
}

/// Policies are not asked about reviews: a cluster that they lock could not be mended any more.
fn is_exempt(info: &ResourceInfo) -> bool {
    info.virtual_only
}

/// Asks all policies that are bound and about this write. The first that denies is told.
pub(super) async fn check(
    registered: &Registered,
    attributes: &Attributes<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    if registered.policies.is_empty() || is_exempt(attributes.info) {
        return Ok(());
    }
    let mut first = None;
    for (policy, bindings) in &registered.policies {
        let Some(info) = policy.matching.find(attributes, new, old)? else {
            continue;
        };
        let shown = Shown::new(attributes, &info, new, old).await?;
        for binding in bindings {
            if binding.matching.find(attributes, new, old)?.is_none() {
                continue;
            }
            let denials = match params(policy, binding, attributes).await {
                Ok(params) => params
                    .iter()
                    .flat_map(|param| evaluate(policy, attributes, &info, &shown, param.as_ref()))
                    .collect(),
                Err(_) if policy.may_fail => Vec::new(),
                Err(why) => {
                    let denial = Denial::invalid(format!("failed to configure binding: {why}"));
                    first.get_or_insert((policy, binding, denial));
                    continue;
                }
            };
            for denial in denials {
                for action in &binding.actions {
                    match action.as_str() {
                        "Warn" => attributes.call.warn_also(&format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, denial.message
                        )),
                        "Deny" if first.is_none() => {
                            let denial = Denial {
                                message: denial.message.clone(),
                                reason: denial.reason.clone(),
                            };
                            first = Some((policy, binding, denial));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    match first {
        None => Ok(()),
        Some((policy, binding, denial)) => Err(told(attributes, new, policy, binding, denial)),
    }
}

fn told(
    attributes: &Attributes<'_>,
    new: Option<&Value>,
    policy: &Policy,
    binding: &Binding,
    denial: Denial,
) -> ApiError {
    let message = format!(
        "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
        policy.name, binding.name, denial.message
    );
    let given = new.map_or("", meta::name);
    let prefix = new.map_or("", |new| meta::text(new, "generateName"));
    let name = [attributes.name.as_str(), given, prefix, "Unknown"];
    let name = name.into_iter().find(|n| !n.is_empty()).unwrap_or_default();
    let code = match denial.reason.as_str() {
        "Unauthorized" => 401,
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    ApiError::denied(attributes.info, name, &message, code, denial.reason)
}

/// Finds the objects that say more to a policy. One that is evaluated without has a single nothing.
async fn params(
    policy: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Option<Value>>, String> {
    let (Some((api_version, kind)), true) = (&policy.params, binding.param_ref.is_object()) else {
        return Ok(vec![None]);
    };
    let server = &attributes.call.server;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let Some(info) = server.registry().find_kind(group, version, kind) else {
        return Err(format!("paramKind kind `{api_version}, Kind={kind}` not known"));
    };
    let text = |field: &str| binding.param_ref[field].as_str().unwrap_or_default();
    let namespace = match (info.namespaced, text("namespace")) {
        (false, "") => "",
        (false, _) => {
            return Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned(),
            );
        }
        (true, "") if attributes.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, "") => attributes.namespace.as_str(),
        (true, given) => given,
    };
    let resource = info.storage_group_resource.as_str();
    let found = match (text("name"), binding.param_ref.get("selector")) {
        ("", Some(selector)) => {
            let selector = Labels::parse(&selector_text(selector))?;
            let mut found = server
                .store()
                .list(resource, info.namespaced.then_some(namespace))
                .1;
            found.retain(|s| selector.matches(|key| s.labels.get(key)));
            found
        }
        ("", None) => return Err("one of name or selector must be provided".to_owned()),
        (name, _) => server
            .store()
            .get(resource, namespace, name)
            .into_iter()
            .collect(),
    };
    if found.is_empty() && text("parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let shown = server
        .present_all(&info, found)
        .await
        .map_err(|e| e.message().to_owned())?;
    Ok(shown.iter().map(|s| Some(load(&info, s))).collect())
}

/// Evaluates a policy, and says what it denies.
fn evaluate(
    policy: &Policy,
    attributes: &Attributes<'_>,
    info: &Arc<ResourceInfo>,
    shown: &Shown,
    param: Option<&Value>,
) -> Vec<Denial> {
    cel::with_functions(|context| {
        let mut scope = context.new_inner_scope();
        variables::add(
            &mut scope,
            attributes,
            info,
            shown.new.as_ref(),
            shown.old.as_ref(),
        );
        scope.add_variable_from_value("params", param.map_or(CelValue::Null, cel::of_json));
        scope.add_variable_from_value("namespaceObject", variables::namespace(attributes));
        let evaluation = Evaluation {
            policy,
            scope: &scope,
            budget: RefCell::new(Budget::new()),
            known: RefCell::default(),
        };
        evaluation.denials()
    })
}

/// One policy for one write.
struct Evaluation<'a> {
    policy: &'a Policy,
    scope: &'a Context<'a>,
    budget: RefCell<Budget>,
    /// The variables that have been asked for.
    known: RefCell<HashMap<String, Result<CelValue, String>>>,
}

impl Evaluation<'_> {
    fn denials(&self) -> Vec<Denial> {
        let failed =
            |message: String| -> Option<Denial> { (!self.policy.may_fail).then(|| Denial::invalid(message)) };
        let conditions = &self.policy.conditions;
        if !conditions.is_empty() {
            match conditions.hold_in(self.scope, &mut self.budget.borrow_mut()) {
                Ok(true) => {}
                Ok(false) => return Vec::new(),
                Err(why) => return failed(why).into_iter().collect(),
            }
        }
        let mut denials = Vec::new();
        for validation in &self.policy.validations {
            match self.run(&validation.expression) {
                Ok(CelValue::Bool(true)) => {}
                Ok(_) => denials.push(Denial {
                    message: self.message(validation),
                    reason: validation.reason.clone(),
                }),
                Err(why) => denials.extend(failed(why)),
            }
            if self.budget.borrow().is_spent() {
                return failed(Problem::Spent.to_string()).into_iter().collect();
            }
        }
        denials
    }

    fn run(&self, expression: &Expression) -> Result<CelValue, String> {
        let failed = |why: &str| format!("expression '{}' resulted in error: {why}", expression.source);
        match &expression.program {
            Ok(program) => self.value(program).map_err(|why| failed(&why)),
            Err(why) => Err(format!("compilation error: compilation failed: {why}")),
        }
    }

    /// Evaluates an expression, and before that the variables that it names.
    fn value(&self, program: &Program) -> Result<CelValue, String> {
        let reads = Reads::of("variables", [program.expression()]);
        let named: Vec<String> = match &reads {
            Reads::Fields(fields) => fields.keys().cloned().collect(),
            Reads::Whole => self
                .policy
                .variables
                .iter()
                .map(|(name, _)| name.clone())
                .collect(),
        };
        let mut scope = self.scope.new_inner_scope();
        if !named.is_empty() {
            let mut values = HashMap::new();
            for name in named {
                let value = self
                    .variable(&name)
                    .map_err(|why| format!("composited variable \"{name}\" fails to evaluate: {why}"))?;
                values.insert(Key::String(Arc::new(name)), value);
            }
            let values = CelValue::Map(Map {
                map: Arc::new(values),
            });
            scope.add_variable_from_value("variables", values);
        }
        let outcome = program.run(&scope, &mut self.budget.borrow_mut());
        outcome.map_err(|e| e.to_string())
    }

    fn variable(&self, name: &str) -> Result<CelValue, String> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let Some((_, expression)) = self.policy.variables.iter().find(|(n, _)| n == name) else {
            return Err(format!("no such key: {name}"));
        };
        // One that needs itself is not found.
        let circular = Err(format!("no such key: {name}"));
        self.known.borrow_mut().insert(name.to_owned(), circular);
        let value = match &expression.program {
            Ok(program) => self.value(program),
            Err(why) => Err(format!("compilation failed: {why}")),
        };
        self.known.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    fn message(&self, validation: &Validation) -> String {
        let made = validation
            .message_expression
            .as_ref()
            .and_then(|expression| match self.run(expression) {
                Ok(CelValue::String(text)) => Some(text.trim().to_owned()),
                _ => None,
            })
            .filter(|text| !text.is_empty() && text.len() <= MESSAGE && !text.contains('\n'));
        made.or_else(|| (!validation.message.is_empty()).then(|| validation.message.clone()))
            .unwrap_or_else(|| format!("failed expression: {}", validation.expression.source))
    }
}
