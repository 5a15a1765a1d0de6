//! The documentation of the rights names each of them.

use machinectl::install::rbac::{Place, RULES, Rule};

use crate::cli::project;

fn row(rule: &Rule) -> String {
    let group = if rule.group.is_empty() {
        String::new()
    } else {
        format!(" ({})", rule.group)
    };
    let names = if rule.names.is_empty() {
        String::new()
    } else {
        format!(" named {}", rule.names.join(", "))
    };
    let place = match rule.place {
        Place::Everywhere => "everywhere",
        Place::Namespace(namespace) => namespace,
    };
    let provider = rule
        .provider
        .map_or_else(String::new, |p| format!(" (provider {p} only)"));
    let (resources, verbs) = (rule.resources.join(", "), rule.verbs.join(", "));
    format!(
        "| {resources}{group}{names} | {verbs} | {place} | {}{provider} |\n",
        rule.why
    )
}

#[test]
fn each_right_is_explained() {
    let page = std::fs::read_to_string(project().join("docs/security.md")).unwrap();
    let table: String = RULES.iter().map(row).collect();
    assert!(
        page.contains(&table),
        "docs/security.md should have these rows:\n{table}"
    );
}
