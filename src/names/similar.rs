//! "Did you mean": which known name is closest to what was typed.

/// The known name that is nearest to what was typed, for "did you mean"; at most two edits away.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edit_distance(typed, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance; inputs are short names.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().take(80).enumerate() {
        let mut diagonal = line;
        let mut previous = line + 1;
        let mut next = vec![previous];
        for (to, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = if from == *to { diagonal } else { 1 + diagonal.min(*above).min(previous) };
            diagonal = *above;
            previous = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_the_number_of_edits() {
        for (left, right, edits) in [
            ("", "", 0),
            ("same", "same", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "xyz", 3),
            ("kitten", "sitting", 3),
            ("xenv", "env", 1),
            ("mount", "mounts", 1),
        ] {
            assert_eq!(edit_distance(left, right), edits, "{left} {right}");
        }
    }
}
