//! "Did you mean ...?": the name that is the fewest typing errors away.

use smallvec::SmallVec;

/// The nearest of the names, if it is near enough to be meant: at most a third of its letters are wrong, or one of two.
/// A name of one letter is no other name's error.
pub fn nearest<'n>(name: &[u8], names: impl Iterator<Item = &'n [u8]>) -> Option<&'n [u8]> {
    let allowed = |other: &[u8]| match other.len().max(name.len()) {
        0 | 1 => 0,
        length => length.max(3) / 3,
    };
    // As many letters as one has more are wrong at least; so a line of a megabyte is not measured at all.
    let alike = names.filter(|other| other.len().abs_diff(name.len()) <= allowed(other));
    let (wrong, other) = alike.map(|other| (distance(name, other), other)).min_by_key(|(wrong, _)| *wrong)?;
    (wrong <= allowed(other)).then_some(other)
}

type Row = SmallVec<[usize; 64]>;

/// How many letters are wrong, missing, too many, or have changed places with their neighbour (the optimal string
/// alignment distance), with three rows of memory.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let at = |row: &Row, n: usize| row.get(n).copied().unwrap_or(0);
    let mut older = Row::new();
    let mut old: Row = (0..=b.len()).collect();
    let mut before = None;
    for (i, x) in a.iter().enumerate() {
        let mut new = Row::with_capacity(old.len());
        new.push(i.saturating_add(1));
        let mut front = None;
        for (j, y) in b.iter().enumerate() {
            let change = at(&old, j).saturating_add(usize::from(x != y));
            let missing = at(&old, j.saturating_add(1)).min(at(&new, j)).saturating_add(1);
            let swapped = before == Some(y) && front == Some(x);
            let swap = if swapped { at(&older, j.saturating_sub(1)).saturating_add(1) } else { usize::MAX };
            new.push(change.min(missing).min(swap));
            front = Some(y);
        }
        before = Some(x);
        older = std::mem::replace(&mut old, new);
    }
    old.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_error_finds_the_name_and_a_stranger_finds_none() {
        let names = || [&b"web"[..], b"mail", b"database"].into_iter();
        assert_eq!(nearest(b"databsae", names()), Some(&b"database"[..]));
        assert_eq!(nearest(b"wbe", names()), Some(&b"web"[..]), "two letters have changed places");
        assert_eq!(nearest(b"ewb", names()), Some(&b"web"[..]));
        assert_eq!(nearest(b"bew", names()), None);
        assert_eq!(nearest(b"we", names()), Some(&b"web"[..]));
        assert_eq!(nearest(b"zzzzz", names()), None);
        assert_eq!(nearest(b"b", [&b"a"[..]].into_iter()), None);
    }
}
