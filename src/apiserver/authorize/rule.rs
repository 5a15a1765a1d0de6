//! One rule of a role: what it allows, and whether others together cover it, as kube-apiserver decides (its packages
//! `apis/rbac/v1` and `component-helpers/auth/rbac/validation`). It must not know who has the rule.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::super::request::RequestInfo;
use super::super::schema::go_quote;

/// Parts of rules that are looked at for one write.
const MOST_PARTS: usize = 100_000;
/// Bytes of their texts, which each part has for itself.
const MOST_BYTES: usize = 16 << 20;
/// Parts times what they are compared with.
const MOST_COMPARISONS: usize = 20_000_000;
/// Bytes of parts times what they are compared with.
const MOST_COMPARED: usize = 2 << 30;

/// A rule. Either groups and resources are there, or paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    /// Empty: objects of any name.
    pub(crate) names: Vec<String>,
    pub(crate) paths: Vec<String>,
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

/// Says whether a path with a star at its end, or a whole one, takes in another.
fn path_covers(own: &str, other: &str) -> bool {
    own == other || (own.ends_with('*') && other.starts_with(own.trim_end_matches('*')))
}

impl Rule {
    /// Reads a rule of a role.
    pub(crate) fn read(value: &Value) -> Self {
        Self {
            verbs: texts(&value["verbs"]),
            groups: texts(&value["apiGroups"]),
            resources: texts(&value["resources"]),
            names: texts(&value["resourceNames"]),
            paths: texts(&value["nonResourceURLs"]),
        }
    }

    /// Reads the rules of a role.
    pub(crate) fn read_all(role: &Value) -> Vec<Self> {
        let rules = role["rules"].as_array().into_iter().flatten();
        rules.map(Self::read).collect()
    }

    /// Returns the rule as it stands in a role.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({"verbs": self.verbs});
        let fields = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        for (name, list) in fields {
            if !list.is_empty() {
                value[name] = json!(list);
            }
        }
        value
    }

    /// Says whether the rule allows a request.
    pub(crate) fn allows(&self, what: &RequestInfo) -> bool {
        let verb = self.verbs.iter().any(|v| v == "*" || *v == what.verb);
        if !what.is_resource {
            return verb && self.paths.iter().any(|path| path_covers(path, &what.path));
        }
        verb && self.groups.iter().any(|g| g == "*" || *g == what.group)
            && self.resources.iter().any(|own| resource_matches(own, what))
            && (self.names.is_empty() || has(&self.names, &what.name))
    }

    /// Takes the rule apart into rules of one verb for one thing each.
    fn parts(&self) -> Vec<Self> {
        let one = |text: &str| vec![text.to_owned()];
        let mut parts = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part = Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.names.is_empty() {
                        parts.push(part);
                        continue;
                    }
                    parts.extend(self.names.iter().map(|name| Self {
                        names: one(name),
                        ..part.clone()
                    }));
                }
            }
        }
        for path in &self.paths {
            parts.extend(self.verbs.iter().map(|verb| Self {
                verbs: one(verb),
                paths: one(path),
                ..Self::default()
            }));
        }
        parts
    }

    /// Into how many parts it is taken apart.
    fn size(&self) -> usize {
        let things = self.groups.len().saturating_mul(self.resources.len());
        let things = things.saturating_mul(self.names.len().max(1));
        things
            .saturating_add(self.paths.len())
            .saturating_mul(self.verbs.len())
    }

    /// How many bytes of texts those parts have together.
    fn bytes(&self) -> usize {
        let of_parts = |lists: &[&[String]]| {
            let parts = lists.iter().map(|list| list.len()).fold(1, usize::saturating_mul);
            let of_list = |list: &&[String]| {
                let length: usize = list.iter().map(String::len).sum();
                length.saturating_mul(parts / list.len().max(1))
            };
            lists.iter().map(of_list).fold(0, usize::saturating_add)
        };
        let any = [String::new()];
        let names = if self.names.is_empty() {
            &any
        } else {
            &self.names[..]
        };
        let things = of_parts(&[&self.groups, &self.resources, names, &self.verbs]);
        things.saturating_add(of_parts(&[&self.paths, &self.verbs]))
    }

    /// What is before the star of paths that end in one.
    fn prefixes(&self) -> impl Iterator<Item = &str> {
        let starred = self.paths.iter().filter(|path| path.ends_with('*'));
        starred.map(|path| path.trim_end_matches('*'))
    }

    /// Says whether the rule is about all objects of one resource, or one object.
    fn is_simple(&self) -> bool {
        self.groups.len() == 1 && self.resources.len() == 1 && self.names.len() <= 1 && self.paths.is_empty()
    }

    /// Returns the rule as messages show it.
    pub(crate) fn describe(&self) -> String {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = fields
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted_list(list)))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }
}

/// Says whether a resource of a rule is that of a request: `pods`, `pods/log`, `*/log` or `*`.
fn resource_matches(own: &str, what: &RequestInfo) -> bool {
    if own == "*" {
        return true;
    }
    if what.subresource.is_empty() {
        return own == what.resource;
    }
    own.split_once('/').is_some_and(|(resource, sub)| {
        sub == what.subresource && (resource == "*" || resource == what.resource)
    })
}

/// Returns a list as Go writes it with `%q`.
pub(crate) fn quoted_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|item| go_quote(item)).collect();
    format!("[{}]", quoted.join(" "))
}

/// What a rule allows, so that it is found whatever the length of its lists.
struct Allowed<'a> {
    verbs: HashSet<&'a str>,
    groups: HashSet<&'a str>,
    resources: HashSet<&'a str>,
    names: HashSet<&'a str>,
    paths: HashSet<&'a str>,
    /// What is before the star of paths that end in one, and how long that can be.
    prefixes: HashSet<&'a str>,
    prefix_lengths: BTreeSet<usize>,
}

impl<'a> From<&'a Rule> for Allowed<'a> {
    fn from(rule: &'a Rule) -> Self {
        let set = |list: &'a [String]| list.iter().map(String::as_str).collect();
        Self {
            verbs: set(&rule.verbs),
            groups: set(&rule.groups),
            resources: set(&rule.resources),
            names: set(&rule.names),
            paths: set(&rule.paths),
            prefixes: rule.prefixes().collect(),
            prefix_lengths: rule.prefixes().map(str::len).collect(),
        }
    }
}

impl Allowed<'_> {
    /// Says whether the rule allows all that a part of another one does.
    fn covers(&self, part: &Rule) -> bool {
        let all = |own: &HashSet<&str>, wanted: &[String]| {
            own.contains("*") || wanted.iter().all(|item| own.contains(item.as_str()))
        };
        let named = |name: &String| self.names.contains(name.as_str());
        (self.names.is_empty() || (!part.names.is_empty() && part.names.iter().all(named)))
            && all(&self.verbs, &part.verbs)
            && all(&self.groups, &part.groups)
            && (self.resources.contains("*") || part.resources.iter().all(|wanted| self.has_resource(wanted)))
            && part.paths.iter().all(|wanted| self.has_path(wanted))
    }

    fn has_resource(&self, wanted: &str) -> bool {
        self.resources.contains(wanted)
            || wanted
                .split_once('/')
                .is_some_and(|(_, sub)| !sub.is_empty() && self.resources.contains(&*format!("*/{sub}")))
    }

    /// Whether a path is there, or a beginning of it with a star.
    fn has_path(&self, wanted: &str) -> bool {
        let mut begins = self.prefix_lengths.iter().map_while(|&end| {
            // Where this is in the midst of a letter, longer ones still may fit.
            (end <= wanted.len()).then(|| wanted.get(..end).unwrap_or(wanted))
        });
        self.paths.contains(wanted) || begins.any(|begin| self.prefixes.contains(begin))
    }
}

/// Says whether what it takes to find out what is missing is within bounds: lists of rules are multiplied with each other.
pub(crate) fn is_comparable(own: &[Rule], wanted: &[Rule]) -> bool {
    let sum = |of: fn(&Rule) -> usize| wanted.iter().map(of).fold(0, usize::saturating_add);
    let (parts, bytes) = (sum(Rule::size), sum(Rule::bytes));
    // Each beginning of a path is looked for on its own.
    let sought: usize = own.iter().map(|rule| 1 + rule.prefixes().count()).sum();
    parts <= MOST_PARTS
        && bytes <= MOST_BYTES
        && parts.saturating_mul(sought) <= MOST_COMPARISONS
        && bytes.saturating_mul(sought) <= MOST_COMPARED
}

/// Returns what of `wanted` the rules in `own` do not allow, rules about one resource put together.
pub(crate) fn missing(own: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let own: Vec<Allowed<'_>> = own.iter().map(Allowed::from).collect();
    let parts = wanted.iter().flat_map(Rule::parts);
    let uncovered = parts.filter(|part| !own.iter().any(|rule| rule.covers(part)));
    let mut compact: Vec<Rule> = Vec::new();
    let mut known = HashMap::new();
    for part in uncovered {
        let what = (part.groups.clone(), part.resources.clone(), part.names.clone());
        if let Some(&at) = known.get(&what).filter(|_| part.is_simple()) {
            let rule: &mut Rule = &mut compact[at];
            rule.verbs.extend(part.verbs);
            continue;
        }
        if part.is_simple() {
            known.insert(what, compact.len());
        }
        compact.push(part);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str], paths: &[&str]) -> Rule {
        Rule::read(
            &json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names, "nonResourceURLs": paths}),
        )
    }

    fn asked(verb: &str, resource: &str, subresource: &str, name: &str) -> RequestInfo {
        RequestInfo {
            is_resource: true,
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn resources_and_subresources_are_told_apart() {
        let pods = rule(&["get"], &[""], &["pods"], &[], &[]);
        assert!(pods.allows(&asked("get", "pods", "", "p")));
        assert!(!pods.allows(&asked("list", "pods", "", "")));
        assert!(!pods.allows(&asked("get", "pods", "log", "p")));
        let logs = rule(&["get"], &[""], &["*/log"], &[], &[]);
        assert!(logs.allows(&asked("get", "pods", "log", "p")));
        assert!(!logs.allows(&asked("get", "pods", "status", "p")));
        assert!(!logs.allows(&asked("get", "pods", "", "p")));
        let all = rule(&["*"], &["*"], &["*"], &[], &[]);
        assert!(all.allows(&asked("watch", "pods", "log", "p")));
    }

    #[test]
    fn names_need_a_name_in_the_request() {
        let one = rule(&["get", "list"], &[""], &["pods"], &["p"], &[]);
        assert!(one.allows(&asked("get", "pods", "", "p")));
        assert!(!one.allows(&asked("get", "pods", "", "q")));
        assert!(!one.allows(&asked("list", "pods", "", "")));
        assert!(one.allows(&asked("list", "pods", "", "p")));
    }

    #[test]
    fn paths_may_end_in_a_star() {
        let path = |path: &str| RequestInfo {
            path: path.to_owned(),
            verb: "get".to_owned(),
            ..RequestInfo::default()
        };
        let rule = rule(&["get"], &[], &[], &[], &["/healthz", "/api/*"]);
        assert!(rule.allows(&path("/healthz")));
        assert!(!rule.allows(&path("/healthz/etcd")));
        assert!(rule.allows(&path("/api/v1")));
        assert!(!rule.allows(&path("/api")));
    }

    #[test]
    fn what_a_small_rule_multiplies_to_is_bounded() {
        let many: Vec<String> = (0..1000).map(|n| format!("r{n}")).collect();
        let wide = Rule {
            verbs: many.clone(),
            groups: vec![String::new()],
            resources: many.clone(),
            ..Rule::default()
        };
        assert!(!is_comparable(&[], std::slice::from_ref(&wide)));
        let long = Rule {
            verbs: vec!["get".to_owned()],
            ..wide.clone()
        };
        let long = std::slice::from_ref(&long);
        assert!(is_comparable(long, long));
        assert!(missing(long, long).is_empty());
    }

    #[test]
    fn long_texts_are_not_multiplied_either() {
        let verbs: Vec<String> = (0..1000).map(|n| format!("v{n}")).collect();
        let of = |length: usize| Rule {
            verbs: verbs.clone(),
            paths: vec!["/".repeat(length)],
            ..Rule::default()
        };
        let long = of(1 << 20);
        assert!(!is_comparable(&[], std::slice::from_ref(&long)));
        let short = of(100);
        let in_parts: usize = short.parts().iter().map(Rule::bytes).sum();
        assert_eq!(short.bytes(), in_parts);
        assert!(is_comparable(&[], std::slice::from_ref(&short)));
        // As many beginnings as rules.
        let starred = Rule {
            paths: (0..100_000).map(|n| format!("/{n}*")).collect(),
            ..Rule::default()
        };
        assert!(!is_comparable(&[starred], &[short]));
    }

    #[test]
    fn a_long_path_is_read_once_for_each_length_of_a_beginning() {
        let own = [rule(&["get"], &[], &[], &[], &["/a*", "/é/*", "/no/*"])];
        let path = |path: &str| rule(&["get"], &[], &[], &[], &[path]);
        let length = 2 << 20;
        let wanted = [path(&("/b".to_owned() + &"x".repeat(length)))];
        let began = std::time::Instant::now();
        assert_eq!(missing(&own, &wanted).len(), 1);
        assert!(began.elapsed().as_secs() < 5);
        for covered in ["/a", "/a/b", "/é/", "/é/b"] {
            assert!(missing(&own, &[path(covered)]).is_empty(), "{covered}");
        }
        for other in ["/", "/é", "/éé", "/n", "/nö"] {
            assert_eq!(missing(&own, &[path(other)]).len(), 1, "{other}");
        }
    }

    #[test]
    fn what_is_missing_is_put_together_by_resource() {
        let own = [rule(&["get"], &["*"], &["pods", "*/scale"], &[], &[])];
        let wanted = [
            rule(&["get", "list", "watch"], &[""], &["pods"], &[], &[]),
            rule(&["get"], &["apps"], &["deployments/scale"], &["d"], &[]),
            rule(&["get"], &[], &[], &[], &["/metrics"]),
        ];
        let described: Vec<String> = missing(&own, &wanted).iter().map(Rule::describe).collect();
        assert_eq!(
            described,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
                r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#
            ]
        );
        // A right to one object is no right to all of them.
        let named = [rule(&["get"], &[""], &["pods"], &["p"], &[])];
        assert_eq!(
            missing(&named, &[rule(&["get"], &[""], &["pods"], &[], &[])]).len(),
            1
        );
        assert!(missing(&[rule(&["*"], &["*"], &["*"], &[], &[])], &wanted[..2]).is_empty());
    }
}
