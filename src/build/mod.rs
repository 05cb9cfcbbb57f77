//! Source to artifact: archives, split, hashed, uploaded once.
