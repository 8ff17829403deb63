//! A document under change: a tree of texts, opened only on the way to what changes.
//!
//! What is not opened goes into the new document byte for byte. Each change is
//! paid for by its [`Work`], and the tree never nests deeper than a document
//! may, so that no recursion here is deeper than that.

use std::borrow::Cow;

use super::{
    command::assert_valid,
    equality::same_value,
    json::string_end,
    pointer::element_index,
    visit::{elements, members, unquote, write_string},
    work::{TooMuch, Work},
};
use crate::limits::JSON_DEPTH_MAX;

/// A document under change.
pub(super) struct Tree<'t, 'w> {
    root: Node<'t>,
    work: &'w mut Work,
}

/// A value in the document.
#[derive(Clone)]
pub(super) enum Node<'t> {
    /// As it is written.
    Text(&'t str),
    List(Vec<Node<'t>>),
    Object(Vec<Member<'t>>),
}

#[derive(Clone)]
pub(super) struct Member<'t> {
    /// In its quotes.
    key: Cow<'t, str>,
    value: Node<'t>,
}

/// Why a change of a tree is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeError {
    /// The pointer leads nowhere.
    NoTarget,
    /// The document would nest too deep.
    TooDeep,
    /// It costs too much.
    TooMuch,
}

impl<'t, 'w> Tree<'t, 'w> {
    /// The tree of a stored document, whose changes are paid for by `work`.
    pub(super) fn of(document: &'t str, work: &'w mut Work) -> Tree<'t, 'w> {
        Tree {
            root: Node::Text(document),
            work,
        }
    }

    /// Sets a member, inserts an element, or replaces the whole document.
    pub(super) fn add(&mut self, path: &[Box<str>], value: Node<'t>) -> Result<(), TreeError> {
        let Measure { levels, bytes } = value.measure();
        self.spend(bytes)?;
        if path.len() + levels > JSON_DEPTH_MAX {
            return Err(TreeError::TooDeep);
        }
        let Some((last, parents)) = path.split_last() else {
            self.root = value;
            return Ok(());
        };
        let Tree { root, work } = self;
        match descend(root, parents, work)? {
            Node::Text(_) => Err(TreeError::NoTarget),
            Node::List(elements) => {
                let index = match &**last {
                    "-" => Some(elements.len()),
                    token => element_index(token).filter(|index| *index <= elements.len()),
                };
                let index = index.ok_or(TreeError::NoTarget)?;
                work.spend((elements.len() - index) * size_of::<Node<'_>>())?;
                elements.insert(index, value);
                Ok(())
            }
            Node::Object(members) => {
                work.spend(members.len())?;
                match position(members, last) {
                    Some(at) => members[at].value = value,
                    None => members.push(Member {
                        key: Cow::Owned(quoted(last)),
                        value,
                    }),
                }
                Ok(())
            }
        }
    }

    /// Puts `value` in the place of the one that is there.
    pub(super) fn replace(&mut self, path: &[Box<str>], value: Node<'t>) -> Result<(), TreeError> {
        let Measure { levels, bytes } = value.measure();
        self.spend(bytes)?;
        if path.len() + levels > JSON_DEPTH_MAX {
            return Err(TreeError::TooDeep);
        }
        *descend_into(&mut self.root, path, self.work)? = value;
        Ok(())
    }

    /// Takes a member or an element out.
    pub(super) fn remove(&mut self, path: &[Box<str>]) -> Result<Node<'t>, TreeError> {
        let (last, parents) = path.split_last().ok_or(TreeError::NoTarget)?;
        let Tree { root, work } = self;
        match descend(root, parents, work)? {
            Node::Text(_) => Err(TreeError::NoTarget),
            Node::List(elements) => {
                let index = element_index(last).filter(|index| *index < elements.len());
                let index = index.ok_or(TreeError::NoTarget)?;
                work.spend((elements.len() - index) * size_of::<Node<'_>>())?;
                Ok(elements.remove(index))
            }
            Node::Object(members) => {
                work.spend(members.len() * size_of::<Member<'_>>())?;
                let at = position(members, last).ok_or(TreeError::NoTarget)?;
                let removed = members.remove(at);
                // A key that stands twice would come back with its earlier value.
                members.retain(|member| !member.is_named(last));
                Ok(removed.value)
            }
        }
    }

    /// A copy of the value at `path`.
    pub(super) fn copy(&mut self, path: &[Box<str>]) -> Result<Node<'t>, TreeError> {
        let Tree { root, work } = self;
        let node = descend_into(root, path, work)?;
        work.spend(node.measure().bytes)?;
        Ok(node.clone())
    }

    /// Whether the value at `path` has the value of `expected`, minified JSON.
    pub(super) fn is(&mut self, path: &[Box<str>], expected: &[u8]) -> Result<bool, TreeError> {
        let Tree { root, work } = self;
        let node = descend_into(root, path, work)?;
        work.spend(node.measure().bytes + expected.len())?;
        if let Node::Text(text) = node {
            return Ok(same_value(text.as_bytes(), expected));
        }
        let mut text = Vec::new();
        node.write(usize::MAX, &mut text)?;
        Ok(same_value(&text, expected))
    }

    /// The text of the whole tree, of at most `bytes_max` bytes.
    pub(super) fn write(&self, bytes_max: usize) -> Result<Vec<u8>, TooMuch> {
        let mut out = Vec::new();
        self.root.write(bytes_max, &mut out)?;
        Ok(out)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TreeError> {
        Ok(self.work.spend(bytes)?)
    }
}

/// How much a node is.
struct Measure {
    /// How deep lists and objects nest in it.
    levels: usize,
    /// What it takes in memory or as text.
    bytes: usize,
}

impl<'t> Node<'t> {
    fn measure(&self) -> Measure {
        let nested: &mut dyn Iterator<Item = &Node<'t>> = match self {
            Node::Text(text) => {
                return Measure {
                    levels: levels(text.as_bytes()),
                    bytes: text.len(),
                };
            }
            Node::List(elements) => &mut elements.iter(),
            Node::Object(members) => &mut members.iter().map(|member| &member.value),
        };
        let mut sum = Measure {
            levels: 1,
            bytes: size_of::<Node<'_>>(),
        };
        for node in nested {
            let Measure { levels, bytes } = node.measure();
            sum.levels = sum.levels.max(levels + 1);
            sum.bytes += bytes + size_of::<Member<'_>>();
        }
        sum
    }

    /// Makes the members or elements of a text changeable.
    fn open(&mut self, work: &mut Work) -> Result<(), TooMuch> {
        let Node::Text(text) = *self else {
            return Ok(());
        };
        match text.as_bytes().first() {
            Some(b'{') => {
                work.spend(text.len())?;
                let mut opened = Vec::new();
                assert_valid(members(text, |key, value| {
                    opened.push(Member {
                        key: Cow::Borrowed(key),
                        value: Node::Text(value),
                    });
                }));
                work.spend(opened.len() * size_of::<Member<'_>>())?;
                *self = Node::Object(opened);
            }
            Some(b'[') => {
                work.spend(text.len())?;
                let mut opened = Vec::new();
                assert_valid(elements(text, |element| opened.push(Node::Text(element))));
                work.spend(opened.len() * size_of::<Node<'_>>())?;
                *self = Node::List(opened);
            }
            _ => {}
        }
        Ok(())
    }

    fn write(&self, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), TooMuch> {
        match self {
            Node::Text(text) => out.extend_from_slice(text.as_bytes()),
            Node::List(elements) => {
                out.push(b'[');
                for (n, element) in elements.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    element.write(bytes_max, out)?;
                }
                out.push(b']');
            }
            Node::Object(members) => {
                out.push(b'{');
                for (n, member) in members.iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(member.key.as_bytes());
                    out.push(b':');
                    member.value.write(bytes_max, out)?;
                }
                out.push(b'}');
            }
        }
        match out.len() <= bytes_max {
            true => Ok(()),
            false => Err(TooMuch),
        }
    }
}

impl Member<'_> {
    fn is_named(&self, key: &str) -> bool {
        unquote(&self.key).as_ref() == key.as_bytes()
    }
}

/// The place of the last member of that name.
fn position(members: &[Member<'_>], key: &str) -> Option<usize> {
    members.iter().rposition(|member| member.is_named(key))
}

/// The node at `path`, opened.
fn descend<'n, 't>(
    root: &'n mut Node<'t>,
    path: &[Box<str>],
    work: &mut Work,
) -> Result<&'n mut Node<'t>, TreeError> {
    let node = descend_into(root, path, work)?;
    node.open(work)?;
    Ok(node)
}

/// The node at `path`, everything around it opened.
fn descend_into<'n, 't>(
    root: &'n mut Node<'t>,
    path: &[Box<str>],
    work: &mut Work,
) -> Result<&'n mut Node<'t>, TreeError> {
    let mut node = root;
    for token in path {
        node.open(work)?;
        let next = match node {
            Node::Text(_) => None,
            Node::List(elements) => element_index(token).and_then(|index| elements.get_mut(index)),
            Node::Object(members) => {
                work.spend(members.len())?;
                position(members, token).map(|at| &mut members[at].value)
            }
        };
        node = next.ok_or(TreeError::NoTarget)?;
    }
    Ok(node)
}

/// How deep lists and objects nest in `text`, valid JSON.
fn levels(text: &[u8]) -> usize {
    let (mut at, mut depth, mut deepest) = (0, 0_usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        at += 1;
    }
    deepest
}

/// `key` as a JSON string.
pub(super) fn quoted(key: &str) -> String {
    let mut text = Vec::with_capacity(key.len() + 2);
    write_string(key, &mut text);
    String::from_utf8(text).expect("a string has a form in UTF-8")
}

impl From<TooMuch> for TreeError {
    fn from(_: TooMuch) -> TreeError {
        TreeError::TooMuch
    }
}
