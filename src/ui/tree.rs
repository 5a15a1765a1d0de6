//! Trees: what belongs to what, with how each part is. Equal siblings are drawn as one. It knows nothing of what the parts are.

use super::{Colour, Ui};

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// On the way.
    Pending,
    /// Not as it should be.
    Bad,
    /// Nothing can be said.
    Plain,
}

/// A part and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is, for example `Machine/demo-worker-1`.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// How it is, in a few words.
    pub state: String,
    /// Why, where it is not well.
    pub message: String,
    /// What belongs to it.
    pub children: Vec<Self>,
}

impl Node {
    /// Makes a part without children.
    pub fn new(name: impl Into<String>, health: Health, state: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            health,
            state: state.into(),
            message: String::new(),
            children: Vec::new(),
        }
    }

    /// Whether another part differs in nothing but its name.
    fn is_like(&self, other: &Self) -> bool {
        (self.health, &self.state, &self.message) == (other.health, &other.state, &other.message)
            && self.kind() == other.kind()
            && self.children.len() == other.children.len()
            && self
                .children
                .iter()
                .zip(&other.children)
                .all(|(a, b)| a.is_like(b))
    }

    fn kind(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    fn short(&self) -> &str {
        self.name.split_once('/').map_or(&*self.name, |(_, name)| name)
    }
}

/// Siblings that are alike, from this number on, are drawn as one line.
const GROUP_FROM: usize = 3;

struct Line {
    left: String,
    right: String,
}

/// Draws a tree. With `expand` each sibling has its own line.
pub fn render(ui: &Ui, root: &Node, expand: bool) -> String {
    let mut lines = Vec::new();
    let place = Place {
        first: "",
        rest: "",
        several: false,
    };
    draw(ui, root, &root.name, &place, expand, &mut lines);
    let width = lines.iter().map(|l| l.left.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let gap = " ".repeat(width - line.left.chars().count() + 3);
        text.push_str(format!("{}{gap}{}", line.left, line.right).trim_end());
        text.push('\n');
    }
    text
}

/// Where a line stands: what is drawn before it, and before those below it.
struct Place<'a> {
    first: &'a str,
    rest: &'a str,
    /// It stands for several: names of single parts would be wrong.
    several: bool,
}

fn draw(ui: &Ui, node: &Node, name: &str, place: &Place<'_>, expand: bool, lines: &mut Vec<Line>) {
    let Place { first, rest, several } = *place;
    let colour = match node.health {
        Health::Good => Some(Colour::Green),
        Health::Pending => Some(Colour::Yellow),
        Health::Bad => Some(Colour::Red),
        Health::Plain => None,
    };
    let state = colour.map_or_else(|| node.state.clone(), |c| ui.paint(c, &node.state));
    let right = if node.message.is_empty() {
        state
    } else {
        format!("{state}   {}", node.message.replace('\n', " "))
    };
    lines.push(Line {
        left: format!("{first}{name}"),
        right,
    });
    let groups = group(&node.children, expand);
    for (index, members) in groups.iter().enumerate() {
        let last = index + 1 == groups.len();
        let (branch, below) = if last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        let label = match members.as_slice() {
            [one] if several => format!("{} each", one.kind()),
            members => label(members),
        };
        let place = Place {
            first: &format!("{rest}{branch}"),
            rest: &format!("{rest}{below}"),
            several: several || members.len() > 1,
        };
        draw(ui, members[0], &label, &place, expand, lines);
    }
}

/// Puts siblings that are alike together, in their order.
fn group(children: &[Node], expand: bool) -> Vec<Vec<&Node>> {
    let mut groups: Vec<Vec<&Node>> = Vec::new();
    for child in children {
        match groups.iter_mut().find(|g| !expand && g[0].is_like(child)) {
            Some(members) => members.push(child),
            None => groups.push(vec![child]),
        }
    }
    let small = |g: &Vec<&Node>| g.len() < GROUP_FROM;
    groups
        .into_iter()
        .flat_map(|g| {
            if small(&g) {
                g.into_iter().map(|n| vec![n]).collect()
            } else {
                vec![g]
            }
        })
        .collect()
}

fn label(members: &[&Node]) -> String {
    match members {
        [one] => one.name.clone(),
        [first, .., last] => format!(
            "{} {} ({} … {})",
            members.len(),
            plural(first.kind()),
            first.short(),
            last.short()
        ),
        [] => String::new(),
    }
}

fn plural(kind: &str) -> String {
    format!("{kind}s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Loudness;

    fn machine(number: usize, health: Health, state: &str) -> Node {
        Node::new(format!("Machine/w-{number}"), health, state)
    }

    #[test]
    fn equal_siblings_are_one_line_and_the_odd_one_stands_out() {
        let mut root = Node::new("Cluster/demo", Health::Good, "Provisioned");
        for number in 1..=5 {
            let mut good = machine(number, Health::Good, "Running");
            good.children.push(Node::new(
                format!("HollowMachine/w-{number}"),
                Health::Good,
                "Ready",
            ));
            root.children.push(good);
        }
        let mut odd = machine(6, Health::Bad, "Failed");
        odd.message = "no image".into();
        root.children.push(odd);
        let ui = Ui::new(Loudness::Normal, true);
        insta::assert_snapshot!(render(&ui, &root, false), @r"
        Cluster/demo                Provisioned
        ├─ 5 Machines (w-1 … w-5)   Running
        │  └─ HollowMachine each    Ready
        └─ Machine/w-6              Failed   no image
        ");
        assert_eq!(render(&ui, &root, true).lines().count(), 12);
    }
}
