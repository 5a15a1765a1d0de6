//! What is wrong with an expression that can be read: names that nobody knows. It must not evaluate it.

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr};
use kube_cel::cel::{ExecutionError, IdedExpr, Value};

use super::functions::NAMES;
use super::with_functions;

/// Says what is wrong, as Go's compiler does.
pub(super) fn check(source: &str, expression: &IdedExpr, variables: &[&str]) -> Result<(), String> {
    let mut checker = Checker {
        source,
        known: variables.iter().map(|&v| v.to_owned()).collect(),
    };
    checker.visit(expression)
}

/// How deep brackets lie in each other in a text, those in strings included.
pub(super) fn brackets(source: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => now += 1,
            b')' | b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// How deep the parts of an expression lie in each other.
pub(super) fn depth(expression: &IdedExpr) -> usize {
    let deepest = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(depth).max().unwrap_or(0);
    let entry = |entry: &EntryExpr| match entry {
        EntryExpr::StructField(field) => depth(&field.value),
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
    };
    1 + match &expression.expr {
        Expr::Literal(_) | Expr::Ident(_) | Expr::Unspecified => 0,
        Expr::Select(select) => depth(&select.operand),
        Expr::Call(call) => deepest(&mut call.target.as_deref().into_iter().chain(&call.args)),
        Expr::List(list) => deepest(&mut list.elements.iter()),
        Expr::Map(map) => map.entries.iter().map(|e| entry(&e.expr)).max().unwrap_or(0),
        Expr::Struct(made) => made.entries.iter().map(|e| entry(&e.expr)).max().unwrap_or(0),
        Expr::Comprehension(all) => deepest(
            &mut [
                &all.iter_range,
                &all.accu_init,
                &all.loop_cond,
                &all.loop_step,
                &all.result,
            ]
            .into_iter(),
        ),
    }
}

struct Checker<'a> {
    source: &'a str,
    known: Vec<String>,
}

impl Checker<'_> {
    fn visit(&mut self, expression: &IdedExpr) -> Result<(), String> {
        match &expression.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.visit(&select.operand),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.visit(e)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.visit(&entry.key)?;
                        self.visit(&entry.value)?;
                    }
                }
                Ok(())
            }
            Expr::Comprehension(all) => {
                self.visit(&all.iter_range)?;
                self.visit(&all.accu_init)?;
                let outside = self.known.len();
                let own = [&all.iter_var, &all.accu_var].into_iter().chain(&all.iter_var2);
                self.known.extend(own.cloned());
                let inside = [&all.loop_cond, &all.loop_step, &all.result]
                    .into_iter()
                    .try_for_each(|part| self.visit(part));
                self.known.truncate(outside);
                inside
            }
            // There are no types of which an expression could make objects, and the interpreter can't.
            Expr::Struct(made) => Err(self.undeclared(&made.type_name, '{')),
            Expr::Unspecified => Err("ERROR: <input>:1:1: the expression is empty".to_owned()),
        }
    }

    fn variable(&self, name: &str) -> Result<(), String> {
        if self.known.iter().any(|k| k == name)
            || name == "dyn"
            || NAMES.contains(&name)
            || name.starts_with('@')
        {
            return Ok(());
        }
        Err(self.undeclared(name, ' '))
    }

    fn call(&mut self, call: &CallExpr) -> Result<(), String> {
        let name = &call.func_name;
        let is_operator = !name.starts_with(|c: char| c.is_ascii_alphabetic());
        let mut prefix = None;
        if let Some(target) = &call.target {
            // `sets.contains(..)`: what stands before may be a part of the name.
            if let Expr::Ident(word) = &target.expr
                && is_function(&format!("{word}.{name}"))
            {
                prefix = Some(word);
            } else {
                self.visit(target)?;
            }
        }
        if prefix.is_none() && !is_operator && !is_function(name) {
            return Err(self.undeclared(name, '('));
        }
        call.args.iter().try_for_each(|a| self.visit(a))
    }

    /// Tells of a name, and shows where it is: at the name, or at what follows it.
    fn undeclared(&self, name: &str, followed: char) -> String {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let place = self.source.match_indices(name).find(|(at, _)| {
            let before = self.source.get(..*at).and_then(|s| s.chars().next_back());
            let after = self.source.get(at + name.len()..).unwrap_or_default();
            !before.is_some_and(|c| is_word(c) || (followed == ' ' && c == '.'))
                && !after.starts_with(is_word)
                && (followed == ' ' || after.trim_start().starts_with(followed))
        });
        let at = place.map_or(0, |(at, _)| if followed == '(' { at + name.len() } else { at });
        let before = self.source.get(..at).unwrap_or_default();
        let line = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let shown = self.source.lines().nth(line).unwrap_or_default();
        format!(
            "ERROR: <input>:{}:{}: undeclared reference to '{name}' (in container '')\n | {shown}\n | {}^",
            line + 1,
            column + 1,
            ".".repeat(column)
        )
    }
}

/// Says whether there is a function of that name: one that is there complains of something else when it gets nothing.
fn is_function(name: &str) -> bool {
    let call = IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target: None,
            args: Vec::new(),
        }),
    };
    with_functions(|context| {
        !matches!(
            Value::resolve(&call, context),
            Err(ExecutionError::UndeclaredReference(missing)) if *missing == name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Program;

    fn said(source: &str) -> String {
        Program::compile(source, &["self"]).err().unwrap_or_default()
    }

    #[test]
    fn names_that_nobody_knows_are_told() {
        assert_eq!(
            said("self.a == other.b"),
            "ERROR: <input>:1:11: undeclared reference to 'other' (in container '')\n | self.a == other.b\n | ..........^"
        );
        assert_eq!(
            said("self.a ||\n  nothing(1)"),
            "ERROR: <input>:2:10: undeclared reference to 'nothing' (in container '')\n |   nothing(1)\n | .........^"
        );
        assert!(said("self.all(x, y)").contains("undeclared reference to 'y'"));
        assert!(said("Thing{a: 1} == self").contains("undeclared reference to 'Thing'"));
        assert!(said("self.nope()").contains("undeclared reference to 'nope'"));
    }

    #[test]
    fn names_that_are_known_are_not() {
        for source in [
            "self.all(x, x.size() > 1) && sets.contains(self.a, [1]) && optional.none().hasValue()",
            "self.map(x, x.map(y, x + y)) == [] ? math.greatest(1, 2) > 1 : self.a.b",
            "has(self.other) && self.x.matches('a') && duration('1s') > duration('1ms') && type(self) == string",
        ] {
            assert_eq!(said(source), "", "{source}");
        }
    }

    #[test]
    fn what_is_too_deep_or_too_long_is_refused() {
        for times in [100, 149, 5000] {
            let told = said(&format!("{}1{}", "(".repeat(times), ")".repeat(times)));
            assert!(!told.is_empty(), "{times}");
        }
        assert!(said(&"1 ".repeat(60_000)).contains("size exceeds limit"));
        for link in ["+1", "-1", " in [1]", "*1"] {
            for times in [200, 3000, 30_000] {
                let told = said(&format!("1{}", link.repeat(times)));
                assert!(
                    told.contains("recursion limit exceeded") || told.contains("size exceeds"),
                    "{told}"
                );
            }
        }
        assert!(said(&format!("self{}", ".a".repeat(3000))).contains("recursion limit exceeded"));
        let many = vec!["self.a.b.c == 'x'"; 1000].join(" && ");
        assert_eq!(said(&many), "", "what is long is not deep");
    }
}
