//! Which parts of a variable a CEL expression reads, as far as its text tells. It must not know values or schemas.

use std::collections::BTreeMap;

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{EntryExpr, Expr, LiteralValue, operators};

/// What an expression can see of a value.
///
/// It may tell too much, never too little: a variable of a comprehension that has the same name counts as well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// All of it.
    Whole,
    /// These fields, named as CEL spells them. No fields: at most whether the value is there.
    Fields(BTreeMap<String, Self>),
}

impl Default for Reads {
    fn default() -> Self {
        Self::Fields(BTreeMap::new())
    }
}

impl Reads {
    /// Returns what the expressions read of the variable `name`.
    pub(crate) fn of<'a>(name: &str, expressions: impl IntoIterator<Item = &'a IdedExpr>) -> Self {
        let mut reads = Self::default();
        for expression in expressions {
            reads.walk(name, expression);
        }
        reads
    }

    fn walk(&mut self, name: &str, expression: &IdedExpr) {
        if let Some(path) = path_of(name, expression) {
            *self.place(&path) = Self::Whole;
            return;
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
            Expr::Select(select) => match path_of(name, &select.operand) {
                // `has(self.a.b)`: whether there is a b in a, whatever it is.
                Some(mut path) if select.test => {
                    path.push(&select.field);
                    self.place(&path);
                }
                _ => self.walk(name, &select.operand),
            },
            Expr::Call(call) => {
                for part in call.target.as_deref().into_iter().chain(&call.args) {
                    self.walk(name, part);
                }
            }
            Expr::Comprehension(all) => {
                for part in [
                    &all.iter_range,
                    &all.accu_init,
                    &all.loop_cond,
                    &all.loop_step,
                    &all.result,
                ] {
                    self.walk(name, part);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|e| self.walk(name, e)),
            Expr::Map(map) => self.walk_entries(name, map.entries.iter().map(|e| &e.expr)),
            Expr::Struct(object) => self.walk_entries(name, object.entries.iter().map(|e| &e.expr)),
        }
    }

    fn walk_entries<'a>(&mut self, name: &str, entries: impl Iterator<Item = &'a EntryExpr>) {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.walk(name, &field.value),
                EntryExpr::MapEntry(entry) => {
                    self.walk(name, &entry.key);
                    self.walk(name, &entry.value);
                }
            }
        }
    }

    /// The place of a path: the whole above it, if that is read anyway.
    fn place(&mut self, path: &[&str]) -> &mut Self {
        match (self, path) {
            (Self::Fields(fields), [first, rest @ ..]) => {
                fields.entry((*first).to_owned()).or_default().place(rest)
            }
            (place, _) => place,
        }
    }
}

/// The fields that lead from the variable `name` to what the expression means, if it is no more than that:
/// `self.a["b"]`.
fn path_of<'a>(name: &str, expression: &'a IdedExpr) -> Option<Vec<&'a str>> {
    match &expression.expr {
        Expr::Ident(ident) if ident == name => Some(Vec::new()),
        Expr::Select(select) if !select.test => {
            let mut path = path_of(name, &select.operand)?;
            path.push(&select.field);
            Some(path)
        }
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::INDEX, [operand, field]) => {
                let Expr::Literal(LiteralValue::String(field)) = &field.expr else {
                    return None;
                };
                let mut path = path_of(name, operand)?;
                path.push(field.inner());
                Some(path)
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube_cel::cel::Program;

    use super::*;

    /// Writes reads down: `a{b,c}` for fields of a, `a*` for all of it.
    fn told(reads: &Reads) -> String {
        match reads {
            Reads::Whole => "*".to_owned(),
            Reads::Fields(fields) if fields.is_empty() => String::new(),
            Reads::Fields(fields) => {
                let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}{}", told(v))).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    #[test]
    fn what_is_read_is_found_in_the_text() {
        for (rule, wanted) in [
            ("self.spec.name == 'a'", "{spec{name*}}"),
            ("self['spec'].name.size() == 1", "{spec{name*}}"),
            ("self.value().spec", "*"),
            ("!has(self.spec) || has(self.spec.name)", "{spec{name}}"),
            ("has(self.a.b) && self.a.b.c > 1", "{a{b{c*}}}"),
            ("self.a.b == 1 || self.a == {}", "{a*}"),
            ("self.a == {} || self.a.b == 1", "{a*}"),
            ("has(self.a) && size(self.b) > 0", "{a,b*}"),
            ("self.list[0].name == 'a'", "{list*}"),
            ("self.map[self.key] == 'a'", "{key*,map*}"),
            ("self.list.all(x, x.name != self.name)", "{list*,name*}"),
            ("[{'a': self.a, self.b: 1}].size() == 1", "{a*,b*}"),
            ("self.all(k, k != 'a')", "*"),
            ("'a' in self", "*"),
            ("[self].all(x, x.a)", "*"),
            ("self == oldSelf", "*"),
            ("self.name.startsWith('a') ? self.x : self.y", "{name*,x*,y*}"),
            // A variable that hides the object: more is taken than is read.
            ("self.list.all(self, self.name == 'a')", "{list*,name*}"),
            ("oldSelf.a", ""),
            ("true", ""),
        ] {
            let program = Program::compile(rule).unwrap();
            assert_eq!(told(&Reads::of("self", [program.expression()])), wanted, "{rule}");
        }
    }
}
