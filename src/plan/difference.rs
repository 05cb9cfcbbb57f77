//! One thing that differs between two releases: what is said of it, and whether the newer one still has it. Pure.

/// What becomes of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes, or it is another one.
    Stays,
    /// The newer side has it no more.
    Goes,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In words, as `memory of web 64 → 128 MiB`.
    pub words: String,
    /// What becomes of it.
    pub fate: Fate,
}

impl Difference {
    /// Of what comes or changes.
    pub(super) fn stays(words: impl Into<String>) -> Self {
        Self { words: words.into(), fate: Fate::Stays }
    }

    /// Of what is there no more.
    pub(super) fn goes(words: impl Into<String>) -> Self {
        Self { words: words.into(), fate: Fate::Goes }
    }
}

/// The words alone.
pub fn words(list: impl IntoIterator<Item = Difference>) -> Vec<String> {
    list.into_iter().map(|d| d.words).collect()
}
