//! The edit distance of TER: near the diagonal only, and with the edits that make it.

/// How far from the diagonal the distance is looked for, as in Tercom.
const BEAM: usize = 25;

/// A distance that is never the lowest.
const UNREACHED: usize = usize::MAX / 2;

/// An edit on the way from the reference to the hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// The same word on both sides.
    Keep,
    /// A word for another.
    Substitute,
    /// A word that only the hypothesis has.
    Insert,
    /// A word that only the reference has.
    Delete,
}

/// The lowest number of edits between a prefix of the hypothesis and one of the reference, and the last of them.
type Cell = (usize, Edit);

/// The edit distances of a hypothesis from a reference, prefix by prefix.
pub(super) struct Distances<'a> {
    reference: &'a [&'a str],
    /// Words of the hypothesis, H.
    hypothesis: usize,
    rows: Vec<Vec<Cell>>, // [H + 1, R + 1]
}

impl<'a> Distances<'a> {
    pub fn new(hypothesis: &[&str], reference: &'a [&'a str]) -> Self {
        let first = (0..=reference.len()).map(|j| (j, Edit::Delete)).collect();
        let mut distances = Self { reference, hypothesis: hypothesis.len(), rows: vec![first] };
        for (i, word) in hypothesis.iter().enumerate() {
            let row = distances.next_row(&distances.rows[i], i, word);
            distances.rows.push(row);
        }
        distances
    }

    /// The distance of the whole hypothesis.
    pub fn total(&self) -> usize {
        total(&self.rows[self.hypothesis])
    }

    /// The distance of another hypothesis of the same length, whose first `same` words are the same.
    pub fn total_of(&self, hypothesis: &[&str], same: usize) -> usize {
        let mut row = self.rows[same].clone();
        for (i, word) in hypothesis.iter().enumerate().skip(same) {
            row = self.next_row(&row, i, word);
        }
        total(&row)
    }

    /// The edits, first to last.
    pub fn edits(&self) -> Vec<Edit> {
        let (mut i, mut j) = (self.hypothesis, self.reference.len());
        let mut edits = Vec::with_capacity(i + j);
        while i > 0 || j > 0 {
            let (_, edit) = self.rows[i][j];
            edits.push(edit);
            i -= usize::from(edit != Edit::Delete);
            j -= usize::from(edit != Edit::Insert);
        }
        edits.reverse();
        edits
    }

    /// The row behind `above`, with `word` as word `i` of the hypothesis. Of equal distances, a kept or substituted
    /// word comes first, then an inserted one.
    fn next_row(&self, above: &[Cell], i: usize, word: &str) -> Vec<Cell> {
        let mut row = vec![(UNREACHED, Edit::Insert); self.reference.len() + 1];
        for j in self.near_diagonal(i + 1) {
            let inserted = (above[j].0 + 1, Edit::Insert);
            row[j] = match j.checked_sub(1) {
                None => inserted,
                Some(before) => {
                    let matched = match word == self.reference[before] {
                        true => (above[before].0, Edit::Keep),
                        false => (above[before].0 + 1, Edit::Substitute),
                    };
                    let deleted = (row[before].0 + 1, Edit::Delete);
                    lower(lower(matched, inserted), deleted)
                }
            };
        }
        row
    }

    /// The prefixes of the reference that row `i` looks at. The beam is wider where one side is much longer, so that
    /// the rows overlap; the last row ends with the reference.
    fn near_diagonal(&self, i: usize) -> std::ops::Range<usize> {
        let ratio = self.reference.len() as f64 / self.hypothesis as f64;
        let beam = if ratio / 2.0 > BEAM as f64 { (ratio / 2.0).ceil() as usize + BEAM } else { BEAM };
        let diagonal = (i as f64 * ratio).floor() as usize;
        let end = self.reference.len() + 1;
        let last = i == self.hypothesis;
        diagonal.saturating_sub(beam)..if last { end } else { end.min(diagonal + beam) }
    }
}

fn total(row: &[Cell]) -> usize {
    row.last().map_or(0, |cell| cell.0)
}

/// The lower of two cells, the first of equal ones.
fn lower(a: Cell, b: Cell) -> Cell {
    if b.0 < a.0 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_lead_from_the_reference_to_the_hypothesis() {
        let (hypothesis, reference) = (["a", "x", "c", "e"], ["a", "b", "c", "d"]);
        let distances = Distances::new(&hypothesis, &reference);
        assert_eq!(distances.total(), 2);
        assert_eq!(distances.edits(), [Edit::Keep, Edit::Substitute, Edit::Keep, Edit::Substitute]);
        assert_eq!(Distances::new(&[], &reference).edits(), [Edit::Delete; 4]);
        assert_eq!(Distances::new(&hypothesis, &[]).edits(), [Edit::Insert; 4]);
    }

    #[test]
    fn a_distance_goes_on_from_a_shared_prefix() {
        let reference = ["a", "b", "c", "d", "e"];
        let distances = Distances::new(&["a", "b", "x", "d"], &reference);
        for hypothesis in [["a", "b", "d", "x"], ["a", "b", "c", "d"]] {
            let whole = Distances::new(&hypothesis, &reference).total();
            assert_eq!(
                (0..=2).map(|same| distances.total_of(&hypothesis, same)).collect::<Vec<_>>(),
                [whole; 3]
            );
        }
        assert_eq!(distances.total_of(&["a", "b", "x", "d"], 4), distances.total());
    }

    #[test]
    fn sides_of_very_different_lengths_are_compared() {
        let long = vec!["a"; 400];
        assert_eq!(Distances::new(&["a"], &long).total(), 399);
        assert_eq!(Distances::new(&long, &["a"]).total(), 399);
        assert_eq!(Distances::new(&["b", "c"], &long).edits().len(), 400);
    }
}
