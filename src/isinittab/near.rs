//! "Did you mean ...?": the name that is the fewest typing errors away.

use smallvec::SmallVec;

/// The nearest of the names, if it is near enough to be meant: at most a third of its letters are wrong.
pub fn nearest<'n>(name: &[u8], names: impl Iterator<Item = &'n [u8]>) -> Option<&'n [u8]> {
    let allowed = |other: &[u8]| other.len().max(name.len()).max(3) / 3;
    // As many letters as one has more are wrong at least; so a line of a megabyte is not measured at all.
    let alike = names.filter(|other| other.len().abs_diff(name.len()) <= allowed(other));
    let (wrong, other) = alike.map(|other| (distance(name, other), other)).min_by_key(|(wrong, _)| *wrong)?;
    (wrong <= allowed(other)).then_some(other)
}

/// Levenshtein's distance, with one row of memory.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: SmallVec<[usize; 64]> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            let change = diagonal.saturating_add(usize::from(x != y));
            *cell = change.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = above;
            left = *cell;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_error_finds_the_name_and_a_stranger_finds_none() {
        let names = || [&b"web"[..], b"mail", b"database"].into_iter();
        assert_eq!(nearest(b"databsae", names()), Some(&b"database"[..]));
        assert_eq!(nearest(b"wbe", names()), None);
        assert_eq!(nearest(b"we", names()), Some(&b"web"[..]));
        assert_eq!(nearest(b"zzzzz", names()), None);
    }
}
