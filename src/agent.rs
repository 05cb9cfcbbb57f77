//! Wires, starts and stops; owns no logic.
