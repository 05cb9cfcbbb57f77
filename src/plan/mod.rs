//! Pure: the difference between desired and observed, ordered, as one document with one token.
