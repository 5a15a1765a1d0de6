//! Conditions in CEL under which a webhook or a policy wants to be asked at all (`matchConditions`).
//! It must not look at rules and selectors.

use kube_cel::cel::{Context, Value as CelValue};
use serde_json::Value;

use super::super::builtin::ResourceInfo;
use super::super::cel::{self, Budget, Program};
use super::super::status::ApiError;
use super::variables::Needs;
use super::{Attributes, variables};

/// The conditions of one webhook or policy.
#[derive(Debug)]
pub(crate) struct Conditions {
    all: Vec<(String, Result<Program, String>)>,
    /// Whether it is passed over when they can't be evaluated.
    may_fail: bool,
    /// What they read of a write.
    reads: Needs,
}

impl Conditions {
    pub(crate) fn of(list: &Value, may_fail: bool) -> Self {
        let list = list.as_array().into_iter().flatten();
        let all = list.map(|condition| {
            let source = condition["expression"].as_str().unwrap_or_default();
            (source.to_owned(), Program::compile(source, &cel::OF_A_WRITE))
        });
        let mut made = Self {
            all: all.collect(),
            may_fail,
            reads: Needs::default(),
        };
        made.reads = Needs::of(made.programs());
        made
    }

    /// Returns those that can be evaluated.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Program> {
        self.all.iter().filter_map(|(_, program)| program.as_ref().ok())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Says whether all hold in a scope; why not is an error that was not to be passed over.
    pub(super) fn hold_in(&self, scope: &Context<'_>, budget: &mut Budget) -> Result<bool, String> {
        let mut problems = Vec::new();
        for (source, program) in &self.all {
            let outcome = match program {
                Ok(program) => program.run(scope, budget).map_err(|e| e.to_string()),
                Err(why) => Err(format!("compilation failed: {why}")),
            };
            match outcome {
                Ok(CelValue::Bool(true)) => {}
                Ok(CelValue::Bool(false)) => return Ok(false),
                Ok(_) => problems.push(format!(
                    "expression '{source}' resulted in error: it must evaluate to bool"
                )),
                Err(why) => problems.push(format!("expression '{source}' resulted in error: {why}")),
            }
        }
        match problems.as_slice() {
            [] => Ok(true),
            _ if self.may_fail => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    /// Says whether a webhook is to be asked.
    pub(super) fn hold(
        &self,
        attributes: &Attributes<'_>,
        info: &ResourceInfo,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<bool, ApiError> {
        if self.is_empty() {
            return Ok(true);
        }
        cel::with_functions(|context| {
            let mut scope = context.new_inner_scope();
            variables::add(&mut scope, &self.reads, attributes, info, new, old);
            self.hold_in(&scope, &mut Budget::new())
        })
        .map_err(|why| {
            let own = attributes.info;
            ApiError::not_allowed(&own.group, &own.plural, &attributes.name, &why)
        })
    }
}
