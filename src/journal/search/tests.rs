//! Searches, held against a plain reading of all rows, and their plans.
