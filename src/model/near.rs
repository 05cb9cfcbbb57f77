//! Which of some words was probably meant.

/// The nearest of some words, if it is near.
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // No word of ours is longer, and the distance costs memory by the length of both.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let far = match word.chars().count() {
        0..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    among
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&lower, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= far && *d < c.chars().count())
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c.to_owned())
}
