//! Puts what the threads of a walk have read into one tree, depth first.

use super::tree::{Node, NodeId, NodeKind, Text, Tree};
use super::walk::{Child, Dir, Find, Verdict, What};

/// A directory whose children are being added.
struct Open {
    node: NodeId,
    verdict: Verdict,
    thread: usize,
    /// The children that are left, in its thread's list.
    rest: std::ops::Range<u32>,
}

/// Makes the tree. `dirs` is how many directories have numbers.
pub(super) fn assemble(finds: Vec<Find>, dirs: u32) -> Tree {
    let mut place: Vec<Option<(usize, &Dir)>> = vec![None; dirs as usize];
    let mut total = 1;
    let mut bytes = 0;
    for (thread, find) in finds.iter().enumerate() {
        total += find.children.len();
        bytes += find.arena.len();
        for dir in &find.dirs {
            place[dir.id as usize] = Some((thread, dir));
        }
    }
    let mut tree = Tree {
        arena: Vec::with_capacity(bytes),
        nodes: Vec::with_capacity(total),
        ..Tree::default()
    };
    let mut open: Vec<Open> = Vec::new();
    if let Some((thread, root)) = place[0] {
        open.push(enter(
            &mut tree,
            root,
            thread,
            Text::default(),
            0,
            Verdict::Take,
        ));
    }
    while let Some(dir) = open.last_mut() {
        let Some(next) = dir.rest.next() else {
            close(&mut tree, dir);
            open.pop();
            continue;
        };
        let (parent, find) = (dir.node, &finds[dir.thread]);
        let Child {
            name,
            target,
            verdict,
            what,
        } = find.children[next as usize];
        match what {
            What::Dir(id) => {
                // One that vanished before it was read has no place.
                if let Some((thread, child)) = place[id as usize] {
                    let name = tree.intern(find.text(name));
                    open.push(enter(&mut tree, child, thread, name, parent, verdict));
                }
            }
            What::Leaf(stat) => {
                let name = tree.intern(find.text(name));
                let target = tree.intern(find.text(target));
                let end = tree.nodes.len() as NodeId + 1;
                // Directories are leaves only if they are not entered.
                let unread = stat.kind == NodeKind::Dir;
                tree.nodes.push(Node {
                    name,
                    target,
                    parent,
                    end,
                    unread,
                    stat,
                });
            }
        }
    }
    tree
}

fn enter(
    tree: &mut Tree,
    dir: &Dir,
    thread: usize,
    name: Text,
    parent: NodeId,
    verdict: Verdict,
) -> Open {
    let node = tree.nodes.len() as NodeId;
    if !dir.xattrs.is_empty() {
        tree.dir_xattrs.insert(node, dir.xattrs.clone());
    }
    tree.nodes.push(Node {
        name,
        target: Text::default(),
        parent,
        end: 0,
        unread: false,
        stat: dir.stat,
    });
    Open {
        node,
        verdict,
        thread,
        rest: dir.children.clone(),
    }
}

/// Ends a directory. One that is excluded itself stays only if something in it is not.
fn close(tree: &mut Tree, dir: &Open) {
    let end = tree.nodes.len() as NodeId;
    if dir.verdict == Verdict::Descend && end == dir.node + 1 {
        tree.dir_xattrs.remove(&dir.node);
        tree.nodes.pop();
    } else {
        tree.nodes[dir.node as usize].end = end;
    }
}
