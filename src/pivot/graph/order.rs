//! In which order objects are made: owners before what they own, Clusters before what names them, hollow machines before their Nodes. Pure.
//!
//! They are deleted in the opposite order: as long as there is such a Node, there is the machine by which it is found.

use super::links::{Links, NONE, number};

/// How deep each object that moves stands, and the owners that come too late for what they own, because owners form a circle.
pub(super) struct Order {
    /// 0 for what stands at the top; nothing for what does not move.
    pub(super) depth: Vec<Option<u32>>,
    /// (object, owner).
    pub(super) late: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// Puts what moves in order. Ends whatever the owners are.
pub(super) fn order(links: &Links, moves: &[bool]) -> Order {
    let above = above_clusters(links);
    let mut order = Order {
        depth: vec![None; moves.len()],
        late: Vec::new(),
    };
    let mut states = vec![State::New; moves.len()];
    let parent = |index: u32, nth: usize| {
        let owners = links.owners.of(index);
        if let Some(owner) = owners.get(nth) {
            return Some(*owner);
        }
        let cluster = links.cluster[index as usize];
        let cluster = (cluster != NONE && !above[index as usize]).then_some(cluster);
        let others = [cluster, links.machine.get(&index).copied()];
        others.into_iter().flatten().nth(nth - owners.len())
    };
    for start in 0..number(moves.len()) {
        if !moves[start as usize] || states[start as usize] != State::New {
            continue;
        }
        let mut path = vec![(start, 0)];
        states[start as usize] = State::Open;
        while let Some((index, nth)) = path.last_mut() {
            let (index, here) = (*index, *nth);
            *nth += 1;
            let Some(up) = parent(index, here) else {
                states[index as usize] = State::Done;
                let depth = *order.depth[index as usize].get_or_insert(0);
                path.pop();
                if let Some((below, _)) = path.last() {
                    deepen(&mut order.depth[*below as usize], depth);
                }
                continue;
            };
            match (moves[up as usize], states[up as usize]) {
                (true, State::New) => {
                    states[up as usize] = State::Open;
                    path.push((up, 0));
                }
                (true, State::Open) if here < links.owners.of(index).len() => order.late.push((index, up)),
                (false, _) | (true, State::Open) => {}
                (true, State::Done) => {
                    let above = order.depth[up as usize].unwrap_or(0);
                    deepen(&mut order.depth[index as usize], above);
                }
            }
        }
    }
    order
}

/// Puts an object below one of that depth.
fn deepen(depth: &mut Option<u32>, above: u32) {
    *depth = Some(depth.unwrap_or(0).max(above + 1));
}

/// Owners of Clusters, and their owners: they can't come after them, even if they name one.
fn above_clusters(links: &Links) -> Vec<bool> {
    let mut above = vec![false; links.cluster.len()];
    let mut queue: Vec<u32> = links.cluster.iter().copied().filter(|c| *c != NONE).collect();
    queue.sort_unstable();
    queue.dedup();
    while let Some(index) = queue.pop() {
        for &owner in links.owners.of(index) {
            if !std::mem::replace(&mut above[owner as usize], true) {
                queue.push(owner);
            }
        }
    }
    above
}
