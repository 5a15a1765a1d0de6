//! What policies say to a write. It must not change anything.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Value as CelValue};
use serde_json::Value;

use super::super::builtin::ResourceInfo;
use super::super::cel::{self, Budget, Problem, Program};
use super::super::handlers::load;
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
#[derive(Debug, Clone)]
struct Denial {
    message: String,
    reason: String,
    /// Whether the write is denied whatever the binding wants: the policy can't be asked.
    is_of_the_policy: bool,
}

impl Denial {
    fn invalid(message: String) -> Self {
        Self {
            message,
            reason: "Invalid".to_owned(),
            is_of_the_policy: false,
        }
    }

    fn of_the_policy(message: String) -> Self {
        Self {
            is_of_the_policy: true,
            ..Self::invalid(message)
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
    let mut first: Option<Refusal<'_>> = None;
    for (policy, bindings) in &registered.policies {
        for refusal in refusals(policy, bindings, attributes, new, old).await {
            let message = refusal.message();
            for action in refusal.actions() {
                match action {
                    "Warn" => attributes
                        .call
                        .warn_also(&format!("Validation failed for {message}")),
                    "Deny" if first.is_none() => first = Some(refusal.clone()),
                    _ => {}
                }
            }
        }
    }
    match first {
        None => Ok(()),
        Some(refusal) => Err(told(attributes, new, refusal)),
    }
}

/// What a policy denies, or that it can't be asked.
#[derive(Clone)]
struct Refusal<'a> {
    policy: &'a Policy,
    /// Nothing if it is not about one of its bindings.
    binding: Option<&'a Binding>,
    denial: Denial,
}

impl Refusal<'_> {
    /// Says who denies.
    fn words(&self, denied: &str) -> String {
        let binding = self
            .binding
            .map_or_else(String::new, |b| format!(" with binding '{}'", b.name));
        let Denial { message, .. } = &self.denial;
        format!(
            "ValidatingAdmissionPolicy '{}'{binding}{denied}: {message}",
            self.policy.name
        )
    }

    fn message(&self) -> String {
        self.words("")
    }

    fn actions(&self) -> impl Iterator<Item = &str> {
        let deny = self.denial.is_of_the_policy.then_some("Deny");
        let actions = self.binding.filter(|_| deny.is_none()).map(|b| &b.actions);
        deny.into_iter()
            .chain(actions.into_iter().flatten().map(String::as_str))
    }
}

/// What a binding adds to a policy: the parameters of its evaluations, or why there are none.
type Bound<'a> = (&'a Binding, Result<Vec<Option<Value>>, String>);

/// Asks one policy for all of its bindings.
async fn refusals<'a>(
    policy: &'a Policy,
    bindings: &'a [Binding],
    attributes: &Attributes<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Vec<Refusal<'a>> {
    let unusable = |binding: Option<&'a Binding>, why: String| {
        let what = if binding.is_some() { "binding" } else { "policy" };
        let denial = Denial::of_the_policy(format!("failed to configure {what}: {why}"));
        (!policy.may_fail).then_some(Refusal {
            policy,
            binding,
            denial,
        })
    };
    let info = match policy.matching.find(attributes, new, old) {
        Ok(Some(info)) => info,
        Ok(None) => return Vec::new(),
        Err(why) => return Vec::from_iter(unusable(None, why.message().to_owned())),
    };
    let shown = match Shown::new(attributes, &info, new, old).await {
        Ok(shown) => shown,
        Err(why) => return Vec::from_iter(unusable(None, why.message().to_owned())),
    };
    let mut bound: Vec<Bound<'a>> = Vec::new();
    for binding in bindings {
        let params = match binding.matching.find(attributes, new, old) {
            Ok(Some(_)) => params(policy, binding, attributes).await,
            Ok(None) => continue,
            Err(why) => Err(why.message().to_owned()),
        };
        bound.push((binding, params));
    }
    if bound.is_empty() {
        return Vec::new();
    }
    evaluate(policy, attributes, &info, &shown, bound, &unusable)
}

fn told(attributes: &Attributes<'_>, new: Option<&Value>, refusal: Refusal<'_>) -> ApiError {
    let message = refusal.words(" denied request");
    let denial = refusal.denial;
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
            let selector = Labels::of(selector)?;
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

/// Evaluates a policy for each of its bindings and parameters, and says what it denies.
fn evaluate<'a>(
    policy: &'a Policy,
    attributes: &Attributes<'_>,
    info: &Arc<ResourceInfo>,
    shown: &Shown<'_>,
    bound: Vec<Bound<'a>>,
    unusable: &impl Fn(Option<&'a Binding>, String) -> Option<Refusal<'a>>,
) -> Vec<Refusal<'a>> {
    cel::with_functions(|context| {
        let mut base = context.new_inner_scope();
        variables::add(
            &mut base,
            &policy.reads,
            attributes,
            info,
            shown.new_object(),
            shown.old_object(),
        );
        let mut refusals = Vec::new();
        for (binding, params) in bound {
            let params = match params {
                Ok(params) => params,
                Err(why) => {
                    refusals.extend(unusable(Some(binding), why));
                    continue;
                }
            };
            for param in params {
                let mut scope = base.new_inner_scope();
                let param = param.as_ref().unwrap_or(&Value::Null);
                scope.add_variable_from_value("params", variables::part(param, &policy.reads.params));
                let evaluation = Evaluation {
                    policy,
                    scope: &scope,
                    budget: RefCell::new(Budget::new()),
                    known: RefCell::default(),
                };
                let denials = evaluation.denials().into_iter();
                refusals.extend(denials.map(|denial| Refusal {
                    policy,
                    binding: Some(binding),
                    denial,
                }));
            }
        }
        refusals
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
                    is_of_the_policy: false,
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
            Ok(program) => self
                .value(program, &expression.variables)
                .map_err(|why| failed(&why)),
            Err(why) => Err(format!("compilation error: compilation failed: {why}")),
        }
    }

    /// Evaluates an expression, and before that the variables that it names. One that has no value is missing: whether that matters
    /// the expression decides.
    fn value(&self, program: &Program, reads: &Reads) -> Result<CelValue, String> {
        let named: Vec<&str> = match reads {
            Reads::Fields(fields) => fields.keys().map(String::as_str).collect(),
            Reads::Whole => self.policy.variables.iter().map(|(name, _)| &**name).collect(),
        };
        let mut scope = self.scope.new_inner_scope();
        let mut missing = Vec::new();
        if !named.is_empty() {
            let mut values = HashMap::new();
            for name in named {
                match self.variable(name) {
                    Ok(value) => drop(values.insert(Key::String(Arc::new(name.to_owned())), value)),
                    Err(why) => missing.push((name, why)),
                }
            }
            let values = CelValue::Map(Map {
                map: Arc::new(values),
            });
            scope.add_variable_from_value("variables", values);
        }
        let outcome = program.run(&scope, &mut self.budget.borrow_mut());
        outcome.map_err(|problem| {
            let told = problem.to_string();
            let culprit = missing
                .iter()
                .find(|(name, _)| told.strip_prefix("no such key: ") == Some(name));
            match culprit {
                Some((name, why)) => format!("composited variable \"{name}\" fails to evaluate: {why}"),
                None => told,
            }
        })
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
            Ok(program) => self.value(program, &expression.variables),
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
