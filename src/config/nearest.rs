//! Finds the known names that a mistyped one was probably meant to be.

/// The most names that are suggested.
const SUGGESTIONS_MAX: usize = 3;

/// The names nearest to `given`, nearest first: those that a few typing errors away, and those
/// with the same last part (`listen` is near `grpc.listen`). `separator` parts the names.
pub(super) fn nearest(given: &str, known: &[String], separator: char) -> Vec<String> {
    let last = |name: &str| name.rsplit(separator).next().unwrap_or(name).to_owned();
    let errors_max = (given.chars().count() / 4).max(2);
    let mut found: Vec<(usize, &String)> = known
        .iter()
        .map(|name| (distance(given, name), name))
        .filter(|(errors, name)| *errors <= errors_max || last(name) == last(given))
        .collect();
    found.sort();
    found
        .into_iter()
        .take(SUGGESTIONS_MAX)
        .map(|(_, name)| name.clone())
        .collect()
}

/// How many letters must be put in, left out or replaced to make `left` of `right` (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, errors) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("shard", "shards", 1),
        ] {
            assert_eq!(distance(left, right), errors, "{left} {right}");
            assert_eq!(distance(right, left), errors, "{right} {left}");
        }
    }
}
