//! The order in which the views of a database can be made: each behind those that its statement names.
//!
//! A restore does not rely on it, the servers' own clients do. Names are looked for in the text, between backquotes: a
//! view that something else is called like comes earlier than it would have to, and no more.

use std::collections::{HashMap, HashSet};

/// The numbers of `views`, each a name and its statement, in that order; else as they come. Of those that name each other
/// in a circle one is behind what it names.
pub(super) fn order(views: &[(&str, &[u8])]) -> Vec<usize> {
    let numbers: HashMap<&[u8], usize> = views.iter().enumerate().map(|(n, (name, _))| (name.as_bytes(), n)).collect();
    let named_by = |n: usize| -> Vec<usize> {
        let pieces = views.get(n).into_iter().flat_map(|(_, text)| text.split(|byte| *byte == b'`'));
        let mut named: Vec<usize> = pieces.filter_map(|piece| numbers.get(piece).copied()).collect();
        named.reverse();
        named
    };
    let (mut order, mut seen) = (Vec::with_capacity(views.len()), HashSet::new());
    for first in 0..views.len() {
        let mut open = if seen.insert(first) { vec![(first, named_by(first))] } else { Vec::new() };
        while let Some((view, named)) = open.last_mut() {
            match named.pop() {
                Some(other) if seen.insert(other) => open.push((other, named_by(other))),
                Some(_) => {}
                None => {
                    order.push(*view);
                    open.pop();
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_behind_those_that_it_names() {
        let views: [(&str, &[u8]); 5] = [
            ("a", b"select * from `shop`.`c` join `shop`.`e`"),
            ("b", b"select 1 as `b`"),
            ("c", b"select * from `shop`.`e`"),
            ("d", b"select 'c', \xff"),
            ("e", b"select * from `shop`.`t`"),
        ];
        assert_eq!(order(&views), [4, 2, 0, 1, 3]);
    }

    #[test]
    fn a_circle_and_a_long_chain_have_an_end() {
        assert_eq!(order(&[("a", b"`b`"), ("b", b"`a`")]), [1, 0]);
        let names: Vec<String> = (0..20_000).map(|n| format!("v{n}")).collect();
        let texts: Vec<String> = (1..=20_000).map(|n| format!("from `v{n}`")).collect();
        let views: Vec<(&str, &[u8])> = names.iter().zip(&texts).map(|(n, t)| (n.as_str(), t.as_bytes())).collect();
        assert_eq!(order(&views), (0..20_000).rev().collect::<Vec<_>>());
    }
}
